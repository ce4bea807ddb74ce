//! Portals that the configuration does not name: they came by themselves, and were confirmed.

use std::sync::Arc;

use crate::config::{self, Access, App, Endpoint, Inject, Plan, Refresh};
use crate::credential::{Credential, Custody};
use crate::portal::{Holder, Portal, Portals, Remembered, Standing};
use crate::store::{Arrived, Record};
use crate::transport::Connector;

/// A portal that came by itself.
#[derive(Debug)]
pub struct Arrival {
    /// The name that it is served under: its domain when it came.
    pub name: String,
    /// Where it lives.
    pub endpoint: Endpoint,
    /// The application through which it came.
    pub app: Arc<App>,
    /// How it came.
    pub arrived: Arrived,
    /// What the store has of it already.
    pub record: Option<Record>,
}

/// Another portal is served under the name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("another portal is served as {0}")]
pub struct NameTaken(pub String);

impl Portals {
    /// Serves a portal that has just come; one that is served already stays as it is. It must have
    /// been written down before ([`Registry::note_arrival`]): a reload keeps what the store knows.
    ///
    /// [`Registry::note_arrival`]: crate::store::Registry::note_arrival
    pub async fn arrive(
        &self,
        arrival: Arrival,
        custody: &Arc<Custody>,
        connector: &Connector,
    ) -> Result<Arc<Portal>, NameTaken> {
        let _nobody_else = self.changing().await;
        if let Some(portal) = self.by_name(&arrival.name) {
            if !portal.is_arrived(&arrival.arrived) {
                return Err(NameTaken(arrival.name));
            }
            return Ok(portal);
        }
        let portal = Portal::arrived(arrival, None, custody, connector).await;
        self.put(portal.clone());
        Ok(portal)
    }
}

impl Portal {
    /// A portal that came by itself. `before` is what was served of it, whose credential goes on.
    pub async fn arrived(
        arrival: Arrival,
        before: Option<&Portal>,
        custody: &Arc<Custody>,
        connector: &Connector,
    ) -> Arc<Self> {
        let Arrival { name, endpoint, app, arrived, record } = arrival;
        let connector = reaching(&app, connector);
        let settings = Arc::new(config::Portal {
            name: name.clone(),
            url: endpoint.clone(),
            access: Access::Application(app.clone()),
            inject: Inject::Auto,
            refresh: Refresh::Lazy,
            plan: Plan::Standard,
            ca_file: None,
        });
        let remembered = Remembered {
            inject: record.as_ref().and_then(|record| record.inject),
            endpoint: Some(endpoint),
        };
        let standing = before.map_or_else(
            || {
                let facts = record.as_ref().map(|record| record.facts.clone()).unwrap_or_default();
                Arc::new(Standing::new(facts))
            },
            |before| before.standing.clone(),
        );
        standing.note(|facts| facts.arrived = Some(arrived));
        let credential = match before.and_then(Self::credential) {
            Some(credential) => credential.clone(),
            None => Box::pin(Credential::open(name, app, custody.clone(), record)).await,
        };
        let kept = (Holder::Application(credential), standing, custody.clone());
        Arc::new(Self::new(settings, connector, kept, &remembered))
    }

    /// Whether it is the portal that came like this.
    pub fn is_arrived(&self, arrived: &Arrived) -> bool {
        let facts = self.standing.facts();
        facts.arrived.as_ref().is_some_and(|known| {
            known.client_id == arrived.client_id
                && known.member_id.eq_ignore_ascii_case(&arrived.member_id)
        })
    }
}

/// Nobody here has vouched for where such a portal lives, so no address of this machine or of its
/// network will do, unless the OAuth server is on this machine itself.
fn reaching(app: &App, connector: &Connector) -> Connector {
    if app.oauth_server.is_loopback() { connector.clone() } else { connector.public_only() }
}
