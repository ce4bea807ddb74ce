//! Events that Bitrix24's servers post. They are never sent again, so what matters is durable before
//! it is acknowledged; and they can be forged, so nothing changes before it is proven.

mod genuine;
mod letters;

pub(super) use letters::Mail;

use std::sync::Arc;

use crate::connect::claim::Claim;
use crate::connect::verify::Doubt;
use crate::connect::{Connect, Form};
use crate::credential::unix_now;

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

/// The events that mean something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// `ONAPPINSTALL`, `ONAPPUPDATE`: they bring a pair, and are verified by it.
    Install,
    /// `ONAPPUNINSTALL`
    Uninstall,
    /// `ONAPPPAYMENT`
    Payment,
    /// Any other that an application can subscribe to.
    Other,
}

impl Connect {
    /// Takes an event in. Answers within 50 ms, whatever the OAuth server does. `body` is the
    /// request's, for the inbox.
    pub async fn event(
        self: &Arc<Self>,
        form: &Form,
        body: &[u8],
    ) -> Result<EventOutcome, EventError> {
        let name = form.once("event").map_err(EventError::Refused)?;
        match name.and_then(Kind::of).ok_or(EventError::Refused("it is no event"))? {
            Kind::Install => {
                let claim = Claim::of_event(form, unix_now()).map_err(EventError::Refused)?;
                if !self.may_be_ours(&claim) {
                    let reason = "it is of no portal that is served here";
                    return Err(EventError::Refused(reason));
                }
                self.take_or_keep(claim, body).await
            }
            Kind::Uninstall => self.uninstalled(form).await,
            Kind::Payment => self.paid(form),
            Kind::Other => self.sender(form).map(|_portal| EventOutcome::Ignored),
        }
    }
}

impl Kind {
    fn of(name: &str) -> Option<Self> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'.');
        if name.len() > NAME_MAX || !name.bytes().all(good) {
            return None;
        }
        Some(match name.to_ascii_uppercase().as_str() {
            "ONAPPINSTALL" | "ONAPPUPDATE" => Self::Install,
            "ONAPPUNINSTALL" => Self::Uninstall,
            "ONAPPPAYMENT" => Self::Payment,
            _ => Self::Other,
        })
    }
}

impl From<Doubt> for EventError {
    fn from(doubt: Doubt) -> Self {
        match doubt {
            Doubt::Refused(reason) => Self::Refused(reason),
            Doubt::Later(reason) => Self::Later(reason),
        }
    }
}

/// Longest name of an event, bytes.
const NAME_MAX: usize = 128;
