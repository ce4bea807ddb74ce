//! What the running gateway answers to commands about clients.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::client::{DeedError, Minted, Register, Source, Wish, check, path_portal};
use crate::config::Config;
use crate::control::{ClientRequest, NewKey, Reply, Shown};
use crate::credential::{Custody, unix_now};
use crate::gateway::listener::Bound;
use crate::portal::Portals;
use crate::store::{SqliteStore, StoreError};
use crate::views::clients;

/// Clients, with what is told of the way to their portals.
#[derive(Debug)]
pub(super) struct Clients {
    pub(super) register: Arc<Register>,
    portals: Arc<Portals>,
    config: Arc<ArcSwap<Config>>,
    /// Where the gateway listens.
    addresses: Vec<String>,
}

impl Clients {
    pub(super) fn new(
        register: &Arc<Register>,
        portals: &Arc<Portals>,
        config: &Arc<ArcSwap<Config>>,
        sockets: &[Bound],
    ) -> Self {
        Self {
            register: register.clone(),
            portals: portals.clone(),
            config: config.clone(),
            addresses: sockets.iter().map(Bound::address).collect(),
        }
    }

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

/// Who may call, as the store and the configuration have it; says what an operator has to know.
pub(super) async fn open(
    store: &Arc<SqliteStore>,
    custody: &Custody,
    config: &Config,
) -> Result<Arc<Register>, StoreError> {
    let traffic = custody.metrics().traffic().clone();
    let register = Register::open(store.clone(), traffic, config.clients.clone()).await?;
    if register.are_lost() {
        tracing::error!(
            "clients_lost: the database that knew the keys of clients is gone or was replaced by an \
             older one; every key is refused until it is made anew (b24gate client add NAME)"
        );
    }
    Ok(Arc::new(register))
}
