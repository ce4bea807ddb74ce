//! What is kept of portals besides their chains: who installed, uninstalled, disabled them, and the
//! events that wait to be worked on.

use std::fmt;

use zeroize::Zeroizing;

use crate::config::Endpoint;
use crate::credential::Secret;
use crate::store::Pending;

/// Durable facts about portals. When a future resolves to `Ok`, what it wrote survives a power cut.
///
/// Every operation but [`Registry::remove`] makes a row for a portal that has none. Whether an event
/// comes too late to count is for the caller to decide: what is noted here is taken as it is told.
pub trait Registry: fmt::Debug + Send + Sync + 'static {
    /// The operator takes the portal out of service, or puts it back.
    fn set_disabled<'a>(&'a self, portal: &'a str, disabled: bool) -> Pending<'a, ()>;

    /// The portal has the application: a pair of it was verified. Lifts an uninstallation. `at` is
    /// the time of the event, unix seconds; the latest is kept. A token that is not given stays.
    fn note_install<'a>(
        &'a self,
        portal: &'a str,
        at: u64,
        application_token: Option<&'a Secret>,
    ) -> Pending<'a, ()>;

    /// The portal's application was removed there at `at` (unix seconds). A tombstone: nothing is
    /// deleted.
    fn note_uninstall<'a>(&'a self, portal: &'a str, at: u64) -> Pending<'a, ()>;

    /// A portal has come by itself and lives at `endpoint` (kept as [`Record::endpoint`]).
    ///
    /// [`Record::endpoint`]: crate::store::Record::endpoint
    fn note_arrival<'a>(
        &'a self,
        portal: &'a str,
        arrived: &'a Arrived,
        endpoint: &'a Endpoint,
    ) -> Pending<'a, ()>;

    /// Whose rights the portal's credential carries, by name.
    fn note_person<'a>(&'a self, portal: &'a str, person: &'a Person) -> Pending<'a, ()>;

    /// Takes every chain of the portal out of use, and forgets its facts, its endpoint and how it
    /// reads tokens. The chains become history, like replaced ones; the ledger stays. What the
    /// journal holds for the portal is removed, so that no later start brings it back.
    fn remove<'a>(&'a self, portal: &'a str) -> Pending<'a, ()>;

    /// Makes an event durable, sealed, and gives it a number. Fails with
    /// [`StoreError::InboxFull`] when [`INBOX_MAX`] wait.
    ///
    /// [`StoreError::InboxFull`]: crate::store::StoreError::InboxFull
    fn put_letter<'a>(&'a self, event: &'a [u8]) -> Pending<'a, i64>;

    /// The events that wait, oldest first. One that does not open is left out, and logged.
    fn letters(&self) -> Pending<'_, Vec<Letter>>;

    /// Removes an event that was worked on; one that is not there is no error.
    fn drop_letter(&self, id: i64) -> Pending<'_, ()>;
}

/// Events that may wait at a time.
pub const INBOX_MAX: usize = 256;

/// An event as it came.
#[derive(Debug)]
pub struct Letter {
    /// Its number.
    pub id: i64,
    /// When it came, unix seconds.
    pub at: u64,
    /// The body of the request. It holds tokens, so it is shown to nobody.
    pub body: Zeroizing<Vec<u8>>,
}

/// What is known of a portal besides its place and its chains.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Whether the operator took it out of service.
    pub disabled: bool,
    /// Whether the application was removed there and not installed since.
    pub uninstalled: bool,
    /// The time of the latest verified installation, unix seconds.
    pub installed_at: Option<u64>,
    /// The time of the latest uninstallation, unix seconds; it stays when that is lifted.
    pub uninstalled_at: Option<u64>,
    /// What events of this portal must carry; one that does not open counts as none, and is logged.
    pub application_token: Option<Secret>,
    /// Whose rights its credential carries.
    pub person: Option<Person>,
    /// How it came, unless the configuration names it.
    pub arrived: Option<Arrived>,
}

/// How a portal came that the configuration does not name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// The application through which it came; its name in the configuration may change.
    pub client_id: String,
    /// Its stable key, 32 hex digits.
    pub member_id: String,
}

/// Whose rights a credential carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The user's number in the portal.
    pub user_id: u64,
    /// First and last name, at most 200 characters, without control characters.
    pub name: String,
}
