//! The life of a portal's token: lent from memory, renewed once for everybody, stored before use.
//!
//! The refresh token is replaced at every use and losing it costs a human a reinstall, so the
//! order intent -> exchange -> commit -> publish is kept in one place (`refresh.rs`), in a task
//! that no client's hang-up can cut short (`flight.rs`).

mod custody;
mod flight;
mod grant;
mod hold;
mod oauth;
mod refresh;
mod secret;
mod token;

pub use custody::{Credential, Custody};
pub use flight::Flights;
pub use grant::GrantError;
pub use oauth::{AppInfo, FailureKind, OAuth, RefreshFailure};
pub use secret::Secret;
pub use token::{Generation, Origin, Token};

use std::time::Duration;

/// What a token endpoint or an import brings: one pair and what was said about it.
#[derive(Debug)]
pub struct Grant {
    /// The access token.
    pub access: Secret,
    /// The refresh token that came with it.
    pub refresh: Secret,
    /// When the access token expires, unix seconds, from `expires` or `expires_in`.
    pub expires_at: Option<u64>,
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

impl State {
    /// The word shown to people.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Suspect => "suspect",
            Self::Paused { .. } => "paused",
            Self::Dead { .. } => "dead",
            Self::NotConnected => "not connected",
        }
    }

    /// The OAuth server's error code, where the state has one.
    pub fn code(&self) -> Option<&str> {
        match self {
            Self::Paused { code } | Self::Dead { code } => Some(code),
            Self::Connected | Self::Suspect | Self::NotConnected => None,
        }
    }
}

/// What people are shown of a credential; holds no secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// Its state.
    pub state: State,
    /// Whether an exchange is under way.
    pub refreshing: bool,
    /// The generation in use.
    pub generation: Option<Generation>,
    /// When its access token expires, unix seconds.
    pub expires_at: Option<u64>,
    /// Whose rights it carries.
    pub user_id: Option<u64>,
    /// The portal's stable key.
    pub member_id: Option<String>,
    /// When this process last renewed it, unix seconds.
    pub refreshed_at: Option<u64>,
    /// The code of the last failure since the last success.
    pub last_error: Option<String>,
    /// Whether the pair in use could not be stored yet: stopping now would lose it.
    pub unsaved: bool,
}

impl Status {
    /// The word shown to people, `refreshing` included.
    pub fn word(&self) -> &'static str {
        if self.refreshing { "refreshing" } else { self.state.word() }
    }
}

impl Default for Status {
    fn default() -> Self {
        Self {
            state: State::NotConnected,
            refreshing: false,
            generation: None,
            expires_at: None,
            user_id: None,
            member_id: None,
            refreshed_at: None,
            last_error: None,
            unsaved: false,
        }
    }
}
