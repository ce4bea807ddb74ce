//! The contract of the store: what must survive anything short of losing the disk.
//!
//! Every pair lies in two files: in the database, and as the raw answer that brought it in a journal
//! slot beside it. A success may always be stored; a failure may never delete. Every write that
//! follows an exchange is a compare-and-swap on the generation, so that an actor that comes late
//! cannot put an older pair over a newer one.

mod backup;
mod clients;
mod directory;
mod journal;
mod key;
mod registry;
mod rekey;
mod retired;
mod rows;
mod sealed;
mod sqlite;
mod state;

pub use backup::{After, Backup, BackupError, Older, Origin, Restore, Restored, Whereabouts};
pub use clients::{
    ClientKey, ClientRules, ClientStore, KeptClient, KeptClients, KeptRules, had_clients,
};
pub use key::{Key, KeyError};
pub use registry::{Arrived, Facts, INBOX_MAX, Letter, Person, Registry};
pub use rekey::{RekeyError, Rekeyed, rekey};
pub use retired::Retired;
pub use sqlite::{OpenError, SqliteStore};
pub use state::{StateDirectory, StateError, inspect, locate};

pub(crate) use directory::{Directory, Missing};
pub(crate) use state::private;

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use serde::{Deserialize, Serialize};

use crate::config::{Endpoint, Inject};
use crate::credential::{ChainId, Generation, Grant, Link, RawAnswer, Secret, State};

/// The answer of a store operation.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Durable custody of the portals' credentials.
///
/// When a future resolves to `Ok`, what it wrote survives a power cut. Dropping a future may leave
/// its write done or not done, never half done.
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Every portal that the database or the journal knows.
    ///
    /// A chain that cannot be opened (another key, a swapped row, a flipped bit) does not fail the
    /// others: it comes back as `Err`.
    fn load(&self) -> Pending<'_, Vec<Record>>;

    /// Writes down that `link` is about to be exchanged, and makes room for the answer. An exchange
    /// whose intent is not durable must not be started. Fails with [`StoreError::Superseded`] when
    /// the chain is no longer at that generation, and with [`StoreError::Unavailable`] when the
    /// database file is gone or was exchanged under the running process.
    fn intend<'a>(&'a self, link: Link<'a>) -> Pending<'a, ()>;

    /// Makes the answer to the exchange of `link` durable as it came: in the slot that
    /// [`Store::intend`] prepared, else in a new file, else in the spool (a directory on another
    /// file system). Fails when there is no place left.
    fn receive<'a>(&'a self, link: Link<'a>, answer: &'a RawAnswer) -> Pending<'a, ()>;

    /// Stores the pair that the exchange of `link` brought, as the next generation of its chain, and
    /// clears the intent. When an answer of status 200 was received for `link`, that answer counts
    /// as the pair's second copy: it must be the one that the pair was read from. Fails with [`StoreError::Superseded`] when the chain is not at `link`.
    fn commit<'a>(&'a self, link: Link<'a>, grant: &'a Grant) -> Pending<'a, Generation>;

    /// As [`Store::commit`], for a pair found in the journal: the chain may also stand at an earlier
    /// generation than `link`, because the database is older than the journal.
    fn recover<'a>(&'a self, link: Link<'a>, grant: &'a Grant) -> Pending<'a, Generation>;

    /// Writes down why `link` cannot be refreshed, and clears the intent; the tokens stay. Changes
    /// nothing when the chain is no longer at `link`.
    fn fail<'a>(&'a self, link: Link<'a>, state: &'a State) -> Pending<'a, ()>;

    /// Starts a chain with `grant`, under a generation above all that the portal ever had.
    fn add<'a>(&'a self, portal: &'a str, grant: &'a Grant, seat: Seat) -> Pending<'a, Added>;

    /// Makes a spare the portal's active chain, under a generation above all that the portal ever
    /// had; the one that was active stays in the store, with its state, as what it was. `None` when
    /// the spare is gone or does not open.
    fn promote<'a>(
        &'a self,
        portal: &'a str,
        spare: ChainId,
    ) -> Pending<'a, Option<StoredCredential>>;

    /// Gives an arriving chain a seat after its first exchange, as [`Store::add`] does for a new one:
    /// as the active chain under a generation above all that the portal ever had, as a spare under
    /// its own. What was received for it must have been committed before. Fails with
    /// [`StoreError::Superseded`] when the chain is not at `link`, with [`StoreError::Unknown`] when
    /// it is not arriving, and with [`StoreError::Sealed`] when it does not open.
    fn take_seat<'a>(&'a self, link: Link<'a>, seat: Seat) -> Pending<'a, Added>;

    /// Turns an arriving chain away: its pair turned out to be of no use. It becomes history, like a
    /// chain that was replaced. Changes nothing when the chain is not arriving at `link`.
    fn turn_away<'a>(&'a self, link: Link<'a>) -> Pending<'a, ()>;

    /// Removes the portal's answers that another store wrote ([`Answered::ours`] is false), after
    /// their pairs were added to this one.
    fn forget_answers<'a>(&'a self, portal: &'a str) -> Pending<'a, ()>;

    /// The latest `limit` lines of a portal's ledger, newest first.
    fn ledger<'a>(&'a self, portal: &'a str, limit: u32) -> Pending<'a, Vec<LedgerEntry>>;

    /// Whether this refresh token was ever a portal's, by the ledger; says when it was last seen and
    /// under which generation. Tokens are compared by eight hex digits of their hash.
    fn seen<'a>(&'a self, portal: &'a str, refresh: &'a Secret)
    -> Pending<'a, Option<LedgerEntry>>;

    /// The condition that people were last alerted to, per subject.
    fn alerted(&self) -> Pending<'_, Vec<(String, String)>>;

    /// Remembers that people were alerted.
    fn remember_alert<'a>(&'a self, subject: &'a str, condition: &'a str) -> Pending<'a, ()>;

    /// Remembers how the portal reads tokens ([`Inject::Bearer`] or [`Inject::Parameter`]).
    fn remember_inject<'a>(&'a self, portal: &'a str, inject: Inject) -> Pending<'a, ()>;

    /// Remembers where the portal moved to; `None` forgets it.
    fn remember_endpoint<'a>(
        &'a self,
        portal: &'a str,
        endpoint: Option<&'a Endpoint>,
    ) -> Pending<'a, ()>;
}

/// Where a new chain sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seat {
    /// It is the portal's credential from now on. The chain that was active becomes a spare when
    /// `keep_old`, else history.
    Active {
        /// Whether the chain that was active goes on as a spare.
        keep_old: bool,
    },
    /// It waits for the active one to die. At most [`SPARES_MAX`] wait: the oldest makes room.
    Spare,
    /// Whoever brought it may have a copy, so it is exchanged before it gets a seat
    /// ([`Store::take_seat`]). Nobody makes room for it.
    Arriving,
}

/// Spare chains kept per portal.
pub const SPARES_MAX: usize = 2;

/// Where a new chain came to sit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Added {
    /// Its number.
    pub chain: ChainId,
    /// Its generation.
    pub generation: Generation,
    /// The spare that had to make room.
    pub dropped: Option<ChainId>,
}

/// What the store knows of one portal.
#[derive(Debug)]
pub struct Record {
    /// The portal's name in the configuration.
    pub portal: String,
    /// How the portal was seen to read tokens.
    pub inject: Option<Inject>,
    /// Where the portal moved to, when that was confirmed.
    pub endpoint: Option<Endpoint>,
    /// Its active chain, if it ever had one.
    pub credential: Option<Result<StoredCredential, StoreError>>,
    /// The chains that wait for the active one to die, newest first.
    pub spares: Vec<Result<StoredCredential, StoreError>>,
    /// The chains whose first exchange was not brought to an end, oldest first.
    pub arriving: Vec<Result<StoredCredential, StoreError>>,
    /// What else is known of the portal.
    pub facts: Facts,
    /// What the journal and the spool hold for this portal, latest first.
    pub answers: Vec<Answered>,
}

impl Record {
    /// What is known of a portal before anything was found.
    fn new(portal: &str) -> Self {
        Self {
            portal: portal.to_owned(),
            inject: None,
            endpoint: None,
            credential: None,
            spares: Vec::new(),
            arriving: Vec::new(),
            facts: Facts::default(),
            answers: Vec::new(),
        }
    }

    /// Its chains that are not history, those that do not open among them.
    fn chains(&self) -> impl Iterator<Item = &Result<StoredCredential, StoreError>> {
        self.credential.iter().chain(&self.spares).chain(&self.arriving)
    }

    /// The record of a portal, made if there is none.
    fn of<'a>(records: &'a mut Vec<Self>, portal: &str) -> Option<&'a mut Self> {
        let place = records.iter().position(|record| record.portal == portal);
        let place = place.unwrap_or_else(|| {
            records.push(Self::new(portal));
            records.len() - 1
        });
        records.get_mut(place)
    }
}

/// An answer of the OAuth server that lies in the journal or in the spool.
#[derive(Debug)]
pub struct Answered {
    /// The chain it belongs to.
    pub chain: ChainId,
    /// The generation that was exchanged for it.
    pub generation: Generation,
    /// When it was written, unix seconds.
    pub at: u64,
    /// Whether it was written by this store, for a chain that the database knows. If not, the
    /// database is a new one (the old was damaged or removed) or one from before this chain, and
    /// the chain's number means nothing.
    pub ours: bool,
    /// The answer.
    pub answer: RawAnswer,
}

/// A credential as it lies in the store.
#[derive(Debug)]
pub struct StoredCredential {
    /// Its chain.
    pub chain: ChainId,
    /// Its generation.
    pub generation: Generation,
    /// The access token.
    pub access: Secret,
    /// The refresh token.
    pub refresh: Secret,
    /// When the access token expires, unix seconds.
    pub expires_at: Option<u64>,
    /// The portal's stable key, 32 hex digits.
    pub member_id: Option<String>,
    /// Whose rights the token carries.
    pub user_id: Option<u64>,
    /// Where the OAuth server said the portal's REST lives.
    pub client_endpoint: Option<String>,
    /// When the pair was issued, unix seconds: what the age of the refresh token is counted from.
    pub issued_at: u64,
    /// The state that was written last.
    pub state: State,
    /// Whether an exchange was begun and no outcome was written.
    pub intent_open: bool,
}

/// A line of the ledger: what happened to a refresh token. It names the token by eight hex digits
/// of its hash and holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LedgerEntry {
    /// When, unix seconds.
    pub at: u64,
    /// The chain it belongs to.
    pub chain: i64,
    /// The generation it belongs to.
    pub generation: u64,
    /// `intent`, `commit`, `import`, `spare`, `arriving`, `seated`, `turned away`, `promoted`,
    /// `dropped`, `removed`, `recovered`, or `failed: <state> <code>`.
    pub outcome: String,
    /// The first eight hexadecimal digits of the refresh token's SHA-256.
    pub refresh_hash: String,
}

/// Why a store operation did not happen.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Somebody else stored a newer generation.
    #[error("the stored generation is {0}, newer than the one this was based on")]
    Superseded(Generation),
    /// The portal has no credential to work on.
    #[error("the store holds no credential for this portal")]
    Unknown,
    /// The record does not open with this key, or it was moved or altered.
    #[error("the stored credential cannot be opened: wrong key, or the record was altered")]
    Sealed,
    /// There is no room for another event.
    #[error("{INBOX_MAX} events wait to be worked on already")]
    InboxFull,
    /// The database refused.
    #[error("the store cannot be written or read")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}
