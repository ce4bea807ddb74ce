//! What an operator does to a portal: the same by a button of the page and by the API.

use std::sync::Arc;

use crate::connect::{Login, OperateError, Way};
use crate::credential::Replace;

use super::Admin;
use super::refusal::Refusal;

/// What can be done to a portal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    /// A login in a browser is begun.
    Connect,
    /// The token is renewed now.
    Refresh,
    /// It is taken out of service.
    Disable,
    /// It is put back.
    Enable,
    /// Its credential is taken out of use.
    Remove,
}

impl Deed {
    /// By the last part of a path.
    pub(super) fn of(word: &str) -> Option<Self> {
        Some(match word {
            "connect" => Self::Connect,
            "refresh" => Self::Refresh,
            "disable" => Self::Disable,
            "enable" => Self::Enable,
            "remove" => Self::Remove,
            _ => return None,
        })
    }

    /// What has been done.
    pub(super) fn done(self) -> &'static str {
        match self {
            Self::Connect => "connecting",
            Self::Refresh => "refreshed",
            Self::Disable => "disabled",
            Self::Enable => "enabled",
            Self::Remove => "removed",
        }
    }
}

impl Admin {
    /// Begins a login in a browser.
    pub(super) fn begin(&self, name: &str, replace: Replace) -> Result<Login, Refusal> {
        self.portal(name)?;
        let begun = self.means.connect.begin_login(name, Way::Browser, replace);
        begun.map_err(Refusal::conflict)
    }

    /// Does what needs no browser; a refresh tells the new generation. It is brought to its end even
    /// if whoever asked hangs up.
    pub(super) async fn carry_out(&self, deed: Deed, name: &str) -> Result<Option<u64>, Refusal> {
        self.portal(name)?;
        let (connect, name) = (Arc::clone(&self.means.connect), name.to_owned());
        let task = tokio::spawn(async move {
            match deed {
                Deed::Refresh => connect.refresh(&name).await.map(Some),
                Deed::Disable => connect.set_disabled(&name, true).await.map(|()| None),
                Deed::Enable => connect.set_disabled(&name, false).await.map(|()| None),
                Deed::Remove => connect.remove(&name).await.map(|()| None),
                Deed::Connect => Err(OperateError::Refused("a login takes a browser".to_owned())),
            }
        });
        match task.await {
            Ok(outcome) => Ok(outcome?),
            Err(error) => {
                tracing::error!(%error, "what an operator asked for ended without an outcome");
                Err(Refusal::later("the gateway could not finish it; see its log"))
            }
        }
    }
}
