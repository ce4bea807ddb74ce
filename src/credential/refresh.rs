//! Renewing the credential in use: one exchange, its outcome made known, and when its chain is dead,
//! the next chain in its place.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::credential::arrival::Arriving;
use crate::credential::custody::seconds_left;
use crate::credential::hold::{Hold, Why};
use crate::credential::recovery::Held;
use crate::credential::rotation::{Chain, Rotation};
use crate::credential::saving::reason;
use crate::credential::{
    Credential, FailureKind, Generation, Origin, RefreshFailure, State, Status, Token, Unavailable,
    unix_now,
};
use crate::failpoint;
use crate::store::{SPARES_MAX, StoreError, StoredCredential};

/// What only the holder of the lock may touch.
#[derive(Debug, Default)]
pub(super) struct Chains {
    /// The one in use.
    pub(super) active: Option<Chain>,
    /// Those that wait for it to die, newest first.
    pub(super) spares: Vec<Chain>,
    /// Those that have to be exchanged before they get a seat, oldest first.
    pub(super) arriving: Vec<Arriving>,
}

/// The code of a refresh that was not begun because nothing can be written.
pub(super) const STORE: &str = "store";

/// What callers are told while nothing can be written.
const STORE_DOWN: &str = "the store cannot be written";

impl Credential {
    /// Renews a token that was seen to be of no use at generation `seen`.
    pub(super) async fn refresh(
        self: Arc<Self>,
        seen: Generation,
    ) -> Result<Arc<Token>, Unavailable> {
        let mut chains = self.chains.lock().await;
        // What was true when the flight was called may have changed before it took off.
        if let Some(token) = self.newer_than(seen) {
            return Ok(token);
        }
        if let Some(obstacle) = self.obstacle(seen) {
            return Err(obstacle);
        }
        if let Err(error) = self.save_all(&mut chains).await {
            return Err(self.store_is_down(&error));
        }
        // An arrival may have its seat only now.
        if let Some(token) = self.newer_than(seen) {
            return Ok(token);
        }
        if chains.active.as_ref().is_some_and(|chain| chain.in_doubt)
            && let Some(token) = self.settle_doubt(&mut chains).await
        {
            return Ok(token);
        }
        let mut outcome = Err(self.why_unavailable());
        let mut promoted: Option<Arc<Token>> = None;
        // Each chain that turns out to be dead makes room for a spare. What that one has waited with
        // is renewed, because nobody knows whether the portal takes its access token.
        for _ in 0..=SPARES_MAX {
            outcome = self.renew_active(&mut chains).await;
            match &outcome {
                Err(Unavailable::NotConnected(State::Dead { .. })) => {}
                Err(Unavailable::Later { .. }) => {
                    let usable = promoted.filter(|token| !token.is_past_expiry());
                    return usable.map_or(outcome, Ok);
                }
                _ => break,
            }
            promoted = match self.take_over(&mut chains).await {
                Ok(Some(token)) => Some(token),
                Ok(None) => {
                    tracing::error!(
                        portal = %self.portal,
                        "no spare is left, the portal must be connected again"
                    );
                    break;
                }
                Err(error) => return Err(self.store_is_down(&error)),
            };
        }
        outcome
    }

    async fn renew_active(
        self: &Arc<Self>,
        chains: &mut Chains,
    ) -> Result<Arc<Token>, Unavailable> {
        let Some(chain) = &mut chains.active else {
            return Err(self.why_unavailable());
        };
        let from = chain.generation;
        // Should this task die, the next one does not follow on its heels.
        let cut_short = Why::Later("a refresh was cut short".to_owned());
        self.set_hold(Some(Hold::new(self.custody.pace.backoff_min, cut_short)));
        let begun = Instant::now();
        match self.custody.rotate(&self.portal, &self.app(), chain).await {
            Rotation::Renewed(grant, stored) => {
                let origin = Origin::Renewed { at: Instant::now(), good_until: grant.good_until };
                let token = Token::new(chain.generation, grant.access, grant.expires_at, origin);
                let token = self.publish(chain, token);
                failpoint::hit("after_publish");
                tracing::info!(
                    portal = %self.portal,
                    generation = %token.generation,
                    expires_in = %shown(seconds_left(token.expires_at)),
                    took = %format_args!("{}ms", begun.elapsed().as_millis()),
                    "token refreshed"
                );
                self.note_stored(token.generation, &stored);
                Ok(token)
            }
            Rotation::Failed(failure) => {
                // Somebody else may have used this refresh token, and stored what came of it.
                if failure.kind == FailureKind::Dead
                    && let Ok(Some(token)) = self.reload(chains, from).await
                {
                    return Ok(token);
                }
                Err(self.fail(chains, &failure).await)
            }
            Rotation::StoreDown(error) => Err(self.store_is_down(&error)),
            Rotation::Overtaken => match self.reload(chains, from).await {
                Ok(Some(token)) => Ok(token),
                // An older one, or none: the file was exchanged under a running gateway.
                Ok(None) => Err(self.store_is_down(&StoreError::Unknown)),
                Err(error) => Err(self.store_is_down(&error)),
            },
        }
    }

    /// Puts a pair in use.
    pub(super) fn publish(&self, chain: &Chain, token: Token) -> Arc<Token> {
        let token = Arc::new(token);
        self.set_token(Arc::clone(&token));
        self.set_hold(None);
        self.note(|status| {
            status.state = State::Connected;
            status.generation = Some(token.generation);
            status.expires_at = token.expires_at;
            status.member_id.clone_from(&chain.member_id);
            status.user_id = chain.user_id;
            status.issued_at = Some(chain.issued_at);
            status.last_error = None;
            if token.age().is_some() {
                status.refreshed_at = Some(unix_now());
            }
        });
        token
    }

    /// Puts what the store holds in use.
    pub(super) fn take_stored(
        &self,
        chain: &mut Option<Chain>,
        stored: StoredCredential,
    ) -> Arc<Token> {
        *chain = Some(Chain::of(&stored));
        self.note(|status| {
            let spares = status.spares;
            *status = Status { spares, ..Status::of_stored(&stored) };
        });
        let StoredCredential { generation, access, expires_at, .. } = stored;
        let token = Arc::new(Token::new(generation, access, expires_at, Origin::Stored));
        self.set_token(Arc::clone(&token));
        token
    }

    /// Takes what somebody else stored, if it is newer than `seen`.
    async fn reload(
        &self,
        chains: &mut Chains,
        seen: Generation,
    ) -> Result<Option<Arc<Token>>, StoreError> {
        let records = self.custody.store.load().await?;
        let record = records.into_iter().find(|record| record.portal == self.portal);
        match record.and_then(|record| record.credential) {
            Some(Ok(stored)) if stored.generation > seen => {
                tracing::warn!(
                    portal = %self.portal, generation = %stored.generation,
                    "somebody else has stored a newer pair, taking that one"
                );
                self.set_hold(None);
                Ok(Some(self.take_stored(&mut chains.active, stored)))
            }
            Some(Err(error)) => Err(error),
            Some(Ok(_)) | None => Ok(None),
        }
    }

    /// Takes what the task of the exchange before has left; whether that is a new pair.
    async fn settle_doubt(self: &Arc<Self>, chains: &mut Chains) -> Option<Arc<Token>> {
        let before = chains.active.as_ref()?;
        let generation = before.generation;
        let held = self.settled(before).await?;
        let newer = held.stored.generation > generation;
        let chain = held.chain();
        let unsaved = chain.unsaved.is_some();
        let token = self.take_stored(&mut chains.active, held.stored);
        chains.active = Some(chain);
        if unsaved {
            self.note(|status| status.unsaved = true);
            self.keep_saving();
        }
        newer.then_some(token)
    }

    /// A chain whose exchange was begun by a task that died: what it received lies in the journal.
    pub(super) async fn settled(&self, chain: &Chain) -> Option<Held> {
        let records = self.custody.store.load().await.ok()?;
        let record = records.into_iter().find(|record| record.portal == self.portal)?;
        let all = record.credential.into_iter().chain(record.spares).chain(record.arriving);
        let stored = all.flatten().find(|stored| stored.chain == chain.id)?;
        Some(self.custody.take_newer(&self.portal, stored, &record.answers).await)
    }

    /// Puts the next spare of the same user in the place of a chain that is dead or gone.
    pub(super) async fn take_over(
        &self,
        chains: &mut Chains,
    ) -> Result<Option<Arc<Token>>, StoreError> {
        // Spares are all of the user that the portal was connected as.
        let chain = chains.active.as_ref().or_else(|| chains.spares.first());
        let Some(user_id) = chain.map(|chain| chain.user_id) else {
            return Ok(None);
        };
        while let Some(at) = chains.spares.iter().position(|spare| spare.serves(user_id)) {
            let mut spare = chains.spares.remove(at);
            if spare.in_doubt
                && let Some(held) = self.settled(&spare).await
            {
                spare = held.chain();
            }
            let spares = chains.spares.len();
            self.note(|status| status.spares = spares);
            match self.custody.store.promote(&self.portal, spare.id).await {
                Ok(Some(stored)) => {
                    tracing::warn!(
                        portal = %self.portal, chain = %stored.chain, spares_left = spares,
                        "the chain in use is dead or gone, a spare takes over"
                    );
                    self.set_hold(None);
                    return Ok(Some(self.take_stored(&mut chains.active, stored)));
                }
                Ok(None) => {}
                Err(error) => {
                    chains.spares.insert(at, spare);
                    return Err(error);
                }
            }
        }
        Ok(None)
    }

    /// Writes down a failure and when to try again. The tokens stay, whatever it is.
    async fn fail(&self, chains: &mut Chains, failure: &RefreshFailure) -> Unavailable {
        let Some(chain) = &mut chains.active else {
            return self.why_unavailable();
        };
        let pace = &self.custody.pace;
        let code = failure.code.clone();
        let (state, pause) = match failure.kind {
            FailureKind::Dead => (State::Dead { code }, pace.dead),
            FailureKind::Paused | FailureKind::Configuration => {
                (State::Paused { code }, pace.refused)
            }
            FailureKind::Transient => {
                chain.failures = chain.failures.saturating_add(1);
                let state = match &chain.state {
                    dead @ State::Dead { .. } => dead.clone(),
                    _ if failure.sent => State::Suspect,
                    before => before.clone(),
                };
                let doubt = state == State::Suspect;
                (state, pace.backoff(chain.failures, doubt, failure.retry_after))
            }
        };
        tell_failure(&self.portal, chain, failure, &state, pause);
        chain.state = state.clone();
        let why = match &state {
            State::Dead { .. } | State::Paused { .. } => Why::Human(state.clone()),
            State::Connected | State::Suspect | State::NotConnected => {
                Why::Later(failure.to_string())
            }
        };
        let answer = why.unavailable(pause);
        self.set_hold(Some(Hold::new(pause, why)));
        self.write_failure(chain).await;
        self.note(|status| {
            status.state = state;
            status.last_error = Some(failure.code.clone());
        });
        answer
    }

    pub(super) async fn write_failure(&self, chain: &Chain) {
        let written = self.custody.store.fail(chain.link(&self.portal), &chain.state).await;
        if let Err(error) = written {
            tracing::warn!(portal = %self.portal, reason = %reason(&error), "failure not stored");
        }
    }

    fn store_is_down(&self, error: &StoreError) -> Unavailable {
        let retry_after = self.custody.pace.backoff_min;
        tracing::error!(
            portal = %self.portal,
            reason = %reason(error),
            next_try_in = %shown(Some(retry_after)),
            "token not refreshed, the store is down"
        );
        self.custody.store_fails();
        self.set_hold(Some(Hold::new(retry_after, Why::Later(STORE_DOWN.to_owned()))));
        self.note(|status| status.last_error = Some(STORE.to_owned()));
        Unavailable::Later { retry_after, reason: STORE_DOWN.to_owned() }
    }
}

fn tell_failure(
    portal: &str,
    chain: &Chain,
    failure: &RefreshFailure,
    state: &State,
    pause: Duration,
) {
    tracing::warn!(
        portal,
        chain = %chain.id,
        generation = %chain.generation,
        code = %failure.code,
        state = %state.word(),
        next_try_in = %shown(Some(pause)),
        "token refresh failed"
    );
    if failure.kind != FailureKind::Dead {
        return;
    }
    if chain.renewed_here {
        tracing::error!(portal, "the refresh token is dead");
    } else {
        // This process has only read the pair.
        let age = Duration::from_secs(unix_now().saturating_sub(chain.issued_at));
        tracing::error!(
            portal,
            stored_for = %shown(Some(age)),
            "the refresh token is dead; if this store was restored from a backup, it is older than \
             the chain, which went on elsewhere"
        );
    }
}

fn shown(time: Option<Duration>) -> String {
    time.map_or_else(|| "unknown".to_owned(), |time| format!("{}s", time.as_secs()))
}

#[cfg(test)]
mod tests;
