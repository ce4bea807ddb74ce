//! What is done without a request asking for it: settling a doubt, bringing arrivals to an end,
//! keeping a chain alive that nobody uses, and renewing ahead for those who asked for it. Nothing else runs on a timer: the vendor
//! blocks applications that refresh on one.

use std::sync::Arc;
use std::time::Duration;

use crate::credential::refresh::{Chains, STORE};
use crate::credential::rotation::{Chain, Rotation, Stored};
use crate::credential::{Credential, FailureKind, Generation, State, unix_now};

impl Credential {
    /// Looks whether something is due, and starts it in a task of its own. `every`: how old a pair
    /// may become before it is renewed ahead of time. Cheap, and never waits.
    pub fn tend(self: &Arc<Self>, every: Option<Duration>) {
        // Somebody who holds the lock is at it already.
        let Ok(chains) = self.chains.try_lock() else { return };
        let renew = self.due(&chains, every);
        let spares = chains.spares.iter().any(|spare| self.is_due(spare));
        let arriving = chains.arriving.iter().any(|it| it.chain.is_ready());
        drop(chains);
        if renew.is_none() && !spares && !arriving {
            return;
        }
        let credential = Arc::clone(self);
        self.custody.flights.spawn(async move {
            if let Some(seen) = renew {
                // Its outcome is in the log and in the state.
                drop(credential.renew(seen).await);
            }
            if arriving {
                credential.finish_arrivals().await;
            }
            if spares {
                credential.keep_spares_alive().await;
            }
        });
    }

    /// The generation that has to be renewed now, if any.
    fn due(&self, chains: &Chains, every: Option<Duration>) -> Option<Generation> {
        let active = chains.active.as_ref()?;
        let due = match &active.state {
            State::Suspect => true,
            State::Connected => {
                self.waits_for_the_store()
                    || is_old(active.issued_at, self.custody.pace.keep_alive)
                    || every.is_some_and(|every| self.is_ripe(active.issued_at, every))
            }
            State::Paused { .. } | State::Dead { .. } | State::NotConnected => false,
        };
        let waits = self.obstacle(active.generation).is_some();
        (due && !waits).then_some(active.generation)
    }

    /// A call asked for a renewal and the store was down. Nobody may ask again while `/readyz` says
    /// no on that account, so it is tried without a call; what fails first is the intent.
    fn waits_for_the_store(&self) -> bool {
        self.state().last_error.as_deref() == Some(STORE)
    }

    /// By the clock that does not jump where there is one for this token, else by the wall clock.
    fn is_ripe(&self, issued_at: u64, every: Duration) -> bool {
        match self.current().as_ref().and_then(|token| token.age()) {
            Some(age) => age >= every,
            None => is_old(issued_at, every),
        }
    }

    fn is_due(&self, spare: &Chain) -> bool {
        is_old(spare.issued_at, self.custody.pace.keep_alive)
            && spare.is_ready()
            && !spare.is_dead()
    }

    async fn keep_spares_alive(self: Arc<Self>) {
        let mut chains = self.chains.lock().await;
        if self.save_all(&mut chains).await.is_err() {
            return;
        }
        let app = self.app();
        for spare in &mut chains.spares {
            if !self.is_due(spare) {
                continue;
            }
            spare.wait(self.custody.pace.backoff_max);
            if spare.in_doubt {
                match self.settled(spare).await {
                    Some(held) => *spare = held.chain(),
                    None => return,
                }
            }
            match self.custody.rotate(&self.portal, &app, spare).await {
                Rotation::Renewed(_, stored) => {
                    tracing::info!(portal = %self.portal, chain = %spare.id, "spare kept alive");
                    let generation = spare.generation;
                    self.note_stored(generation, &stored);
                    if !matches!(stored, Stored::Yes) {
                        return;
                    }
                }
                Rotation::Failed(failure) => {
                    tracing::warn!(
                        portal = %self.portal, chain = %spare.id, code = %failure.code,
                        "spare not kept alive"
                    );
                    if failure.kind == FailureKind::Dead {
                        spare.state = State::Dead { code: failure.code.clone() };
                    }
                    spare.failures = spare.failures.saturating_add(1);
                    spare.wait(self.custody.pace.spare(spare.failures));
                    self.write_failure(spare).await;
                }
                Rotation::StoreDown(_) | Rotation::Overtaken => return,
            }
        }
        chains.spares.retain(|spare| !spare.is_dead());
        let spares = chains.spares.len();
        self.note(|status| status.spares = spares);
    }
}

/// A clock that was set back makes nothing old.
fn is_old(issued_at: u64, limit: Duration) -> bool {
    unix_now().saturating_sub(issued_at) >= limit.as_secs()
}
