//! Everybody who may call, put together from what the configuration says and what the store keeps;
//! and what commands do to it. It is the same with and without a running gateway, but that without
//! one no request reads the table.

mod known;
mod refusal;

pub use known::{Known, Source, Standing};
pub use refusal::DeedError;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Mutex;

use crate::client::{Client, Clients, Digest, Key, Rules, Table};
use crate::config;
use crate::metrics::{ClientTally, Traffic};
use crate::store::{ClientKey, ClientRules, ClientStore, KeptClient, KeptRules, StoreError};

/// Who may call, and on what terms.
#[derive(Debug)]
pub struct Register {
    store: Arc<dyn ClientStore>,
    traffic: Arc<Traffic>,
    clients: Arc<Clients>,
    /// Held over a change and its write, so that of two changes the second sees the first.
    book: Mutex<Book>,
    lost: AtomicBool,
}

/// By the names of clients, as `[clients.NAME]` describes them.
pub type Configured = BTreeMap<String, Arc<config::Client>>;

/// A client that is to be given its first key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Its name.
    pub name: String,
    /// What it may do; `None` where whoever asks has read that in the configuration.
    pub rules: Option<ClientRules>,
}

/// A key that was just made, with whose it is.
#[derive(Debug)]
pub struct Minted {
    /// To be shown once.
    pub key: Key,
    /// The portals that its client may call.
    pub portals: Option<Vec<String>>,
}

#[derive(Debug, Default)]
struct Book {
    configured: Configured,
    kept: BTreeMap<String, Kept>,
    /// Whether there ever was a key.
    closed: bool,
}

/// A client of the store.
#[derive(Debug)]
struct Kept {
    rules: KeptRules,
    keys: Vec<ClientKey>,
    /// Its keys were revoked, and the store does not say so yet.
    revoked: bool,
    /// What is counted of it, for as long as it is known.
    tally: Arc<ClientTally>,
}

impl Register {
    /// What the store keeps, with the clients of the configuration.
    pub async fn open(
        store: Arc<dyn ClientStore>,
        traffic: Arc<Traffic>,
        configured: Configured,
    ) -> Result<Self, StoreError> {
        let found = store.clients().await?;
        let kept = found.clients.into_iter().map(|client| {
            let KeptClient { name, rules, keys } = client;
            let tally = traffic.client(&name);
            (name, Kept { rules, keys, revoked: false, tally })
        });
        let book = Book { configured, kept: kept.collect(), closed: found.closed };
        let clients = Arc::new(Clients::default());
        clients.replace(book.table());
        let lost = AtomicBool::new(found.lost);
        Ok(Self { store, traffic, clients, book: Mutex::new(book), lost })
    }

    /// The table that requests read.
    pub fn clients(&self) -> &Arc<Clients> {
        &self.clients
    }

    /// Whether the keys of clients were lost with the database, and none was made since.
    pub fn are_lost(&self) -> bool {
        self.lost.load(Ordering::Relaxed)
    }

    /// Takes changed sections over. A client that has lost its section has lost its rules with it,
    /// so that its keys are refused.
    pub async fn reconfigure(&self, configured: Configured) {
        let mut book = self.book.lock().await;
        book.configured = configured;
        self.clients.replace(book.table());
    }

    /// Gives a client its first key; durable, and let in, when this returns.
    pub async fn add(&self, wish: Wish, now: u64) -> Result<Minted, DeedError> {
        let mut book = self.book.lock().await;
        book.check(&wish)?;
        let Wish { name, rules } = wish;
        let key = Key::draw().map_err(DeedError::Random)?;
        let kept = kept(&key, now);
        self.store.add_client(&name, rules.as_ref(), &kept).await.map_err(DeedError::Store)?;
        self.lost.store(false, Ordering::Relaxed);
        let rules = rules.map_or(KeptRules::Configured, KeptRules::Made);
        let tally = self.traffic.client(&name);
        let entry = Kept { rules, keys: vec![kept], revoked: false, tally };
        book.closed = true;
        book.kept.insert(name.clone(), entry);
        self.clients.replace(book.table());
        tracing::info!(client = %name, "client added");
        Ok(Minted { key, portals: book.portals(&name) })
    }

    /// Gives a client another key. The old ones end at once, or `overlap` seconds from now.
    pub async fn rotate(
        &self,
        name: &str,
        overlap: Option<u64>,
        now: u64,
    ) -> Result<Minted, DeedError> {
        let mut book = self.book.lock().await;
        let Some(client) = book.kept.get(name) else {
            return Err(book.has_no_key(name));
        };
        if book.rules_of(name).is_none() {
            let name = name.to_owned();
            return Err(match client.rules {
                KeptRules::Unreadable => DeedError::Unreadable { name },
                KeptRules::Configured | KeptRules::Made(_) => DeedError::NoRules { name },
            });
        }
        // What was revoked does not come back for a while.
        let overlap = overlap.filter(|_| !client.revoked);
        let key = Key::draw().map_err(DeedError::Random)?;
        let new = kept(&key, now);
        let until = overlap.map(|seconds| now.saturating_add(seconds));
        self.store.rotate_key(name, &new, until).await.map_err(DeedError::Store)?;
        if let Some(client) = book.kept.get_mut(name) {
            client.end_keys(until, now);
            client.keys.push(new);
            client.revoked = false;
        }
        self.clients.replace(book.table());
        tracing::info!(client = name, overlap, "client has another key");
        Ok(Minted { key, portals: book.portals(name) })
    }

    /// Takes a client's keys away, and the client itself where a command made it. Says whether the
    /// configuration still describes it.
    pub async fn remove(&self, name: &str) -> Result<Source, DeedError> {
        let mut book = self.book.lock().await;
        let Some(client) = book.kept.get_mut(name) else {
            return Err(book.has_no_key(name));
        };
        // Before the store is asked: a disk that cannot be written must not keep anybody in.
        client.revoked = true;
        self.clients.replace(book.table());
        if let Err(error) = self.store.remove_client(name).await {
            tracing::error!(client = name, "client revoked, and the store does not say so yet");
            return Err(DeedError::Revoked { name: name.to_owned(), source: error });
        }
        let source = book.source(name);
        book.kept.remove(name);
        self.clients.replace(book.table());
        tracing::info!(client = name, "client removed");
        Ok(source)
    }

    /// Everybody that the configuration describes or the store keeps, by name.
    pub async fn known(&self, now: u64) -> Vec<Known> {
        self.book.lock().await.known(now)
    }
}

/// Everybody that the configuration describes, where there is no store yet.
pub fn described(configured: &Configured, now: u64) -> Vec<Known> {
    Book { configured: configured.clone(), ..Book::default() }.known(now)
}

/// Why nothing can be done to this client where there is no store yet.
pub fn nobody(configured: &Configured, name: &str) -> DeedError {
    Book { configured: configured.clone(), ..Book::default() }.has_no_key(name)
}

impl Book {
    /// What requests read. A client of the configuration closes it even without a key.
    fn table(&self) -> Table {
        let mut table = Table::new(self.closed || !self.configured.is_empty());
        for (name, kept) in self.kept.iter().filter(|(_, kept)| !kept.revoked) {
            let Some(client) = self.client(name, &kept.tally) else {
                tracing::warn!(client = %name, "client refused: nothing says what it may do");
                continue;
            };
            let client = Arc::new(client);
            for key in &kept.keys {
                let digest = Digest::from_bytes(key.digest);
                table.admit(digest, client.clone(), key.expires_at);
            }
        }
        table
    }

    fn client(&self, name: &str, tally: &Arc<ClientTally>) -> Option<Client> {
        let (weight, max_wait) = match self.configured.get(name) {
            Some(section) => (section.weight, section.max_wait),
            None => (1, None),
        };
        let rules = self.rules_of(name)?;
        Some(Client {
            name: name.into(),
            portals: rules.portals.map(Vec::into_boxed_slice),
            rules: Rules::new(&rules.methods, rules.read_only),
            expires_at: rules.expires_at,
            weight,
            max_wait,
            tally: tally.clone(),
        })
    }

    /// What a client may do, where something says it. The configuration has the last word.
    fn rules_of(&self, name: &str) -> Option<ClientRules> {
        if let Some(section) = self.configured.get(name) {
            return Some(ClientRules {
                portals: section.portals.clone(),
                methods: section.methods.clone(),
                read_only: section.read_only,
                expires_at: section.expires_at,
            });
        }
        match &self.kept.get(name)?.rules {
            KeptRules::Made(rules) => Some(rules.clone()),
            KeptRules::Configured | KeptRules::Unreadable => None,
        }
    }

    fn portals(&self, name: &str) -> Option<Vec<String>> {
        self.rules_of(name).and_then(|rules| rules.portals)
    }

    fn source(&self, name: &str) -> Source {
        if self.configured.contains_key(name) {
            return Source::Configuration;
        }
        match self.kept.get(name).map(|kept| &kept.rules) {
            Some(KeptRules::Made(_) | KeptRules::Unreadable) => Source::Command,
            Some(KeptRules::Configured) | None => Source::Nowhere,
        }
    }

    fn check(&self, wish: &Wish) -> Result<(), DeedError> {
        let name = wish.name.clone();
        if self.kept.contains_key(&name) {
            return Err(DeedError::HasKey { name });
        }
        match (self.configured.contains_key(&name), &wish.rules) {
            (true, Some(_)) => Err(DeedError::Configured { name }),
            (false, None) => Err(DeedError::NotConfigured { name }),
            (true, None) | (false, Some(_)) => Ok(()),
        }
    }

    fn has_no_key(&self, name: &str) -> DeedError {
        let name = name.to_owned();
        if self.configured.contains_key(&name) {
            return DeedError::NoKey { name };
        }
        let names = self.kept.keys().chain(self.configured.keys());
        let known = names.cloned().collect::<std::collections::BTreeSet<_>>();
        DeedError::Unknown { name, known: known.into_iter().collect() }
    }
}

impl Kept {
    fn end_keys(&mut self, until: Option<u64>, now: u64) {
        match until {
            None => self.keys.clear(),
            Some(until) => {
                for key in &mut self.keys {
                    key.expires_at = Some(key.expires_at.map_or(until, |at| at.min(until)));
                }
                self.keys.retain(|key| key.expires_at.is_none_or(|at| now < at));
            }
        }
    }
}

fn kept(key: &Key, now: u64) -> ClientKey {
    ClientKey { digest: *key.digest().as_bytes(), made_at: now, expires_at: None }
}

#[cfg(test)]
mod tests;
