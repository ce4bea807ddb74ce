//! What an operator does to a portal: by command, by page, by API.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::connect::Connect;
use crate::credential::{Credential, Generation, State, Token, Unavailable};
use crate::portal::Portal;
use crate::store::{Facts, StoreError};

/// Why it was not done. A sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum OperateError {
    /// There is no such portal.
    #[error("there is no portal {0}")]
    Unknown(String),
    /// It cannot be done with this portal; why, and what to do instead.
    #[error("{0}")]
    Refused(String),
    /// It cannot be done now.
    #[error("{0}")]
    Later(String),
}

impl Connect {
    /// Renews the token now, whether it has expired or not; returns the new generation.
    pub async fn refresh(&self, name: &str) -> Result<u64, OperateError> {
        let portal = self.named(name)?;
        let credential = renewable(&portal)?;
        let current = credential.current().clone();
        if current.as_ref().is_some_and(|token| is_unused(token)) {
            return Err(OperateError::Later(format!(
                "the token of portal {name} was renewed less than a minute ago, and no call has used \
                 it yet: it is as good as a newer one"
            )));
        }
        // An operator may know better than the last attempt.
        credential.retry();
        let seen = current.map(|token| token.generation);
        let renewed = credential.renew(seen.unwrap_or(Generation(0))).await;
        let token = renewed.map_err(|unavailable| not_renewed(name, unavailable))?;
        self.recent.tell(Some(name), format!("token renewed, generation {}", token.generation));
        Ok(token.generation.0)
    }

    /// Takes a portal out of service, or puts it back; durable when it returns.
    pub async fn set_disabled(
        self: &Arc<Self>,
        name: &str,
        disabled: bool,
    ) -> Result<(), OperateError> {
        let portal = self.named(name)?;
        let connect = self.clone();
        self.whole(async move {
            let _one_at_a_time = connect.operating.lock().await;
            connect.registry.set_disabled(&portal.name, disabled).await?;
            portal.standing.note(|facts| facts.disabled = disabled);
            let what = if disabled { "disabled" } else { "enabled" };
            tracing::info!(portal = %portal.name, "portal {what}");
            connect.recent.tell(Some(&portal.name), what);
            Ok(())
        })
        .await
    }

    /// Takes a portal's credential out of use. One that came by itself is not served any more; one
    /// of the configuration is not connected.
    pub async fn remove(self: &Arc<Self>, name: &str) -> Result<(), OperateError> {
        let portal = self.named(name)?;
        let credential = renewable(&portal)?.clone();
        let connect = self.clone();
        self.whole(async move {
            let _one_at_a_time = connect.operating.lock().await;
            connect.registry.remove(&portal.name).await?;
            credential.forget().await;
            portal.standing.note(|facts| *facts = Facts::default());
            if !connect.config.load().portals.contains_key(&portal.name) {
                connect.portals.remove(&portal.name);
            }
            tracing::info!(portal = %portal.name, "portal removed");
            connect.recent.tell(Some(&portal.name), "removed");
            Ok(())
        })
        .await
    }

    fn named(&self, name: &str) -> Result<Arc<Portal>, OperateError> {
        self.portals.by_name(name).ok_or_else(|| OperateError::Unknown(name.to_owned()))
    }

    /// Does all of it, though whoever asked may leave: the disk and the memory agree.
    async fn whole(
        &self,
        work: impl Future<Output = Result<(), StoreError>> + Send + 'static,
    ) -> Result<(), OperateError> {
        let (told, outcome) = oneshot::channel();
        self.custody.flights().spawn(async move {
            // Whoever asked may have left.
            drop(told.send(work.await));
        });
        let cut_short = |_closed| OperateError::Later("the gateway could not finish it".to_owned());
        let done = outcome.await.map_err(cut_short)?;
        done.map_err(|error| OperateError::Later(format!("nothing has changed: {error}")))
    }
}

fn renewable(portal: &Portal) -> Result<&Arc<Credential>, OperateError> {
    portal.credential().ok_or_else(|| {
        OperateError::Refused(format!(
            "portal {} is opened by its webhook, of which nothing is renewed or kept here; change \
             webhook_url in the configuration, or delete the webhook in the portal",
            portal.name
        ))
    })
}

fn not_renewed(name: &str, unavailable: Unavailable) -> OperateError {
    let connect = format!("`b24gate portal connect {name}`");
    match unavailable {
        Unavailable::Later { retry_after, reason } => OperateError::Later(format!(
            "{reason}; nothing is lost, try again in {} s",
            retry_after.as_secs().max(1)
        )),
        Unavailable::NotConnected(State::NotConnected) => {
            OperateError::Refused(format!("portal {name} is not connected; {connect} connects it"))
        }
        Unavailable::NotConnected(state) => {
            let code = state.code().unwrap_or("no code");
            OperateError::Refused(format!(
                "the OAuth server says {code}, so portal {name} is {}; {connect} connects it anew",
                state.word()
            ))
        }
    }
}

/// Bitrix24 blocks applications that renew for nothing.
fn is_unused(token: &Token) -> bool {
    token.is_younger_than(Duration::from_mins(1))
        && !token.was_accepted()
        && !token.is_past_expiry()
}
