//! What the running gateway answers to commands about clients.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::client::{DeedError, Minted, Register, Source, Wish, check, path_portal};
use crate::config::Config;
use crate::control::{ClientRequest, NewKey, Reply, Shown};
use crate::credential::unix_now;
use crate::portal::Portals;
use crate::views::clients;

/// Clients, with what is told of the way to their portals.
#[derive(Debug)]
pub(super) struct Clients {
    pub(super) register: Arc<Register>,
    pub(super) portals: Arc<Portals>,
    pub(super) config: Arc<ArcSwap<Config>>,
    /// Where the gateway listens.
    pub(super) addresses: Vec<String>,
}

impl Clients {
    pub(super) async fn answer(&self, request: ClientRequest) -> Reply {
        let register = &self.register;
        let now = unix_now();
        match request {
            ClientRequest::List => Reply::Clients {
                clients: clients::of_running(register).await,
                lost: register.are_lost(),
            },
            ClientRequest::Add { name, rules } => {
                let wish = Wish { name, rules };
                match check(&self.config.load(), &wish, &self.portals.names()) {
                    Ok(()) => self.minted(register.add(wish, now).await),
                    Err(text) => Reply::Refused(text),
                }
            }
            ClientRequest::Rotate { name, overlap } => {
                self.minted(register.rotate(&name, overlap, now).await)
            }
            ClientRequest::Remove { name } => match register.remove(&name).await {
                Ok(source) => Reply::ClientRemoved { described: source == Source::Configuration },
                Err(error) => Reply::Refused(error.to_string()),
            },
        }
    }

    fn minted(&self, outcome: Result<Minted, DeedError>) -> Reply {
        match outcome {
            Ok(Minted { key, portals }) => {
                let default = self.portals.default_portal().map(|portal| portal.name.clone());
                let known = self.portals.names();
                Reply::Key(NewKey {
                    key: Shown(key.secret().clone()),
                    addresses: self.addresses.clone(),
                    portal: path_portal(portals.as_deref(), default.as_deref(), &known),
                })
            }
            Err(error) => Reply::Refused(error.to_string()),
        }
    }
}

/// Says at the start what an operator has to know of clients.
pub(super) fn tell(register: &Register) {
    if register.are_lost() {
        tracing::error!(
            "clients_lost: the database that knew the keys of clients is gone or was replaced by an \
             older one; every key is refused until it is made anew (b24gate client add NAME)"
        );
    }
}
