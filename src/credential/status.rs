//! What people are shown of a credential.

use crate::credential::{Generation, State};
use crate::store::{StoreError, StoredCredential};

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
    /// When its refresh token was issued, unix seconds.
    pub issued_at: Option<u64>,
    /// Chains that wait for this one to die.
    pub spares: usize,
    /// Whether a pair is not in the store yet.
    pub unsaved: bool,
    /// Whether such a pair is not in the journal or the spool either: stopping now would lose it.
    pub memory_only: bool,
}

impl Status {
    /// The status of a credential as the store has it.
    pub fn of(stored: Option<&Result<StoredCredential, StoreError>>) -> Self {
        match stored {
            None => Self::default(),
            Some(Ok(stored)) => Self::of_stored(stored),
            Some(Err(error)) => Self { last_error: Some(error.to_string()), ..Self::default() },
        }
    }

    pub(super) fn of_stored(stored: &StoredCredential) -> Self {
        // An exchange was begun and its end not written down: nobody knows.
        let unknown = stored.intent_open && stored.state == State::Connected;
        Self {
            state: if unknown { State::Suspect } else { stored.state.clone() },
            generation: Some(stored.generation),
            expires_at: stored.expires_at,
            user_id: stored.user_id,
            member_id: stored.member_id.clone(),
            issued_at: Some(stored.issued_at),
            ..Self::default()
        }
    }

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
            issued_at: None,
            spares: 0,
            unsaved: false,
            memory_only: false,
        }
    }
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
