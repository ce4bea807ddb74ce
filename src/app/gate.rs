//! The gateway's listener, put together from what the other rooms have ready for it.

use std::sync::Arc;

use crate::app::{StartError, names};
use crate::audit::{Audit, Scribe};
use crate::ca::Certificates;
use crate::client::Register;
use crate::config::{self, Config};
use crate::credential::Custody;
use crate::gateway::Gateway;
use crate::gateway::listener::{BindError, Bound};
use crate::portal::Portals;
use crate::store::StateDirectory;

/// Opens every socket of the configuration.
pub(super) fn bind(settings: &config::Gateway) -> Result<Vec<Bound>, BindError> {
    settings.listen.iter().map(|listen| Bound::bind(listen, settings.socket_mode)).collect()
}

/// The gateway, and what works for it beside the requests.
#[derive(Debug)]
pub(super) struct Gate {
    pub(super) gateway: Arc<Gateway>,
    pub(super) certificates: Arc<Certificates>,
    pub(super) scribe: Scribe,
}

impl Gate {
    /// It counts where the numbers are shown, knows who may call and by which names, speaks TLS, and
    /// notes calls.
    pub(super) fn open(
        (config, state): (&Config, &StateDirectory),
        admin_url: &str,
        sockets: &[Bound],
        (portals, custody, clients): (&Arc<Portals>, &Custody, &Register),
    ) -> Result<Self, StartError> {
        let names = names::of(config, portals);
        let certificates = Arc::new(Certificates::new(state.path(), &config.gateway.tls, names)?);
        let audit = Arc::new(Audit::default());
        let scribe = Scribe::start(audit.clone(), state.path(), config.audit.clone());
        let (settings, spool) = (config.gateway.clone(), state.path().to_owned());
        let gateway = Gateway::new(settings, portals.clone(), admin_url.to_owned(), spool)
            .counting(custody.metrics().traffic().clone())
            .noting(audit)
            .known_to(clients.clients().clone())
            .reached_at(sockets)
            .showing(certificates.clone())?;
        Ok(Self { gateway: Arc::new(gateway), certificates, scribe })
    }
}
