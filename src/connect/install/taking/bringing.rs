//! A genuine pair on its way to its seat. What stands in its way for a while is waited for: nobody
//! will bring the pair again, and what belongs to it is known here only.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::connect::Connect;
use crate::connect::arrivals::{Ending, not_written};
use crate::connect::claim::Claim;
use crate::connect::install::Fate;
use crate::connect::verify::Doubt;
use crate::credential::{FailureKind, Grant, IntakeError, Refused, Replace, Secret, unix_now};
use crate::portal::{Closed, Portal};

/// A pair and what belongs to it.
#[derive(Debug)]
pub(super) struct Brought {
    portal: Arc<Portal>,
    grant: Grant,
    at: u64,
    application_token: Option<Secret>,
    /// What has become of it, once that is settled and only has to be written down.
    seated: Option<Fate>,
}

/// Pairs that are followed until they have a seat, by the hash of their refresh tokens.
#[derive(Debug, Default)]
pub(in crate::connect) struct Followed(Mutex<HashSet<[u8; 32]>>);

/// Why a genuine pair has no seat.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Trouble {
    /// It will have none.
    Final(&'static str),
    /// It is kept, and will be tried again.
    Passing(String),
}

impl Brought {
    pub(super) fn new(portal: Arc<Portal>, grant: Grant, claim: &Claim) -> Self {
        let application_token = claim.application_token.clone();
        Self { portal, grant, at: claim.at, application_token, seated: None }
    }

    /// A pair of which we know that it was kept is spent: by the exchange that gave it its seat,
    /// unless it turned out to be of another user than the one in use.
    fn was_seated(&self) -> bool {
        let status = self.portal.status();
        status.generation.is_some() && status.user_id == self.grant.user_id
    }
}

impl Connect {
    /// Has a pair seated now, or follows it until it is.
    pub(super) async fn bring(self: &Arc<Self>, mut brought: Brought) -> Result<Fate, Doubt> {
        match self.seat(&mut brought).await {
            Ok(fate) => {
                self.leave(&brought.portal, ending(&fate)).await;
                Ok(fate)
            }
            Err(Trouble::Final(reason)) => {
                self.leave(&brought.portal, Ending::Failed).await;
                Err(Doubt::Refused(reason))
            }
            Err(Trouble::Passing(reason)) => {
                self.follow(brought).await;
                Err(Doubt::Later(reason))
            }
        }
    }

    async fn seat(&self, brought: &mut Brought) -> Result<Fate, Trouble> {
        let fate = match brought.seated.clone() {
            Some(fate) => fate,
            None => self.adopt(&brought.portal, &brought.grant).await?,
        };
        if let Fate::Admitted(_) = fate {
            brought.seated = Some(fate.clone());
            self.welcome(brought).await?;
        }
        Ok(fate)
    }

    /// What belongs to a pair counts only once the pair does.
    async fn welcome(&self, brought: &Brought) -> Result<(), Trouble> {
        let _one_at_a_time = self.operating.lock().await;
        let token = brought.application_token.as_ref();
        let told = self.welcomed(&brought.portal, brought.at, token).await;
        told.map_err(|error| Trouble::Passing(not_written(&error)))
    }

    async fn adopt(&self, portal: &Portal, grant: &Grant) -> Result<Fate, Trouble> {
        let Some(credential) = portal.credential() else {
            return Err(Trouble::Final("its portal is opened by a webhook here"));
        };
        // Who installs an application anew means what was installed, whoever that was before.
        let gone = portal.standing.closed() == Some(Closed::Uninstalled);
        let replace = if gone { Replace::Yes } else { Replace::No };
        match credential.adopt_exchanged(grant.clone(), replace).await {
            Ok(admitted) => Ok(Fate::Admitted(admitted)),
            Err(error) => sort(error),
        }
    }

    /// Waits for a pair that is kept and has no seat yet. It is tried again without us, so it may be
    /// seated when we look; then the rest has to follow.
    async fn follow(self: &Arc<Self>, mut brought: Brought) {
        let mark: [u8; 32] = Sha256::digest(brought.grant.refresh.expose()).into();
        if !self.followed.begin(mark) {
            self.leave(&brought.portal, Ending::Stays).await;
            return;
        }
        let connect = self.clone();
        tokio::spawn(async move {
            let (mut pause, until) = (PAUSE_MIN, unix_now().saturating_add(FOLLOWED_FOR));
            let end = loop {
                tokio::time::sleep(pause).await;
                pause = pause.saturating_mul(2).min(PAUSE_MAX);
                match connect.seat(&mut brought).await {
                    Ok(Fate::Spent) if brought.was_seated() => {
                        let welcomed = connect.welcome(&brought).await;
                        if welcomed.is_ok() {
                            break Ending::Stays;
                        }
                    }
                    Ok(fate) => break ending(&fate),
                    Err(Trouble::Final(reason)) => {
                        let portal = brought.portal.name.as_str();
                        tracing::warn!(portal, reason, "a pair that waited is of no use");
                        break Ending::Failed;
                    }
                    Err(Trouble::Passing(_)) if unix_now() > until => break Ending::Stays,
                    Err(Trouble::Passing(_)) => {}
                }
            };
            connect.leave(&brought.portal, end).await;
            connect.followed.end(&mark);
        });
    }
}

fn ending(fate: &Fate) -> Ending {
    match fate {
        Fate::Admitted(_) => Ending::Stays,
        Fate::AnotherUser | Fate::Spent | Fate::Nothing => Ending::Failed,
    }
}

fn sort(error: IntakeError) -> Result<Fate, Trouble> {
    match error {
        IntakeError::Refused(
            Refused::AnotherUser { .. }
            | Refused::UserUnknown { .. }
            | Refused::HolderUnknown { .. },
        ) => Ok(Fate::AnotherUser),
        IntakeError::Refused(Refused::UsedUp { .. } | Refused::Dead { .. }) => Ok(Fate::Spent),
        IntakeError::Refused(Refused::AnotherPortal) => {
            Err(Trouble::Final("its pair is of another portal"))
        }
        IntakeError::Exchange(failure) if failure.kind == FailureKind::Dead => {
            Err(Trouble::Final("its refresh token is of no use"))
        }
        IntakeError::Exchange(failure) => Err(Trouble::Passing(failure.to_string())),
        IntakeError::Store(error) => Err(Trouble::Passing(not_written(&error))),
    }
}

impl Followed {
    /// False when it is followed already, or when too many are.
    fn begin(&self, mark: [u8; 32]) -> bool {
        let mut marks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        marks.len() < FOLLOWED_MAX && marks.insert(mark)
    }

    fn end(&self, mark: &[u8; 32]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(mark);
    }
}

/// First pause before a pair is looked at again.
const PAUSE_MIN: Duration = Duration::from_millis(500);
/// Longest pause of that kind.
const PAUSE_MAX: Duration = Duration::from_mins(1);
/// How long a pair is followed, seconds: as long as its event is kept.
const FOLLOWED_FOR: u64 = 86_400;
/// Pairs that are followed at a time.
const FOLLOWED_MAX: usize = 64;
