//! The logins under way and how the latest ended: in memory only, bounded, each word of theirs good
//! for one use within ten minutes.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::time::Instant;

use crate::config::App;
use crate::connect::logins::{CallbackError, LoginId, Outcome};
use crate::credential::Replace;
use crate::secret::Secret;

/// All logins that are known.
#[derive(Debug, Default)]
pub(in crate::connect) struct Logins {
    known: Mutex<Vec<Known>>,
}

/// What a login is for, fixed when it begins: whoever answers in between changes nothing of it.
#[derive(Clone, Debug)]
pub(super) struct Aim {
    /// The portal's name.
    pub(super) portal: String,
    /// The application, with the only OAuth server that will see the code.
    pub(super) app: Arc<App>,
    /// Whether the pair takes the place of a working one.
    pub(super) replace: Replace,
}

#[derive(Debug)]
struct Known {
    id: LoginId,
    aim: Aim,
    stage: Stage,
    /// When it expires; when it has ended, when it is forgotten.
    until: Instant,
}

#[derive(Debug)]
enum Stage {
    /// The link was not opened yet.
    Ticket(Secret),
    /// A browser was sent to the portal.
    Away {
        state: Secret,
        cookie: (String, Secret),
    },
    /// The operator was shown the portal's page and will paste what comes back.
    Pasting {
        state: Secret,
    },
    /// The code is being exchanged.
    Exchanging,
    Ended(Outcome),
}

impl Logins {
    /// Begins one whose link goes by a browser; returns its number and ticket.
    pub(super) fn begin(&self, aim: Aim) -> Result<(LoginId, Secret), String> {
        let ticket = random()?;
        let id = self.add(aim, Stage::Ticket(ticket.clone()))?;
        Ok((id, ticket))
    }

    /// Begins one whose answer is pasted; returns its number and state.
    pub(super) fn begin_pasting(&self, aim: Aim) -> Result<(LoginId, Secret), String> {
        let state = random()?;
        let id = self.add(aim, Stage::Pasting { state: state.clone() })?;
        Ok((id, state))
    }

    fn add(&self, aim: Aim, stage: Stage) -> Result<LoginId, String> {
        let id = LoginId(random()?.expose().to_owned());
        self.with(|known| {
            let under_way = known.iter().filter(|it| it.is_under_way()).count();
            if under_way >= UNDER_WAY_MAX {
                return Err(format!(
                    "{UNDER_WAY_MAX} logins are under way already; finish one, or wait until they \
                     expire ({} minutes)",
                    LIFE.as_secs() / 60
                ));
            }
            known.push(Known { id: id.clone(), aim, stage, until: Instant::now() + LIFE });
            Ok(id)
        })
    }

    /// Uses a ticket up; returns what the login is for, its state and its cookie.
    pub(super) fn start(
        &self,
        ticket: &str,
    ) -> Result<(Aim, Secret, (String, Secret)), CallbackError> {
        let (state, value) =
            random().and_then(|state| Ok((state, random()?))).map_err(|error| {
                tracing::error!(%error, "a login cannot start");
                CallbackError::Unknown
            })?;
        let cookie = (cookie_name(&state), value);
        self.with(|known| {
            let has =
                |it: &&mut Known| matches!(&it.stage, Stage::Ticket(own) if own.matches(ticket));
            let found = known.iter_mut().find(has).ok_or(CallbackError::Unknown)?;
            found.stage = Stage::Away { state: state.clone(), cookie: cookie.clone() };
            Ok((found.aim.clone(), state, cookie))
        })
    }

    /// Uses a state up, if the browser that brings it is the one that was sent away.
    pub(super) fn claim(
        &self,
        state: &str,
        cookies: Option<&str>,
    ) -> Result<(LoginId, Aim), CallbackError> {
        self.with(|known| {
            let found = known.iter_mut().find_map(|it| match &it.stage {
                Stage::Away { state: own, cookie } if own.matches(state) => {
                    Some((brings(cookies, cookie), it))
                }
                _ => None,
            });
            let (same_browser, found) = found.ok_or(CallbackError::Unknown)?;
            if !same_browser {
                return Err(CallbackError::AnotherBrowser);
            }
            found.stage = Stage::Exchanging;
            Ok((found.id.clone(), found.aim.clone()))
        })
    }

    /// The same for what was pasted into a login; a bare code comes without a state.
    pub(super) fn claim_pasted(
        &self,
        id: &LoginId,
        state: Option<&str>,
    ) -> Result<Aim, CallbackError> {
        self.with(|known| {
            let found = known.iter_mut().find(|it| it.id == *id).ok_or(CallbackError::Unknown)?;
            match &found.stage {
                Stage::Pasting { state: own } if state.is_none_or(|state| own.matches(state)) => {}
                _ => return Err(CallbackError::Unknown),
            }
            found.stage = Stage::Exchanging;
            Ok(found.aim.clone())
        })
    }

    /// It has ended.
    pub(super) fn end(&self, id: &LoginId, outcome: Outcome) {
        self.with(|known| {
            if let Some(found) = known.iter_mut().find(|it| it.id == *id) {
                found.stage = Stage::Ended(outcome);
                found.until = Instant::now() + LIFE;
            }
        });
    }

    /// How it ended; `None` while it is under way.
    pub(super) fn outcome(&self, id: &LoginId) -> Result<Option<Outcome>, CallbackError> {
        self.with(|known| {
            let found = known.iter().find(|it| it.id == *id).ok_or(CallbackError::Unknown)?;
            match &found.stage {
                Stage::Ended(outcome) => Ok(Some(outcome.clone())),
                _ => Ok(None),
            }
        })
    }

    fn with<T>(&self, work: impl FnOnce(&mut Vec<Known>) -> T) -> T {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        tidy(&mut known);
        work(&mut known)
    }
}

impl Known {
    fn is_under_way(&self) -> bool {
        !matches!(self.stage, Stage::Ended(_))
    }
}

/// Ends what has expired, and forgets what ended long ago or makes the list too long.
fn tidy(known: &mut Vec<Known>) {
    let now = Instant::now();
    known.retain(|it| it.is_under_way() || now < it.until);
    for late in known.iter_mut().filter(|it| now >= it.until) {
        // An exchange has its own time limit, and its end counts.
        if matches!(late.stage, Stage::Exchanging) {
            continue;
        }
        let portal = late.aim.portal.clone();
        let text = "nobody finished the login within 10 minutes; begin it again".to_owned();
        late.stage = Stage::Ended(Outcome::Failed { portal, text });
        late.until = now + LIFE;
    }
    while known.iter().filter(|it| !it.is_under_way()).count() > ENDED_MAX {
        // They stand in the order in which they began.
        let Some(oldest) = known.iter().position(|it| !it.is_under_way()) else { return };
        known.remove(oldest);
    }
}

/// Whether the browser has the cookie. Another site on the same host may have set one of the same
/// name beside it.
fn brings(cookies: Option<&str>, (name, value): &(String, Secret)) -> bool {
    let pairs = cookies.unwrap_or_default().split(';').filter_map(|pair| pair.split_once('='));
    let mut named = pairs.filter(|(own, _)| own.trim() == name);
    named.any(|(_, own)| value.matches(own.trim()))
}

/// Of its own for every login, so that several at once in one browser do not overwrite each other.
fn cookie_name(state: &Secret) -> String {
    let hash = Sha256::digest(state.expose());
    hash.iter().take(4).fold("b24gate_login_".to_owned(), |mut name, byte| {
        // Writing to a String cannot fail.
        write!(name, "{byte:02x}").unwrap_or_default();
        name
    })
}

/// 128 random bits in hex (RFC 6749, section 10.10).
fn random() -> Result<Secret, String> {
    let mut bytes = [0_u8; 16];
    getrandom::fill(&mut bytes).map_err(|_no_detail| "the system has no random numbers")?;
    Ok(Secret::new(format!("{:032x}", u128::from_le_bytes(bytes))))
}

/// How long a login may take, and how long its outcome is kept.
pub(super) const LIFE: Duration = Duration::from_mins(10);

/// People log in one at a time; this many is a mistake of a program.
const UNDER_WAY_MAX: usize = 64;

/// Outcomes kept.
const ENDED_MAX: usize = 64;

#[cfg(test)]
mod tests;
