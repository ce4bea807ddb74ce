//! Events that Bitrix24's servers post. They are never sent again, so what matters is durable before
//! it is acknowledged; and they can be forged, so nothing changes before it is proven.

use std::sync::Arc;

use crate::connect::{Connect, Form};

/// An event that needs no second look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventOutcome {
    /// It has changed something, durably.
    Done,
    /// It is durable, and worked on in the background.
    Accepted,
    /// It is genuine and changes nothing here.
    Ignored,
}

/// Why an event is not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// Forged, or of a portal that is not ours: 403. The sentence is for the log.
    #[error("{0}")]
    Refused(&'static str),
    /// It cannot be made durable now: 503.
    #[error("{0}")]
    Later(String),
}

impl Connect {
    /// Takes an event in. Answers within 50 ms, whatever the OAuth server does. `body` is the
    /// request's, for the inbox.
    pub async fn event(
        self: &Arc<Self>,
        _form: &Form,
        _body: &[u8],
    ) -> Result<EventOutcome, EventError> {
        Err(EventError::Refused("not built"))
    }

    /// Works on the events that wait, for as long as the gateway runs.
    pub async fn work_on_letters(self: Arc<Self>) {}
}
