//! The tools that may call: who they are, by which key, and what they may do.
//!
//! A client is known by a key that it shows in one of four places; the gateway holds only the
//! key's hash. What a client may do comes from the configuration or, for one that was made by a
//! command, from the store. `app` puts both together into one [`Table`] whenever either changes;
//! requests read it without waiting.

mod key;
mod register;
mod rules;
mod way;

pub use key::{Digest, Key};
pub use register::{
    Configured, DeedError, Known, Minted, Register, Source, Standing, Wish, described, nobody,
};
pub use rules::Rules;
pub use way::{check, path_portal};

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::metrics::ClientTally;

/// A tool that may call.
#[derive(Debug)]
pub struct Client {
    /// Its name, by which people and metrics know it.
    pub name: Arc<str>,
    /// The portals it may call, by name; `None` is every portal.
    pub portals: Option<Box<[String]>>,
    /// The methods it may call.
    pub rules: Rules,
    /// When it stops being let in, unix seconds.
    pub expires_at: Option<u64>,
    /// Its share of a portal's budget beside other clients.
    pub weight: u32,
    /// The longest time that its calls are held back, where that differs from the gateway's.
    pub max_wait: Option<Duration>,
    /// What is counted of it; every key of it counts there.
    pub tally: Arc<ClientTally>,
}

/// Everybody who may call, as requests see it.
#[derive(Debug, Default)]
pub struct Clients {
    table: ArcSwap<Table>,
    /// Whether that one is closed: all that a call has to know where there is no client.
    closed: AtomicBool,
}

/// One state of it, whole.
#[derive(Debug, Default)]
pub struct Table {
    /// By digest, because a key itself is not kept. Finding one by its digest tells nothing about
    /// the keys that are there.
    by_digest: HashMap<Digest, Entry>,
    /// Whether there was ever a client: from then on a key that is not known is refused, also
    /// when the last client is gone.
    closed: bool,
}

#[derive(Debug)]
struct Entry {
    client: Arc<Client>,
    /// When this key stops working, unix seconds, where that is before its client does.
    expires_at: Option<u64>,
}

impl Client {
    /// Whether it may call the portal of this name.
    pub fn may_call(&self, portal: &str) -> bool {
        self.portals.as_ref().is_none_or(|names| names.iter().any(|name| name == portal))
    }

    /// The portal that a call of this client is for when it names none.
    pub fn only_portal(&self) -> Option<&str> {
        match self.portals.as_deref() {
            Some([only]) => Some(only),
            _ => None,
        }
    }
}

impl Clients {
    /// Whether nobody has ever made a client, so that a key in a request is of no meaning and is
    /// only taken out of it.
    pub fn is_open(&self) -> bool {
        !self.closed.load(Ordering::Acquire)
    }

    /// Whose key this is, at a time in unix seconds. The same `None` for a key that is unknown,
    /// revoked or expired.
    pub fn by_key(&self, key: &[u8], now: u64) -> Option<Arc<Client>> {
        let table = self.table.load();
        let entry = table.by_digest.get(&Digest::of(key)?)?;
        let until = [entry.expires_at, entry.client.expires_at].into_iter().flatten().min();
        until.is_none_or(|until| now < until).then(|| entry.client.clone())
    }

    /// From now on, these.
    pub fn replace(&self, table: Table) {
        let closed = table.closed;
        // In this order, so that whoever sees it closed finds the clients.
        self.table.store(Arc::new(table));
        self.closed.store(closed, Ordering::Release);
    }
}

impl Table {
    /// Nobody; `closed` when there was somebody once.
    pub fn new(closed: bool) -> Self {
        Self { by_digest: HashMap::new(), closed }
    }

    /// Lets a client in by the key with this digest, until then.
    pub fn admit(&mut self, digest: Digest, client: Arc<Client>, expires_at: Option<u64>) {
        self.closed = true;
        self.by_digest.insert(digest, Entry { client, expires_at });
    }
}
