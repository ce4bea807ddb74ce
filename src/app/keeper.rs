//! Looks after credentials that no request looks after, and after the certificate.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::app::names;
use crate::ca::Certificates;
use crate::config::Config;
use crate::portal::Portals;

/// Starts to look after all of them.
pub(super) fn start(
    portals: &Arc<Portals>,
    certificates: &Arc<Certificates>,
    config: &Arc<ArcSwap<Config>>,
) -> JoinHandle<()> {
    tokio::spawn(keep(portals.clone(), certificates.clone(), config.clone()))
}

/// How often it looks. What is due is decided by each credential; this is no refresh timer.
const TICK: Duration = Duration::from_secs(5);

/// Looks at every portal until it is aborted.
#[expect(clippy::infinite_loop, reason = "aborted by whoever spawned it")]
async fn keep(
    portals: Arc<Portals>,
    certificates: Arc<Certificates>,
    config: Arc<ArcSwap<Config>>,
) {
    let mut tick = tokio::time::interval(TICK);
    // After a suspend one look is as good as a hundred.
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        look(&portals);
        // Portals come and move without anybody telling.
        certificates.tend(names::of(&config.load(), &portals));
    }
}

fn look(portals: &Portals) {
    for portal in portals.all() {
        if let Some(credential) = portal.credential()
            && portal.standing.closed().is_none()
        {
            credential.tend(portal.renew_every());
        }
    }
}

#[cfg(test)]
mod tests;
