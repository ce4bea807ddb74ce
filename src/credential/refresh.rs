//! The order that loses no token: intent, exchange, commit, publish.
//!
//! A success may always be stored; a failure never deletes. Whatever happens here happens in one
//! task that nobody can cut short, under the chain's lock.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::credential::custody::seconds_left;
use crate::credential::hold::{Hold, Why};
use crate::credential::{
    Credential, FailureKind, Generation, Grant, Origin, RefreshFailure, Secret, State, Status,
    Token, Unavailable, unix_now,
};
use crate::failpoint;
use crate::store::{StoreError, StoredCredential};

/// What only the holder of the lock may touch.
#[derive(Debug, Default)]
pub(super) struct Chain {
    pair: Option<Pair>,
    unsaved: Option<Unsaved>,
    /// Passing failures in a row.
    failures: u32,
}

/// The newest pair, as far as the next exchange needs it.
#[derive(Debug)]
struct Pair {
    generation: Generation,
    refresh: Secret,
    member_id: Option<String>,
}

/// A pair that is in use and not in the store: the store was down when it came.
#[derive(Debug)]
struct Unsaved {
    from: Generation,
    grant: Grant,
}

/// What callers are told while nothing can be written.
const STORE_DOWN: &str = "the store cannot be written";

impl Credential {
    /// Renews a token that was seen to be of no use at generation `seen`.
    pub(super) async fn refresh(
        self: Arc<Self>,
        seen: Generation,
    ) -> Result<Arc<Token>, Unavailable> {
        let mut chain = self.chain.lock().await;
        // What was true when the flight was called may have changed before it took off.
        if let Some(token) = self.newer_than(seen) {
            return Ok(token);
        }
        if let Some(obstacle) = self.obstacle(seen) {
            return Err(obstacle);
        }
        if let Err(error) = self.save(&mut chain).await {
            return Err(self.store_is_down(&error));
        }
        let Some(pair) = &chain.pair else {
            return Err(self.why_unavailable());
        };
        let (from, refresh) = (pair.generation, pair.refresh.clone());
        // Should this task die, the next one does not follow on its heels.
        let cut_short = Why::Later("a refresh was cut short".to_owned());
        self.set_hold(Some(Hold::new(self.custody.pace.backoff_min, cut_short)));
        match self.custody.store.intend(&self.portal, from).await {
            Ok(()) => {}
            Err(StoreError::Superseded(_)) => return self.reload(&mut chain, seen).await,
            Err(error) => return Err(self.store_is_down(&error)),
        }
        failpoint::hit("refresh");
        let begun = Instant::now();
        match self.custody.oauth.refresh(&self.app(), &refresh).await {
            Ok(grant) => {
                let told = grant.member_id.as_deref();
                if chain.is_of_another_portal(told) {
                    return Err(self.fail(&mut chain, from, &member_mismatch()).await);
                }
                self.store_and_publish(&mut chain, from, grant, begun.elapsed()).await
            }
            Err(failure) => Err(self.fail(&mut chain, from, &failure).await),
        }
    }

    async fn store_and_publish(
        self: &Arc<Self>,
        chain: &mut Chain,
        from: Generation,
        grant: Grant,
        took: Duration,
    ) -> Result<Arc<Token>, Unavailable> {
        let stored = self.custody.store.commit(&self.portal, from, &grant).await;
        let generation = match &stored {
            Ok(generation) => *generation,
            Err(StoreError::Superseded(newer)) => {
                tracing::error!(portal = %self.portal, %newer, "renewed pair came too late");
                return self.reload(chain, from).await;
            }
            Err(_) => from.next(),
        };
        let origin = Origin::Renewed { at: Instant::now(), good_until: grant.good_until };
        let token = self.publish(chain, generation, &grant, origin);
        tracing::info!(
            portal = %self.portal,
            %generation,
            expires_in = %shown(seconds_left(grant.expires_at)),
            took = %format_args!("{}ms", took.as_millis()),
            "token refreshed"
        );
        if let Err(error) = stored {
            // The pair exists nowhere else now, and the one before it is spent.
            tracing::error!(
                portal = %self.portal,
                %generation,
                reason = %reason(&error),
                "renewed pair is NOT stored, do not stop the gateway; trying again"
            );
            chain.unsaved = Some(Unsaved { from, grant });
            self.note(|status| status.unsaved = true);
            self.keep_saving();
        }
        Ok(token)
    }

    /// Puts a pair in use.
    pub(super) fn publish(
        &self,
        chain: &mut Chain,
        generation: Generation,
        grant: &Grant,
        origin: Origin,
    ) -> Arc<Token> {
        let access = grant.access.clone();
        let token = Arc::new(Token::new(generation, access, grant.expires_at, origin));
        let known = chain.pair.take().and_then(|pair| pair.member_id);
        let member_id = match origin {
            // An import says by itself whose it is.
            Origin::Stored => grant.member_id.clone(),
            Origin::Renewed { .. } => grant.member_id.clone().or(known),
        };
        let refresh = grant.refresh.clone();
        chain.pair = Some(Pair { generation, refresh, member_id: member_id.clone() });
        chain.failures = 0;
        self.set_token(Arc::clone(&token));
        self.set_hold(None);
        self.note(|status| {
            status.state = State::Connected;
            status.generation = Some(generation);
            status.expires_at = grant.expires_at;
            status.member_id = member_id;
            status.user_id = grant.user_id.or(status.user_id);
            status.last_error = None;
            if let Origin::Renewed { .. } = origin {
                status.refreshed_at = Some(unix_now());
            }
        });
        token
    }

    /// Puts what the store holds in use.
    pub(super) fn take_stored(&self, chain: &mut Chain, stored: StoredCredential) -> Arc<Token> {
        self.note(|status| *status = Status::of_stored(&stored));
        let token = Arc::new(Token::new(
            stored.generation,
            stored.access,
            stored.expires_at,
            Origin::Stored,
        ));
        self.set_token(Arc::clone(&token));
        let (generation, refresh, member_id) =
            (stored.generation, stored.refresh, stored.member_id);
        chain.pair = Some(Pair { generation, refresh, member_id });
        token
    }

    /// Somebody else stored a newer pair: takes that one.
    async fn reload(&self, chain: &mut Chain, seen: Generation) -> Result<Arc<Token>, Unavailable> {
        let records = match self.custody.store.load().await {
            Ok(records) => records,
            Err(error) => return Err(self.store_is_down(&error)),
        };
        let record = records.into_iter().find(|record| record.portal == self.portal);
        match record.and_then(|record| record.credential) {
            Some(Ok(stored)) if stored.generation > seen => {
                self.set_hold(None);
                Ok(self.take_stored(chain, stored))
            }
            Some(Err(error)) => Err(self.store_is_down(&error)),
            // An older one, or none: the file was exchanged under a running gateway.
            Some(Ok(_)) | None => Err(self.store_is_down(&StoreError::Unknown)),
        }
    }

    /// Writes down a failure and when to try again. The tokens stay, whatever it is.
    async fn fail(
        &self,
        chain: &mut Chain,
        from: Generation,
        failure: &RefreshFailure,
    ) -> Unavailable {
        let pace = &self.custody.pace;
        let code = failure.code.clone();
        let (state, pause) = match failure.kind {
            FailureKind::Dead => (State::Dead { code }, pace.dead),
            FailureKind::Paused | FailureKind::Configuration => {
                (State::Paused { code }, pace.refused)
            }
            FailureKind::Transient => {
                chain.failures = chain.failures.saturating_add(1);
                let state = match self.current_state() {
                    dead @ State::Dead { .. } => dead,
                    _ if failure.sent => State::Suspect,
                    before => before,
                };
                (state, pace.backoff(chain.failures, failure.retry_after))
            }
        };
        tracing::warn!(
            portal = %self.portal,
            code = %failure.code,
            state = %state.word(),
            next_try_in = %shown(Some(pause)),
            "token refresh failed"
        );
        if failure.kind == FailureKind::Dead {
            tracing::error!(portal = %self.portal, "portal must be connected again");
        }
        let why = match &state {
            State::Dead { .. } | State::Paused { .. } => Why::Human(state.clone()),
            State::Connected | State::Suspect | State::NotConnected => {
                Why::Later(failure.to_string())
            }
        };
        let answer = why.unavailable(pause);
        self.set_hold(Some(Hold::new(pause, why)));
        if let Err(error) = self.custody.store.fail(&self.portal, from, &state).await {
            tracing::warn!(portal = %self.portal, reason = %reason(&error), "failure not stored");
        }
        self.note(|status| {
            status.state = state;
            status.last_error = Some(failure.code.clone());
        });
        answer
    }

    fn store_is_down(&self, error: &StoreError) -> Unavailable {
        let retry_after = self.custody.pace.backoff_min;
        tracing::error!(
            portal = %self.portal,
            reason = %reason(error),
            next_try_in = %shown(Some(retry_after)),
            "token not refreshed, the store is down"
        );
        self.set_hold(Some(Hold::new(retry_after, Why::Later(STORE_DOWN.to_owned()))));
        self.note(|status| status.last_error = Some("store".to_owned()));
        Unavailable::Later { retry_after, reason: STORE_DOWN.to_owned() }
    }

    /// Stores the pair that could not be stored when it came, if there is one.
    pub(super) async fn save(&self, chain: &mut Chain) -> Result<(), StoreError> {
        let Some(unsaved) = &chain.unsaved else {
            return Ok(());
        };
        let (from, grant) = (unsaved.from, &unsaved.grant);
        match self.custody.store.commit(&self.portal, from, grant).await {
            // Superseded by itself: that write came through although it reported a failure. No
            // other pair can be there, because every way to one passes through here first.
            Ok(_) | Err(StoreError::Superseded(_)) => {}
            Err(error) => return Err(error),
        }
        let generation = from.next();
        tracing::info!(portal = %self.portal, %generation, "renewed pair is stored now");
        chain.unsaved = None;
        self.note(|status| status.unsaved = false);
        Ok(())
    }

    /// Tries until the pair is stored; a shutdown waits for it.
    fn keep_saving(self: &Arc<Self>) {
        let credential = Arc::clone(self);
        self.custody.flights.spawn(async move {
            let pace = credential.custody.pace;
            let mut pause = pace.save_min;
            loop {
                tokio::time::sleep(pause).await;
                let mut chain = credential.chain.lock().await;
                match credential.save(&mut chain).await {
                    Ok(()) => return,
                    Err(error) => tracing::error!(
                        portal = %credential.portal,
                        reason = %reason(&error),
                        "renewed pair is still NOT stored, do not stop the gateway"
                    ),
                }
                pause = pause.saturating_mul(2).min(pace.save_max);
            }
        });
    }
}

impl Chain {
    /// A pair of another portal is never written over this one's, however it came about.
    fn is_of_another_portal(&self, told: Option<&str>) -> bool {
        let known = self.pair.as_ref().and_then(|pair| pair.member_id.as_deref());
        known.zip(told).is_some_and(|(known, told)| !known.eq_ignore_ascii_case(told))
    }
}

fn member_mismatch() -> RefreshFailure {
    RefreshFailure {
        kind: FailureKind::Paused,
        code: "member_id_mismatch".to_owned(),
        retry_after: None,
        sent: false,
    }
}

/// The whole chain of causes; the store's errors hold no secrets.
fn reason(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn shown(time: Option<Duration>) -> String {
    time.map_or_else(|| "unknown".to_owned(), |time| format!("{}s", time.as_secs()))
}

#[cfg(test)]
mod tests;
