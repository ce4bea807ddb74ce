//! What opens the portal for a call: a token, an incoming webhook, or what the call itself carries.

use std::sync::Arc;

use crate::credential::Token;
use crate::gateway::outgoing::Outgoing;
use crate::portal::{Slot, Webhook};

/// What is lent to a call, for one attempt.
#[derive(Clone, Debug)]
pub(crate) enum Lent {
    /// A token, which can expire.
    Token(Arc<Token>),
    /// A webhook, which goes into the path and cannot be renewed.
    Webhook(Arc<Webhook>),
    /// Nothing: a signed link is valid only with the token inside it.
    Nothing,
}

impl Lent {
    /// The token, if it is one.
    pub(crate) fn token(&self) -> Option<&Token> {
        match self {
            Self::Token(token) => Some(token),
            Self::Webhook(_) | Self::Nothing => None,
        }
    }

    /// Whether a credential of the client's own in the body would be read instead of it. A token in
    /// the header wins over everything. With a webhook the portal asks several judges, and one of
    /// them looks for tokens, another for a webhook, in the parameters.
    pub(crate) fn may_be_overridden(&self, slot: Slot) -> bool {
        match self {
            Self::Token(_) => slot == Slot::Parameter,
            Self::Webhook(_) => true,
            Self::Nothing => false,
        }
    }

    /// The head of a call with it.
    pub(crate) fn head<'h>(&self, head: &'h mut Outgoing, slot: Slot) -> &'h [u8] {
        match self {
            Self::Token(token) => head.with(slot, &token.access),
            Self::Webhook(webhook) => head.with_webhook(webhook.user_id, &webhook.secret),
            Self::Nothing => head.as_it_is(),
        }
    }
}
