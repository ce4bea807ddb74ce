//! The contract of the store: what must survive anything short of losing the disk.
//!
//! A success may always be stored; a failure may never delete. Every write that follows an
//! exchange is a compare-and-swap on the generation, so that an actor that comes late cannot put
//! an older pair over a newer one.

mod directory;
mod key;
mod rows;
mod sealed;
mod sqlite;
mod state;

pub use key::{Key, KeyError};
pub use sqlite::{OpenError, SqliteStore};
pub use state::{StateDirectory, StateError, inspect, locate};

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use crate::config::{Endpoint, Inject};
use crate::credential::{Generation, Grant, Secret, State};

/// The answer of a store operation.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Durable custody of the portals' credentials.
///
/// When a future resolves to `Ok`, what it wrote survives a power cut.
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Every portal the store knows, with its active credential opened.
    ///
    /// A record that cannot be opened (another key, a swapped row, a flipped bit) does not fail
    /// the others: it comes back with [`Record::credential`] `Err`.
    fn load(&self) -> Pending<'_, Vec<Record>>;

    /// Writes down that generation `from` is about to be exchanged. An exchange whose intent is
    /// not durable must not be started. Fails with [`StoreError::Superseded`] when the stored
    /// generation is no longer `from`.
    fn intend<'a>(&'a self, portal: &'a str, from: Generation) -> Pending<'a, ()>;

    /// Stores the pair that an exchange of generation `from` brought, as `from + 1`, and clears
    /// the intent. Fails with [`StoreError::Superseded`] when the stored generation is not `from`.
    fn commit<'a>(
        &'a self,
        portal: &'a str,
        from: Generation,
        grant: &'a Grant,
    ) -> Pending<'a, Generation>;

    /// Writes down why generation `from` cannot be refreshed, and clears the intent; the tokens
    /// stay. Changes nothing when the stored generation is not `from`.
    fn fail<'a>(&'a self, portal: &'a str, from: Generation, state: &'a State) -> Pending<'a, ()>;

    /// Makes `grant` the portal's active credential under the next generation, whatever was there.
    fn import<'a>(&'a self, portal: &'a str, grant: &'a Grant) -> Pending<'a, Generation>;

    /// Remembers how the portal reads tokens ([`Inject::Bearer`] or [`Inject::Parameter`]).
    fn remember_inject<'a>(&'a self, portal: &'a str, inject: Inject) -> Pending<'a, ()>;

    /// Remembers where the portal moved to; `None` forgets it.
    fn remember_endpoint<'a>(
        &'a self,
        portal: &'a str,
        endpoint: Option<&'a Endpoint>,
    ) -> Pending<'a, ()>;
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
    /// Its active credential, if it ever had one.
    pub credential: Option<Result<StoredCredential, StoreError>>,
}

/// A credential as it lies in the store.
#[derive(Debug)]
pub struct StoredCredential {
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
    /// The state that was written last.
    pub state: State,
    /// Whether an exchange was begun and no outcome was written.
    pub intent_open: bool,
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
    /// The database refused.
    #[error("the store cannot be written or read")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
}
