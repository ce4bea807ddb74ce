//! One portal: where it lives, how it reads tokens, whose credential is lent for it, its budget.

mod arrival;
mod budget;
mod holder;
mod place;
mod portals;
mod standing;

pub use arrival::{Arrival, NameTaken};
pub use budget::Budget;
pub use holder::{Complaint, Holder, Webhook};
pub use portals::Portals;
pub use standing::{Closed, DISABLED, Standing, UNINSTALLED};

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use tokio::time::Instant;

use crate::config::{self, Access, Endpoint, Inject, Refresh};
use crate::credential::{Credential, Custody, State, Status};
use crate::metrics::{Level, PortalTally};
use crate::transport::Connector;

/// A portal and everything that all requests to it share.
#[derive(Debug)]
pub struct Portal {
    /// The name in the configuration.
    pub name: String,
    /// The same, for what outlives a request.
    pub label: Arc<str>,
    /// What opens the portal.
    pub holder: Holder,
    /// Whether it is served at all.
    pub standing: Arc<Standing>,
    /// Places for calls.
    pub budget: Arc<Budget>,
    /// What its calls come to.
    pub tally: Arc<PortalTally>,
    custody: Arc<Custody>,
    settings: Arc<config::Portal>,
    site: ArcSwap<Site>,
    /// The last redirect that the OAuth server did not confirm, and when; the lock makes all calls
    /// that meet a redirect share one question.
    refused_move: tokio::sync::Mutex<Option<(Endpoint, Instant)>>,
    /// What the operator set, and what the portal was seen to read, as `Slot` numbers.
    slot: AtomicU8,
    requests: AtomicU64,
}

/// Where a portal is reached. Replaced as a whole when the portal moves, so that a connection made
/// to the old place is never used for the new one.
#[derive(Debug)]
pub struct Site {
    /// Unique in the process; connections are pooled under it.
    pub id: u64,
    /// Scheme, host and port.
    pub endpoint: Endpoint,
    /// The value of the Host field.
    pub authority: String,
    /// Makes connections with this portal's roots.
    pub connector: Connector,
}

/// What the store remembers of a portal besides its credential.
#[derive(Debug, Default)]
pub struct Remembered {
    /// How it was seen to read tokens.
    pub inject: Option<Inject>,
    /// Where it moved to.
    pub endpoint: Option<Endpoint>,
}

/// Where the token goes in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// `Authorization: Bearer`, not yet known to work: a 401 is tried once more with the parameter.
    BearerUntried,
    /// `Authorization: Bearer`
    Bearer,
    /// `auth=` in the query.
    Parameter,
}

impl Site {
    /// A place under a number of its own.
    pub fn new(endpoint: Endpoint, connector: Connector) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let authority = endpoint.authority();
        Self { id: NEXT.fetch_add(1, Ordering::Relaxed), endpoint, authority, connector }
    }
}

impl Portal {
    /// A portal as configured, with what the store remembers of it.
    pub fn new(
        settings: Arc<config::Portal>,
        connector: Connector,
        (holder, standing, custody): (Holder, Arc<Standing>, Arc<Custody>),
        remembered: &Remembered,
    ) -> Self {
        let endpoint = remembered.endpoint.clone().unwrap_or_else(|| settings.url.clone());
        let budget = Arc::new(Budget::new(settings.plan));
        let level: Arc<dyn Level> = budget.clone();
        let tally = custody.metrics().traffic().portal(&settings.name, Arc::downgrade(&level));
        Self {
            name: settings.name.clone(),
            label: settings.name.as_str().into(),
            budget,
            tally,
            holder,
            standing,
            custody,
            site: ArcSwap::from_pointee(Site::new(endpoint, connector)),
            slot: AtomicU8::new(Slot::of(settings.inject, remembered.inject) as u8),
            requests: AtomicU64::new(0),
            refused_move: tokio::sync::Mutex::new(None),
            settings,
        }
    }

    /// How old a pair may become before it is renewed ahead of time, for those who asked for that.
    pub fn renew_every(&self) -> Option<Duration> {
        match self.settings.refresh {
            Refresh::Lazy => None,
            Refresh::Every(interval) => Some(interval),
        }
    }

    /// Whether it can stay as it is under these settings. With a `ca_file` it cannot: the file may
    /// have changed.
    pub fn fits(&self, settings: &config::Portal) -> bool {
        let old = &self.settings;
        let same_place = old.url == settings.url && old.inject == settings.inject;
        let no_files = old.ca_file.is_none() && settings.ca_file.is_none();
        let same_pace = old.plan == settings.plan && old.refresh == settings.refresh;
        let same_way_in = match (&self.holder, &settings.access) {
            (Holder::Application(_), Access::Application(_)) => true,
            (Holder::IncomingWebhook(old), Access::IncomingWebhook(new)) => {
                old.user_id == new.user_id && old.secret.matches(new.secret.expose())
            }
            _ => false,
        };
        same_place && no_files && same_pace && same_way_in
    }

    /// The credential, unless the portal is opened by an incoming webhook.
    pub fn credential(&self) -> Option<&Arc<Credential>> {
        match &self.holder {
            Holder::Application(credential) => Some(credential),
            Holder::IncomingWebhook(_) => None,
        }
    }

    /// What people are shown: the credential's state, or why the portal is not served.
    pub fn status(&self) -> Arc<Status> {
        let status = self.holder.status();
        let state = match self.standing.closed() {
            None => return status,
            Some(Closed::Disabled) => State::Paused { code: DISABLED.to_owned() },
            Some(Closed::Uninstalled) => State::Dead { code: UNINSTALLED.to_owned() },
        };
        Arc::new(Status { state, ..Status::clone(&status) })
    }

    /// Whether this is its stable key, by its credential or by how it came.
    pub fn has_member_id(&self, member_id: &str) -> bool {
        let is_it = |known: &str| known.eq_ignore_ascii_case(member_id);
        self.holder.status().member_id.as_deref().is_some_and(is_it)
            || self.standing.facts().arrived.as_ref().is_some_and(|it| is_it(&it.member_id))
    }

    /// Domains where it does not live any more, perhaps: what the configuration says, and the one
    /// that it came under.
    fn older_domains(&self) -> impl Iterator<Item = String> {
        let url = &self.settings.url;
        let came_under = self.name.contains(['.', ':']).then(|| self.name.clone());
        [url.host.clone(), url.authority()].into_iter().chain(came_under)
    }

    /// Where it is reached now; wait-free.
    pub fn site(&self) -> Guard<Arc<Site>> {
        self.site.load()
    }

    /// Where the token goes.
    pub fn slot(&self) -> Slot {
        Slot::from_number(self.slot.load(Ordering::Relaxed))
    }

    /// Counts a request.
    pub fn count_request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    /// Requests since the process started.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::Relaxed)
    }
}

impl Slot {
    fn of(setting: Inject, remembered: Option<Inject>) -> Self {
        match (setting, remembered) {
            (Inject::Bearer, _) | (Inject::Auto, Some(Inject::Bearer)) => Self::Bearer,
            (Inject::Parameter, _) | (Inject::Auto, Some(Inject::Parameter)) => Self::Parameter,
            (Inject::Auto, _) => Self::BearerUntried,
        }
    }

    fn from_number(number: u8) -> Self {
        match number {
            n if n == Self::Parameter as u8 => Self::Parameter,
            n if n == Self::Bearer as u8 => Self::Bearer,
            _ => Self::BearerUntried,
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
