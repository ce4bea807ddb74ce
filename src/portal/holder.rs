//! What opens a portal: an application's credential, which is renewed, or an incoming webhook, which
//! is not.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::config::IncomingWebhook;
use crate::credential::{Credential, State, Status};

/// What opens a portal.
#[derive(Clone, Debug)]
pub enum Holder {
    /// The credential of an OAuth application.
    Application(Arc<Credential>),
    /// `https://<portal>/rest/<user>/<secret>/`
    IncomingWebhook(Arc<Webhook>),
}

/// An incoming webhook, and whether the portal still takes it.
#[derive(Debug)]
pub struct Webhook {
    settings: Arc<IncomingWebhook>,
    /// The portal's last word on it, as a [`Complaint`] number; 0 is none.
    refused: AtomicU8,
}

/// How a portal refuses a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Complaint {
    /// It knows no such webhook.
    InvalidCredentials = 1,
    /// The user whose rights it carries may not enter any more.
    AuthorizationError = 2,
    /// It speaks of a token, which a webhook has not.
    Token = 3,
}

impl Holder {
    /// A webhook of which nothing bad is known.
    pub fn webhook(settings: Arc<IncomingWebhook>) -> Self {
        Self::IncomingWebhook(Arc::new(Webhook { settings, refused: AtomicU8::new(0) }))
    }

    /// What people are shown. A webhook is good until the portal says otherwise.
    pub fn status(&self) -> Arc<Status> {
        match self {
            Self::Application(credential) => credential.state(),
            Self::IncomingWebhook(webhook) => Arc::new(Status {
                state: webhook.state(),
                user_id: Some(webhook.user_id),
                ..Status::default()
            }),
        }
    }
}

impl Webhook {
    /// Notes that the portal has let a call in.
    pub fn accepted(&self) {
        // Looked at first: a store would take the line from the other workers at every call.
        if self.refused.load(Ordering::Relaxed) != 0 {
            self.refused.store(0, Ordering::Relaxed);
        }
    }

    /// Notes that the portal does not take it; true when that is news.
    pub fn refused(&self, complaint: Complaint) -> bool {
        self.refused.swap(complaint as u8, Ordering::Relaxed) == 0
    }

    fn state(&self) -> State {
        let number = self.refused.load(Ordering::Relaxed);
        match Complaint::ALL.into_iter().find(|known| *known as u8 == number) {
            Some(complaint) => State::Dead { code: complaint.code().to_owned() },
            None => State::Connected,
        }
    }
}

impl Deref for Webhook {
    type Target = IncomingWebhook;

    fn deref(&self) -> &IncomingWebhook {
        &self.settings
    }
}

impl Complaint {
    /// The portal's error code.
    pub fn code(self) -> &'static str {
        match self {
            Self::InvalidCredentials => "INVALID_CREDENTIALS",
            Self::AuthorizationError => "authorization_error",
            Self::Token => "expired_token",
        }
    }

    const ALL: [Self; 3] = [Self::InvalidCredentials, Self::AuthorizationError, Self::Token];
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::Secret;

    #[test]
    fn a_webhook_is_dead_from_a_refusal_to_the_next_success() {
        let settings = IncomingWebhook { user_id: 7, secret: Secret::new("s") };
        let holder = Holder::webhook(Arc::new(settings));
        let Holder::IncomingWebhook(webhook) = &holder else { panic!() };
        assert_eq!(holder.status().state, State::Connected);
        assert!(webhook.refused(Complaint::AuthorizationError));
        assert!(!webhook.refused(Complaint::InvalidCredentials), "told once");
        assert_eq!(holder.status().state.code(), Some("INVALID_CREDENTIALS"));
        assert_eq!(holder.status().user_id, Some(7));
        webhook.accepted();
        assert_eq!(holder.status().state, State::Connected);
    }
}
