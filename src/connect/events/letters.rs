//! The inbox: events that cannot be proven at once are durable before they are acknowledged, and
//! worked on in the background, one by one, for a day.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot::error::RecvError;
use tokio::sync::{Notify, OwnedSemaphorePermit, RwLock, Semaphore, oneshot};
use tokio::time::timeout;
use zeroize::Zeroizing;

use crate::connect::arrivals::not_written;
use crate::connect::claim::Claim;
use crate::connect::events::{EventError, EventOutcome};
use crate::connect::install::Fate;
use crate::connect::verify::{Doubt, Pace};
use crate::connect::{Connect, Form};
use crate::credential::unix_now;
use crate::secret::Secret;
use crate::store::{Letter, StoreError};

/// What the inbox keeps in memory.
#[derive(Debug)]
pub(in crate::connect) struct Mail {
    /// Events that bring a pair and are looked at or wait, by this process's doing.
    places: Arc<Semaphore>,
    /// Letters that somebody is at; the letter carrier leaves them alone.
    taken: Mutex<HashSet<i64>>,
    /// The places of the letters that wait.
    held: Mutex<HashMap<i64, OwnedSemaphorePermit>>,
    /// Shared by those who write letters, alone for who reads them all: no letter is seen before it
    /// is known whose it is.
    reading: RwLock<()>,
    waiting: Notify,
    /// What an `application_token` is compared with where none is known.
    pub(super) nobody: Secret,
}

/// How a round through the inbox has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Round {
    /// Nothing waits any more.
    Empty,
    /// Something was worked off, and more may wait.
    Progress,
    /// What waits cannot be worked on now.
    Stuck,
}

impl Default for Mail {
    fn default() -> Self {
        Self {
            places: Arc::new(Semaphore::new(PLACES)),
            taken: Mutex::default(),
            held: Mutex::default(),
            reading: RwLock::default(),
            waiting: Notify::new(),
            nobody: Secret::new("no application token has this text"),
        }
    }
}

impl Mail {
    fn taken(&self) -> std::sync::MutexGuard<'_, HashSet<i64>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn held(&self) -> std::sync::MutexGuard<'_, HashMap<i64, OwnedSemaphorePermit>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connect {
    /// Has a claim decided at once, or makes its event durable. Whoever posted it may leave.
    pub(super) async fn take_or_keep(
        self: &Arc<Self>,
        claim: Claim,
        body: &[u8],
    ) -> Result<EventOutcome, EventError> {
        let Ok(place) = self.mail.places.clone().try_acquire_owned() else {
            return Err(EventError::Later("too many events wait to be verified".to_owned()));
        };
        let (told, outcome) = oneshot::channel();
        let (connect, body) = (self.clone(), Zeroizing::new(body.to_vec()));
        self.custody.flights().spawn(async move {
            connect.take_in_time(claim, (body, place), told).await;
        });
        outcome.await.unwrap_or_else(|_crashed| Err(EventError::Later(CUT_SHORT.to_owned())))
    }

    /// The one task that an event has: what it tells is durable when it is told.
    async fn take_in_time(
        self: Arc<Self>,
        claim: Claim,
        (body, place): (Zeroizing<Vec<u8>>, OwnedSemaphorePermit),
        told: oneshot::Sender<Result<EventOutcome, EventError>>,
    ) {
        let mut attempt = self.attempt(claim, Pace::Now);
        let at_once = match timeout(AT_ONCE, &mut attempt).await.map(decided) {
            Ok(Ok(outcome)) => return drop(told.send(Ok(outcome))),
            Ok(Err(Doubt::Refused(reason))) => {
                return drop(told.send(Err(EventError::Refused(reason))));
            }
            Ok(Err(Doubt::Later(reason))) => Some(reason),
            Err(_elapsed) => None,
        };
        let letter = self.keep(&body).await;
        drop(told.send(letter.as_ref().map(|_id| EventOutcome::Accepted).map_err(Clone::clone)));
        let doubt = match at_once {
            Some(reason) => Some(reason),
            None => match decided(attempt.await) {
                Err(Doubt::Later(reason)) => Some(reason),
                Ok(_) | Err(Doubt::Refused(_)) => None,
            },
        };
        let Ok(id) = letter else { return };
        let waits = match &doubt {
            Some(reason) => {
                tracing::warn!(letter = id, reason, "an event waits in the inbox");
                true
            }
            None => !self.put_away(id).await,
        };
        if waits {
            self.mail.held().insert(id, place);
        }
        self.mail.taken().remove(&id);
        if waits {
            self.mail.waiting.notify_one();
        }
    }
}

impl Connect {
    /// Works on the events that wait, for as long as the gateway runs.
    #[expect(clippy::infinite_loop, reason = "it is aborted, like everything that serves")]
    pub async fn work_on_letters(self: Arc<Self>) {
        let (mut pause, mut latest) = (PAUSE_MIN, 0);
        loop {
            match self.round(&mut latest).await {
                Round::Empty => {
                    pause = PAUSE_MIN;
                    self.mail.waiting.notified().await;
                }
                Round::Progress => pause = PAUSE_MIN,
                Round::Stuck => {
                    tokio::time::sleep(pause).await;
                    pause = pause.saturating_mul(2).min(PAUSE_MAX);
                }
            }
        }
    }

    /// Tries every letter once, until several in a row cannot be decided; those after the `latest`
    /// one that was tried come first, so that a few that are stuck do not hold up all others.
    async fn round(self: &Arc<Self>, latest: &mut i64) -> Round {
        let mut letters = match self.letters().await {
            Ok(letters) => letters,
            Err(error) => {
                tracing::error!(%error, "the inbox cannot be read");
                return Round::Stuck;
            }
        };
        let (mut stuck, mut progress) = (0, false);
        let none_waits = letters.is_empty();
        let tried = letters.iter().filter(|letter| letter.id <= *latest).count();
        letters.rotate_left(tried);
        for letter in letters {
            *latest = letter.id;
            if self.work_on(&letter).await {
                (stuck, progress) = (0, true);
            } else {
                stuck += 1;
            }
            if stuck == STUCK_MAX {
                break;
            }
        }
        match (none_waits, progress) {
            (true, _) => Round::Empty,
            (false, true) => Round::Progress,
            (false, false) => Round::Stuck,
        }
    }

    /// Whether the letter is done with.
    async fn work_on(self: &Arc<Self>, letter: &Letter) -> bool {
        let id = letter.id;
        let outcome = match Claim::of_event(&Form::parse(&letter.body), letter.at) {
            Ok(claim) => decided(self.attempt(claim, Pace::Background).await),
            Err(reason) => Err(Doubt::Refused(reason)),
        };
        let reason = match outcome {
            Ok(_changed) => return self.put_away(id).await,
            Err(Doubt::Refused(reason)) => {
                tracing::warn!(letter = id, reason, "an event that waited is refused");
                return self.put_away(id).await;
            }
            Err(Doubt::Later(reason)) => reason,
        };
        if letter.at.saturating_add(KEPT_MAX) > unix_now() {
            tracing::debug!(letter = id, reason, "an event goes on waiting");
            return false;
        }
        tracing::error!(
            letter = id,
            reason,
            "an event was given up: a day long nobody could say whether it is genuine; open the \
             application in its portal once, then it is connected all the same"
        );
        self.recent.tell(None, "an event that waited for a day was given up");
        self.put_away(id).await
    }

    /// Decides over a claim in a task of its own, which a shutdown waits for.
    fn attempt(
        self: &Arc<Self>,
        claim: Claim,
        pace: Pace,
    ) -> oneshot::Receiver<Result<EventOutcome, Doubt>> {
        let (told, outcome) = oneshot::channel();
        let connect = self.clone();
        self.custody.flights().spawn(async move {
            let taken = connect.take(&claim, pace).await.map(|taken| match taken.fate {
                Fate::Admitted(_) => EventOutcome::Done,
                Fate::AnotherUser | Fate::Spent | Fate::Nothing => EventOutcome::Ignored,
            });
            drop(told.send(taken));
        });
        outcome
    }

    /// Makes an event durable, and marks it as somebody's.
    async fn keep(&self, body: &[u8]) -> Result<i64, EventError> {
        let _shared = self.mail.reading.read().await;
        let put = self.registry.put_letter(body).await;
        let id = put.map_err(|error| EventError::Later(not_written(&error)))?;
        self.mail.taken().insert(id);
        Ok(id)
    }

    /// The letters that nobody is at.
    async fn letters(&self) -> Result<Vec<Letter>, StoreError> {
        let _alone = self.mail.reading.write().await;
        let mut letters = self.registry.letters().await?;
        let taken = self.mail.taken();
        letters.retain(|letter| !taken.contains(&letter.id));
        Ok(letters)
    }

    /// A letter that could not be removed is decided once more; that changes nothing.
    async fn put_away(&self, id: i64) -> bool {
        let dropped = self.registry.drop_letter(id).await;
        if let Err(error) = &dropped {
            tracing::warn!(letter = id, %error, "a letter that is done with stays in the inbox");
        }
        if dropped.is_ok() {
            self.mail.held().remove(&id);
        }
        dropped.is_ok()
    }
}

/// The outcome of an attempt, also of one that died.
fn decided(told: Result<Result<EventOutcome, Doubt>, RecvError>) -> Result<EventOutcome, Doubt> {
    told.unwrap_or_else(|_crashed| Err(Doubt::Later(CUT_SHORT.to_owned())))
}

const CUT_SHORT: &str = "the gateway could not finish";
/// How long an event is given to be decided before it becomes a letter: half of what its sender is
/// promised, the rest is for the disk.
const AT_ONCE: Duration = Duration::from_millis(25);
/// Events of which nobody knows yet whether they are genuine, letters included: a quarter of the
/// inbox, so that forged ones alone do not fill it and write no more than that.
const PLACES: usize = 64;
/// Letters in a row that cannot be decided before the rest is left for later.
const STUCK_MAX: usize = 3;
/// First pause when nothing can be decided.
const PAUSE_MIN: Duration = Duration::from_secs(1);
/// Longest pause of that kind.
const PAUSE_MAX: Duration = Duration::from_mins(1);
/// How long a letter is kept, seconds. Its tokens are dead long before.
const KEPT_MAX: u64 = 86_400;
