//! What all connections of a sandbox share.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;
use tokio::time::Instant;

use super::faults::{Faults, is_down};
use super::installs::Installs;
use super::journal::{Counters, Entry, Journal};
use super::limits::Meter;
use super::records::Records;
use super::switches::Switches;
use super::text;
use super::tokens::{Owner, Tokens};
use super::wire::Head;

/// Who this portal is.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) client_id: String,
    pub(super) client_secret: String,
    pub(super) member_id: String,
    pub(super) user_id: u32,
    /// The secret of the one incoming webhook.
    pub(super) webhook: String,
    /// Signs links to files.
    pub(super) link_key: [u8; 32],
}

/// Which listener a connection came in by. Each one serves everything; they differ in what can be
/// down, and in what they call themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The portal; the OAuth server, too, unless it has an address of its own.
    Portal,
    /// The OAuth server's own address.
    Oauth,
    /// The portal's address after its renaming.
    Renamed,
}

impl Place {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Portal => "portal",
            Self::Oauth => "oauth",
            Self::Renamed => "renamed",
        }
    }
}

/// Where everything listens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    pub(super) portal: SocketAddr,
    pub(super) oauth: Option<SocketAddr>,
    pub(super) renamed: Option<SocketAddr>,
}

/// What all connections share.
#[derive(Debug)]
pub(super) struct State {
    pub(super) identity: Identity,
    pub(super) addresses: Addresses,
    pub(super) started: Instant,
    /// Counts changes of the faults, so that listeners look whether they are down.
    pub(super) weather: watch::Sender<u64>,
    /// Which listeners are closed at the moment.
    pub(super) closed: watch::Sender<Closed>,
    inner: Mutex<Inner>,
}

/// Which listeners have really been closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Closed {
    pub(super) portal: bool,
    pub(super) oauth: bool,
}

/// What changes.
#[derive(Debug)]
pub(super) struct Inner {
    pub(super) switches: Switches,
    pub(super) tokens: Tokens,
    pub(super) installs: Installs,
    pub(super) faults: Faults,
    pub(super) counters: Counters,
    pub(super) meter: Meter,
    pub(super) records: Records,
    pub(super) journal: Journal,
    requests: u64,
}

impl State {
    pub(super) fn new(identity: Identity, addresses: Addresses, switches: Switches) -> Self {
        let inner = Inner {
            switches,
            tokens: Tokens::new(),
            installs: Installs::default(),
            faults: Faults::default(),
            counters: Counters::default(),
            meter: Meter::new(),
            records: Records::new(),
            journal: Journal::default(),
            requests: 0,
        };
        Self {
            identity,
            addresses,
            started: Instant::now(),
            weather: watch::Sender::new(0),
            closed: watch::Sender::new(Closed::default()),
            inner: Mutex::new(inner),
        }
    }

    /// What changes, for as long as the guard is held; never across an await.
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `http://host:port` of the portal, after a renaming of the renamed one.
    pub(super) fn portal_url(&self, switches: &Switches) -> String {
        if switches.renamed {
            return self.renamed_url();
        }
        let own = || format!("http://{}", self.addresses.portal);
        switches.portal_url.clone().unwrap_or_else(own)
    }

    /// `http://host:port` of one of the portals that live here.
    pub(super) fn url_of(&self, inner: &Inner, member_id: &str) -> String {
        let own = inner.installs.find(member_id).and_then(|install| install.portal_url.clone());
        own.unwrap_or_else(|| self.portal_url(&inner.switches))
    }

    /// The portal that a request is meant for, by its `Host`.
    pub(super) fn member_at(&self, inner: &Inner, head: &Head) -> String {
        let named = head.header("host").and_then(|host| inner.installs.at(host));
        named.unwrap_or(&self.identity.member_id).to_owned()
    }

    /// Whose browser it is, unless a request says otherwise.
    pub(super) fn visitor(&self, inner: &Inner, head: &Head) -> Owner {
        let user_id = inner.switches.browser_user.unwrap_or(self.identity.user_id);
        Owner { member_id: self.member_at(inner, head), user_id }
    }

    /// `http://host:port` of the portal after a renaming.
    pub(super) fn renamed_url(&self) -> String {
        format!("http://{}", self.addresses.renamed.unwrap_or(self.addresses.portal))
    }

    /// `http://host:port` of the OAuth server.
    pub(super) fn oauth_url(&self, switches: &Switches) -> String {
        let own = || format!("http://{}", self.addresses.oauth.unwrap_or(self.addresses.portal));
        switches.oauth_url.clone().unwrap_or_else(own)
    }

    /// Whether this listener should be closed.
    pub(super) fn should_close(&self, place: Place) -> bool {
        let inner = self.lock();
        match place {
            Place::Portal => is_down(inner.faults.portal_down),
            Place::Oauth => is_down(inner.faults.oauth_down),
            Place::Renamed => false,
        }
    }

    /// Files what became of a request.
    pub(super) fn file(&self, mut entry: Entry) {
        let mut inner = self.lock();
        inner.requests += 1;
        entry.number = inner.requests;
        entry.at_ms = text::millis(self.started.elapsed());
        inner.journal.push(entry);
    }

    /// Whether the bucket of that address has room.
    pub(super) fn admits(&self, address: IpAddr) -> bool {
        let mut inner = self.lock();
        match inner.switches.limits {
            Some(limits) => inner.meter.admit(address, limits),
            None => true,
        }
    }
}

impl Identity {
    /// Made up, in the shapes that Bitrix24 uses.
    pub(super) fn invent() -> Self {
        let mut link_key = [0; 32];
        text::fill_random(&mut link_key);
        let digits = text::unix_seconds() % 100_000_000;
        let mut app = text::random_hex(7);
        app.truncate(13);
        Self {
            client_id: format!("local.{app}.{digits:08}"),
            client_secret: text::random_hex(25),
            member_id: text::random_hex(16),
            user_id: 1,
            webhook: text::random_hex(8),
            link_key,
        }
    }
}
