//! What opens a portal: an application's credential, which is renewed, or an incoming webhook, which
//! is not.

use std::sync::Arc;

use crate::config::IncomingWebhook;
use crate::credential::{Credential, State, Status};

/// What opens a portal.
#[derive(Clone, Debug)]
pub enum Holder {
    /// The credential of an OAuth application.
    Application(Arc<Credential>),
    /// `https://<portal>/rest/<user>/<secret>/`
    IncomingWebhook(Arc<IncomingWebhook>),
}

impl Holder {
    /// What people are shown. A webhook is good until the portal says otherwise.
    pub fn status(&self) -> Arc<Status> {
        match self {
            Self::Application(credential) => credential.state(),
            Self::IncomingWebhook(webhook) => Arc::new(Status {
                state: State::Connected,
                user_id: Some(webhook.user_id),
                ..Status::default()
            }),
        }
    }
}
