//! From a configuration to portals, at the start and again on SIGHUP.

use std::path::Path;
use std::sync::Arc;

use crate::app::arrived::{self, Found};
use crate::app::{App, StartError, names};
use crate::config::{self, Access, Config, Endpoint};
use crate::credential::{Credential, Custody};
use crate::portal::{Holder, Portal, Portals, Remembered, Standing};
use crate::store::{Record, Registry};
use crate::transport::{Connector, TransportError};

/// What portals are made with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Means<'a> {
    pub(super) custody: &'a Arc<Custody>,
    pub(super) registry: &'a dyn Registry,
    pub(super) connector: &'a Connector,
}

/// Makes `portals` what `config` says, and what came by itself through its applications: all of it,
/// or nothing. A portal that has not changed stays, with its connections; one that has keeps its
/// credential.
pub(super) async fn populate(
    portals: &Portals,
    config: &Config,
    means: &Means<'_>,
) -> Result<(), StartError> {
    let _nobody_else = portals.changing().await;
    let mut records = means.custody.store().load().await?;
    let mut made = Vec::new();
    for settings in config.portals.values() {
        let at = records.iter().position(|record| record.portal == settings.name);
        let record = at.map(|at| records.swap_remove(at));
        if let Some(portal) = portals.by_name(&settings.name).filter(|it| it.fits(settings)) {
            made.push((portal, settings.access.clone()));
            continue;
        }
        let portal = make(portals, settings, record, means).await?;
        made.push((portal, settings.access.clone()));
    }
    // From here on nothing fails.
    let mut names: Vec<_> = config.portals.keys().cloned().collect();
    for found in records.into_iter().filter_map(|record| arrived::find(config, record)) {
        names.push(found.arrival.name.clone());
        let access = Access::Application(found.arrival.app.clone());
        made.push((serve_arrived(portals, found, means).await, access));
    }
    // Those that came by themselves first: where two say that they live at one domain, it is the
    // operator's.
    for (portal, access) in made.into_iter().rev() {
        if let (Some(credential), Access::Application(app)) = (portal.credential(), access) {
            credential.set_app(app);
        }
        portals.put(portal);
    }
    portals.set_default(config.gateway.default_portal.as_deref());
    portals.retain(&names.iter().map(String::as_str).collect::<Vec<_>>());
    Ok(())
}

/// A portal that came by itself: as it is served, or as the store has it.
async fn serve_arrived(portals: &Portals, found: Found, means: &Means<'_>) -> Arc<Portal> {
    let Found { arrival, lost } = found;
    let before = portals.by_name(&arrival.name).filter(|it| it.is_arrived(&arrival.arrived));
    if let Some(portal) = &before
        && let Some(credential) = portal.credential()
        && credential.app().oauth_server == arrival.app.oauth_server
    {
        return portal.clone();
    }
    if lost {
        let noted =
            means.registry.note_arrival(&arrival.name, &arrival.arrived, &arrival.endpoint).await;
        if let Err(error) = noted {
            tracing::warn!(portal = %arrival.name, %error, "how it came is not written down");
        }
    }
    Portal::arrived(arrival, before.as_deref(), means.custody, means.connector).await
}

async fn make(
    portals: &Portals,
    settings: &Arc<config::Portal>,
    record: Option<Record>,
    means: &Means<'_>,
) -> Result<Arc<Portal>, TransportError> {
    let custody = means.custody;
    let connector = match &settings.ca_file {
        None => means.connector.clone(),
        Some(path) => means.connector.trusting(path)?,
    };
    let remembered = record.as_ref().map_or_else(Remembered::default, |record| Remembered {
        inject: record.inject,
        // Nobody confirms where a webhook's portal moves to.
        endpoint: match settings.access {
            Access::Application(_) => record.endpoint.clone(),
            Access::IncomingWebhook(_) => None,
        },
    });
    if let Some(moved) = remembered.endpoint.as_ref().filter(|place| **place != settings.url) {
        tracing::warn!(
            portal = %settings.name, configured = %settings.url, used = %moved,
            "the portal has moved; change its url in the configuration"
        );
    }
    let before = portals.by_name(&settings.name);
    let standing = match &before {
        Some(portal) => portal.standing.clone(),
        None => Arc::new(Standing::new(
            record.as_ref().map(|record| record.facts.clone()).unwrap_or_default(),
        )),
    };
    let holder = match &settings.access {
        Access::IncomingWebhook(webhook) => Holder::webhook(webhook.clone()),
        Access::Application(app) => {
            let held = before.as_ref().and_then(|portal| portal.credential());
            Holder::Application(if let Some(credential) = held {
                credential.clone()
            } else {
                let name = settings.name.clone();
                Box::pin(Credential::open(name, app.clone(), custody.clone(), record)).await
            })
        }
    };
    let kept = (holder, standing, custody.clone());
    Ok(Arc::new(Portal::new(settings.clone(), connector, kept, &remembered)))
}

impl App {
    /// Takes a changed configuration over, or keeps the one in force and says why.
    pub(super) async fn reload(&self, source: Option<&Path>) {
        let config = match Config::load(source) {
            Ok(config) => config,
            Err(error) => {
                for problem in error.problems() {
                    tracing::error!(%problem, "configuration NOT reloaded, the old one stays");
                }
                return;
            }
        };
        let before = self.config.load_full();
        let serves_none = config.portals.is_empty() && config.open_apps().next().is_none();
        let no_app_is_left = config.apps.is_empty() && !before.apps.is_empty();
        if serves_none && (!before.portals.is_empty() || no_app_is_left) {
            // A file that is being written in place is empty for a moment.
            tracing::error!(
                "configuration NOT reloaded, the old one stays: the new one has no portals; \
                 restart the gateway if that is meant"
            );
            return;
        }
        if let Some(open) = self.would_open(&config) {
            tracing::error!(
                "configuration NOT reloaded, the old one stays: {open}; restart the gateway, or \
                 put it back"
            );
            return;
        }
        let names = names::of(&config, &self.portals);
        let shown = match self.certificates.prepare(&config.gateway.tls, names) {
            Ok(shown) => shown,
            Err(error) => {
                tracing::error!(%error, "configuration NOT reloaded, the old one stays");
                return;
            }
        };
        self.forget_left_places(&config).await;
        let Self { custody, connector, .. } = self;
        let means = Means { custody, registry: &*self.store, connector };
        if let Err(error) = populate(&self.portals, &config, &means).await {
            tracing::error!(%error, "configuration NOT reloaded, the old one stays");
            return;
        }
        self.clients.reconfigure(config.clients.clone()).await;
        let now = Arc::new(config);
        self.config.store(now.clone());
        self.certificates.adopt(shown);
        self.certificates.tend(names::of(&now, &self.portals));
        if before.gateway.listen != now.gateway.listen
            || before.gateway.socket_mode != now.gateway.socket_mode
            || before.admin.listen != now.admin.listen
            || before.callback.listen != now.callback.listen
            || before.store.url != now.store.url
        {
            tracing::warn!(
                "changed listen addresses, socket_mode and store.url take effect after a restart"
            );
        }
        self.gateway.reconfigure(now.gateway.clone());
        self.alerts.reconfigure(now.alerts.clone());
        self.scribe.reconfigure(now.audit.clone());
        tracing::info!(portals = self.portals.names().len(), "configuration reloaded");
    }

    /// The listeners stay as they are until a restart, and what they were opened for must stay too.
    fn would_open(&self, config: &Config) -> Option<&'static str> {
        let beyond = |url: &str| Endpoint::of_url(url).is_some_and(|here| !here.is_loopback());
        if !config.gateway.require_key && self.addresses.iter().any(|address| beyond(address)) {
            return Some("other machines reach gateway.listen, and require_key is no longer set");
        }
        let unguarded = config.admin.password.is_none() && beyond(&self.admin_url);
        unguarded.then_some("other machines reach admin.listen, and password_file is gone")
    }

    /// An operator who enters a new address means that one, not where the portal once moved.
    async fn forget_left_places(&self, config: &Config) {
        let before = self.config.load_full();
        for (name, portal) in &config.portals {
            let changed = before.portals.get(name).is_some_and(|old| old.url != portal.url);
            if !changed {
                continue;
            }
            let forgotten = self.custody.store().remember_endpoint(name, None).await;
            if let Err(error) = forgotten {
                tracing::warn!(portal = %name, %error, "where the portal moved is not forgotten");
            }
        }
    }
}

#[cfg(test)]
mod tests;
