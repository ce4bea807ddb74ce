//! Whether calls can be served.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::client::Register;
use crate::credential::{Custody, State};
use crate::portal::{Closed, Portals};

use super::plain::describe;

/// Whether calls can be served.
#[derive(Debug)]
pub struct Readiness {
    stopping: AtomicBool,
    portals: Arc<Portals>,
    custody: Arc<Custody>,
    clients: Arc<Register>,
}

impl Readiness {
    /// Ready as soon as the portals are, while `custody` can write, and unless keys of clients were
    /// lost.
    pub fn new(portals: Arc<Portals>, custody: Arc<Custody>, clients: Arc<Register>) -> Self {
        Self { stopping: AtomicBool::new(false), portals, custody, clients }
    }

    /// From now on: not ready, so that nobody sends new work.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// What stands in the way, one line each. A portal that the operator took out of service is as
    /// it should be.
    pub fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.stopping.load(Ordering::Relaxed) {
            reasons.push("stopping".to_owned());
        }
        if self.custody.is_store_failing() {
            reasons.push("the store cannot be written".to_owned());
        }
        if self.clients.are_lost() {
            let lost = "the keys of clients were lost with the database: make them anew \
                        (b24gate client add NAME)";
            reasons.push(lost.to_owned());
        }
        for portal in self.portals.all() {
            let status = portal.status();
            if status.unsaved {
                reasons.push(format!("{}: a renewed token is not stored yet", portal.name));
            }
            let disabled = portal.standing.closed() == Some(Closed::Disabled);
            let stopped = matches!(status.state, State::Dead { .. } | State::Paused { .. });
            if stopped && !disabled {
                reasons.push(format!("{}: {}", portal.name, describe(&status)));
            }
        }
        reasons
    }
}
