//! What is kept of clients: who has a key, by its digest, and what those that a command made may do.
//!
//! From the first key on, keys that are not known are refused for good. A small file beside the
//! database says so, too, and is durable before the first key is: a database that is lost takes the
//! keys with it, and must not let in everybody instead.

use std::fmt;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::store::directory::Directory;
use crate::store::{Pending, StateError};

/// Durable custody of who may call. When a future resolves to `Ok`, what it wrote survives a power
/// cut.
pub trait ClientStore: fmt::Debug + Send + Sync + 'static {
    /// Everybody who has a key or had one, by name.
    fn clients(&self) -> Pending<'_, KeptClients>;

    /// Gives a client a key; one that is not there is made. `rules` are those of a client that a
    /// command made, and take the place of those it had.
    fn add_client<'a>(
        &'a self,
        name: &'a str,
        rules: Option<&'a ClientRules>,
        key: &'a ClientKey,
    ) -> Pending<'a, ()>;

    /// Gives a client that is there another key. Those it has end `until`, unless they end before;
    /// without it they are gone.
    fn rotate_key<'a>(
        &'a self,
        name: &'a str,
        key: &'a ClientKey,
        until: Option<u64>,
    ) -> Pending<'a, ()>;

    /// Forgets a client with all its keys; one that is not there is no error.
    fn remove_client<'a>(&'a self, name: &'a str) -> Pending<'a, ()>;
}

/// Who has a key.
#[derive(Debug, Default)]
pub struct KeptClients {
    /// By name.
    pub clients: Vec<KeptClient>,
    /// Whether there ever was one.
    pub closed: bool,
    /// Whether there were some in a database that is lost or was replaced by an older one, and none
    /// since.
    pub lost: bool,
}

/// A client as it lies in the store.
#[derive(Clone, Debug)]
pub struct KeptClient {
    /// Its name.
    pub name: String,
    /// Where its rules are.
    pub rules: KeptRules,
    /// Its keys, oldest first, those that have ended among them.
    pub keys: Vec<ClientKey>,
}

/// Where the rules of a client are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeptRules {
    /// In the configuration.
    Configured,
    /// Here: a command made the client.
    Made(ClientRules),
    /// Here, and they cannot be read: nobody knows what the client may do.
    Unreadable,
}

/// What a client that a command made may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientRules {
    /// The portals it may call; `None` is every portal.
    pub portals: Option<Vec<String>>,
    /// Patterns of methods, with `!` in front of what is forbidden.
    pub methods: Vec<String>,
    /// Whether it may only read.
    pub read_only: bool,
    /// When it stops being let in, unix seconds.
    pub expires_at: Option<u64>,
}

/// A key, as far as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientKey {
    /// Its SHA-256.
    pub digest: [u8; 32],
    /// When it was made, unix seconds.
    pub made_at: u64,
    /// When it stops working, unix seconds.
    pub expires_at: Option<u64>,
}

/// The file beside the database that says that there were clients.
#[derive(Debug)]
pub(super) struct Closing(Directory);

/// Whether there were clients in this state directory, where there is no database to ask.
pub fn had_clients(state: &Path) -> bool {
    state.join(FILE).symlink_metadata().is_ok()
}

impl Closing {
    /// In the state directory.
    pub(super) fn new(state: Directory) -> Self {
        Self(state)
    }

    /// Whether the file is there. Whatever has its name counts.
    pub(super) fn is_there(&self) -> Result<bool, StateError> {
        match self.0.path().join(FILE).symlink_metadata() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(StateError::Io { path: self.0.path().join(FILE), source }),
        }
    }

    /// Makes the file, durably, unless it is there.
    pub(super) fn make(&self) -> Result<(), StateError> {
        if self.is_there()? { Ok(()) } else { self.0.publish(FILE, SAID) }
    }
}

const FILE: &str = "b24gate.clients";
const SAID: &[u8] = b"Clients were given keys here. While this file is there, a key that b24gate \
                      does not know is refused,\nalso when the database is lost. It holds no secret.\n";
