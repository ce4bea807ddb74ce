//! People are alerted once per change: when a portal or the store needs a human, and when it no
//! longer does. The state is looked at once a second and never on a request's path; a fact becomes
//! news when it has lasted, and each target gets it by itself until it has taken it.

mod command;
mod message;
mod outbox;
mod subject;
mod target;
mod watch;
mod webhook;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch as channel;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, timeout_at};

use crate::config;
use crate::credential::{Custody, unix_now};
use crate::portal::{Closed, Portals};
use crate::store::StoreError;
use crate::transport::Connector;

use outbox::Facts;
use target::{Kind, Target};
use watch::{Sighting, Watch};

/// The watcher and its targets.
#[derive(Debug)]
pub struct Alerts {
    settings: channel::Sender<Arc<config::Alerts>>,
    watcher: JoinHandle<()>,
    targets: Vec<JoinHandle<()>>,
}

/// What is looked at.
#[derive(Debug)]
struct Scene {
    portals: Arc<Portals>,
    custody: Arc<Custody>,
}

impl Alerts {
    /// Starts to watch. What people have heard before comes from the store, so that a restart
    /// neither repeats it nor forgets what they have not.
    pub async fn start(
        (portals, custody): (Arc<Portals>, Arc<Custody>),
        connector: &Connector,
        settings: Arc<config::Alerts>,
        admin_url: &str,
    ) -> Result<Self, StoreError> {
        let remembered = custody.store().alerted().await?;
        let (settings, _) = channel::channel(settings);
        let (facts, told) = channel::channel(Arc::new(Facts::default()));
        let targets = [Kind::Webhook(connector.clone()), Kind::Command].map(|kind| {
            let target = Target {
                heard: outbox::heard(kind.word(), &remembered),
                kind,
                facts: told.clone(),
                settings: settings.subscribe(),
                custody: custody.clone(),
                admin_url: admin_url.to_owned(),
            };
            tokio::spawn(target.run())
        });
        let watcher = tokio::spawn(watch(Scene { portals, custody }, facts));
        Ok(Self { settings, watcher, targets: targets.into() })
    }

    /// Takes changed targets over; what people have heard is kept.
    pub fn reconfigure(&self, settings: Arc<config::Alerts>) {
        self.settings.send_if_modified(|old| {
            let changed = !old.same_as(&settings);
            *old = settings;
            changed
        });
    }

    /// No new alerts; those on their way get a moment to arrive.
    pub async fn stop(self) {
        let deadline = Instant::now() + STOP_MAX;
        self.watcher.abort();
        // With the watcher the facts end, and so does every target that is not delivering.
        drop(self.watcher.await);
        for mut target in self.targets {
            if timeout_at(deadline, &mut target).await.is_err() {
                tracing::warn!(
                    "stopping although an alert is on its way; it is sent again after the next start"
                );
                target.abort();
                drop(target.await);
            }
        }
    }
}

async fn watch(scene: Scene, facts: channel::Sender<Arc<Facts>>) {
    let mut watch = Watch::default();
    let mut tick = tokio::time::interval(LOOK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !facts.is_closed() {
        tick.tick().await;
        let changes = watch.look(Instant::now(), unix_now(), scene.look());
        for change in &changes {
            message::log(change);
        }
        facts.send_if_modified(|known| {
            let changed = **known != *watch.facts();
            if changed {
                *known = Arc::new(watch.facts().clone());
            }
            changed
        });
    }
}

impl Scene {
    fn look(&self) -> Vec<Sighting> {
        let portals = self.portals.all();
        let mut sightings: Vec<_> = portals
            .iter()
            // An operator knows what they have taken out of service themselves.
            .filter(|portal| portal.standing.closed() != Some(Closed::Disabled))
            .filter_map(|portal| Sighting::of_portal(&portal.name, &portal.status()))
            .collect();
        sightings.push(Sighting::of_store(self.store_fails()));
        sightings
    }

    /// The one place that says what a failing store is.
    fn store_fails(&self) -> bool {
        let unsaved = || self.portals.all().iter().any(|portal| portal.status().unsaved);
        self.custody.is_store_failing() || unsaved()
    }
}

/// How often the state is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long a shutdown waits for alerts on their way.
const STOP_MAX: Duration = Duration::from_secs(5);

#[cfg(test)]
mod tests;
