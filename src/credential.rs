//! The life of a portal's token: lent from memory, renewed once for everybody, stored before use.
//!
//! The refresh token is replaced at every use and losing it costs a human a reinstall, so the
//! order intent -> exchange -> commit -> publish is kept in one place (`refresh.rs`), in a task
//! that no client's hang-up can cut short (`flight.rs`).

mod admission;
mod arrival;
mod custody;
mod flight;
mod grant;
mod hold;
mod intake;
mod link;
mod oauth;
mod raw;
mod recovery;
mod refresh;
mod rotation;
mod saving;
mod status;
mod stored_forms;
mod token;
mod upkeep;
mod utc;

pub use admission::{Admission, Admitted, Held, Refused, Replace, admit};
pub use custody::{Credential, Custody};
pub use flight::Flights;
pub use grant::GrantError;
pub use intake::{IntakeError, consider, take_in};
pub use link::{ChainId, Link};
pub use oauth::{AppInfo, Exchanging, FailureKind, OAuth, RefreshFailure, TokenEndpoint};
pub use raw::RawAnswer;
pub use status::Status;
pub use stored_forms::{Form, FormError};
pub use token::{Generation, Origin, Token};
pub use utc::utc;

/// What a credential is made of.
pub use crate::secret::Secret;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

/// What a token endpoint or an import brings: one pair and what was said about it.
#[derive(Clone, Debug)]
pub struct Grant {
    /// The access token.
    pub access: Secret,
    /// The refresh token that came with it.
    pub refresh: Secret,
    /// When the access token expires, unix seconds: what is stored and shown.
    pub expires_at: Option<u64>,
    /// The same by the monotonic clock, which nobody sets. An import has none, because the moment
    /// of its answer is not known.
    pub good_until: Option<Instant>,
    /// 32 hex digits; survives a rename of the portal.
    pub member_id: Option<String>,
    /// Whose rights the token carries.
    pub user_id: Option<u64>,
    /// Where the OAuth server says the portal's REST lives.
    pub client_endpoint: Option<String>,
}

/// The state of a credential, in the words shown to people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// There is a pair, and the last exchange (if any) went well.
    Connected,
    /// An exchange was sent and its outcome is unknown; the same refresh token is tried again.
    Suspect,
    /// The OAuth server refuses for now (payment, application settings); the token is kept.
    Paused {
        /// The OAuth server's `error` code.
        code: String,
    },
    /// The OAuth server says that this refresh token is no longer good.
    Dead {
        /// The OAuth server's `error` code.
        code: String,
    },
    /// There never was a pair, or the stored one cannot be opened.
    NotConnected,
}

/// Why there is no token to lend.
#[derive(Clone, Debug)]
pub enum Unavailable {
    /// A human has to connect the portal (again); the state says why.
    NotConnected(State),
    /// Nothing is lost, but it cannot be done now.
    Later {
        /// When to ask again.
        retry_after: Duration,
        /// What stands in the way, without secrets: `the OAuth server answers 502`.
        reason: String,
    },
}

/// The wall clock, unix seconds: the only one that means something to the next process too, and
/// the one that can be wrong. What this process has seen itself it measures by [`Instant`].
pub(crate) fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs())
}
