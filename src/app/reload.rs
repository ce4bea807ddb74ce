//! From a configuration to portals, at the start and again on SIGHUP.

use std::path::Path;
use std::sync::Arc;

use crate::app::{App, StartError};
use crate::config::{self, Access, Config};
use crate::credential::{Credential, Custody};
use crate::portal::{Holder, Portal, Portals, Remembered, Standing};
use crate::store::Record;
use crate::transport::{Connector, TransportError};

/// Makes `portals` what `config` says: all of it, or nothing. A portal that has not changed stays,
/// with its connections; one that has keeps its credential.
pub(super) async fn populate(
    portals: &Portals,
    config: &Config,
    custody: &Arc<Custody>,
    connector: &Connector,
) -> Result<(), StartError> {
    let mut records = custody.store().load().await?;
    let mut made = Vec::new();
    for settings in config.portals.values() {
        if let Some(portal) = portals.by_name(&settings.name).filter(|it| it.fits(settings)) {
            made.push(portal);
            continue;
        }
        let at = records.iter().position(|record| record.portal == settings.name);
        let record = at.map(|at| records.swap_remove(at));
        made.push(make(portals, settings, record, custody, connector).await?);
    }
    for portal in made {
        if let Some(settings) = config.portals.get(&portal.name) {
            if let (Some(credential), Access::Application(app)) =
                (portal.credential(), &settings.access)
            {
                credential.set_app(app.clone());
            }
        }
        portals.put(portal);
    }
    let names: Vec<_> = config.portals.keys().map(String::as_str).collect();
    portals.retain(&names);
    portals.set_default(config.gateway.default_portal.as_deref());
    Ok(())
}

async fn make(
    portals: &Portals,
    settings: &Arc<config::Portal>,
    record: Option<Record>,
    custody: &Arc<Custody>,
    connector: &Connector,
) -> Result<Arc<Portal>, TransportError> {
    let connector = match &settings.ca_file {
        None => connector.clone(),
        Some(path) => Connector::new(Some(path))?,
    };
    let remembered = record.as_ref().map_or_else(Remembered::default, |record| Remembered {
        inject: record.inject,
        endpoint: record.endpoint.clone(),
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
            Holder::Application(match held {
                Some(credential) => credential.clone(),
                None => {
                    let name = settings.name.clone();
                    Credential::open(name, app.clone(), custody.clone(), record).await
                }
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
        if config.portals.is_empty() && !self.config.load().portals.is_empty() {
            // A file that is being written in place is empty for a moment.
            tracing::error!(
                "configuration NOT reloaded, the old one stays: the new one has no portals; \
                 restart the gateway if that is meant"
            );
            return;
        }
        self.forget_left_places(&config).await;
        let populated = populate(&self.portals, &config, &self.custody, &self.connector).await;
        if let Err(error) = populated {
            tracing::error!(%error, "configuration NOT reloaded, the old one stays");
            return;
        }
        let now = Arc::new(config);
        let before = self.config.swap(now.clone());
        if before.gateway.listen != now.gateway.listen
            || before.admin.listen != now.admin.listen
            || before.callback.listen != now.callback.listen
            || before.store.url != now.store.url
        {
            tracing::warn!("changed listen addresses and store.url take effect after a restart");
        }
        self.gateway.reconfigure(now.gateway.clone());
        self.alerts.reconfigure(now.alerts.clone());
        tracing::info!(portals = now.portals.len(), "configuration reloaded");
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
