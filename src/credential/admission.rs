//! What becomes of a pair that somebody brings, given what the portal holds. Pure: it decides, and
//! touches nothing.

use serde::{Deserialize, Serialize};

use crate::credential::{ChainId, Generation, Grant, Secret, State, utc};
use crate::store::{LedgerEntry, Seat, StoredCredential};

/// A chain that the portal holds, as far as the decision needs it.
#[derive(Clone, Copy, Debug)]
pub struct Held<'a> {
    /// Its number.
    pub chain: ChainId,
    /// Its generation.
    pub generation: Generation,
    /// The portal's stable key.
    pub member_id: Option<&'a str>,
    /// Whose rights it carries.
    pub user_id: Option<u64>,
    /// Whether the OAuth server called its refresh token dead.
    pub dead: bool,
    /// Its refresh token of now.
    pub refresh: &'a Secret,
}

/// Whether the one who brings a pair insists that it is used from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Replace {
    /// It is used when the portal has none that works.
    No,
    /// It takes the place of the one in use, even of another user's.
    Yes,
}

/// What is to be done with a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Store it, in this seat.
    Add(Seat),
    /// Nothing: it is here already.
    Known {
        /// The chain that it is the newest pair of.
        chain: ChainId,
        /// Under which generation.
        generation: Generation,
        /// Whether that chain is the one in use.
        active: bool,
        /// Whether that chain is dead.
        dead: bool,
    },
}

/// What has become of a pair.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Admitted {
    /// It is the one in use.
    Active {
        /// Its generation.
        generation: u64,
        /// Whether the one that was in use goes on as a spare.
        old_kept: bool,
    },
    /// It waits for the one in use to die.
    Spare {
        /// Its chain.
        chain: ChainId,
        /// The spare that had to make room.
        dropped: Option<ChainId>,
    },
    /// It was here already.
    Known {
        /// The chain that it is the newest pair of.
        chain: ChainId,
        /// Under which generation.
        generation: u64,
        /// Whether that chain is the one in use.
        active: bool,
        /// Whether that chain is dead.
        dead: bool,
    },
}

/// Why a pair is not taken. A sentence for the operator, without secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Its refresh token was exchanged for another one.
    #[error(
        "this pair is used up: its refresh token was exchanged at {} (generation {generation}), \
         and the pair that came of it has taken its place",
        utc(*.at)
    )]
    UsedUp {
        /// When, unix seconds.
        at: u64,
        /// Under which generation.
        generation: u64,
    },
    /// The OAuth server has said that its refresh token is no longer good.
    #[error(
        "this pair is dead: the OAuth server refused its refresh token for good at {} \
         (generation {generation})",
        utc(*.at)
    )]
    Dead {
        /// When, unix seconds.
        at: u64,
        /// Under which generation.
        generation: u64,
    },
    /// It was issued for another portal.
    #[error("this pair belongs to another portal: its member_id is not this portal's")]
    AnotherPortal,
    /// It carries the rights of another user.
    #[error(
        "this pair is user {brought}'s, and the portal is connected as user {held}; --replace puts \
         it in that one's place, and every call runs with the rights of user {brought} from then on"
    )]
    AnotherUser {
        /// Whose it is.
        brought: u64,
        /// Who connected the portal.
        held: u64,
    },
    /// It does not say whose it is.
    #[error(
        "this pair does not say whose it is, and the portal has a working one{}; a token response \
         names the user_id, so have its owner renew it once and bring that answer, or put it in \
         the place of the one in use with --replace",
        of(*.held)
    )]
    UserUnknown {
        /// Who connected the portal, if that is known.
        held: Option<u64>,
    },
    /// It says whose it is, and the one in use does not.
    #[error(
        "this pair is user {brought}'s, and the working one does not say whose it is; it does after \
         its next renewal, so bring this pair again then, or put it in that one's place with \
         --replace"
    )]
    HolderUnknown {
        /// Whose it is.
        brought: u64,
    },
}

impl<'a> From<&'a StoredCredential> for Held<'a> {
    fn from(stored: &'a StoredCredential) -> Self {
        Self {
            chain: stored.chain,
            generation: stored.generation,
            member_id: stored.member_id.as_deref(),
            user_id: stored.user_id,
            dead: matches!(stored.state, State::Dead { .. }),
            refresh: &stored.refresh,
        }
    }
}

/// Decides over `brought`. `seen` is what the ledger last says of its refresh token. A chain that
/// cannot be opened is of no use to anybody and counts as none.
pub fn admit(
    active: Option<&Held<'_>>,
    spares: &[Held<'_>],
    brought: &Grant,
    seen: Option<&LedgerEntry>,
    replace: Replace,
) -> Result<Admission, Refused> {
    let Some(active) = active else {
        return Ok(Admission::Add(Seat::Active { keep_old: false }));
    };
    let is_current = |held: &&Held<'_>| held.refresh.matches(brought.refresh.expose());
    if let Some(held) = std::iter::once(active).chain(spares).find(is_current) {
        let is_active = held.chain == active.chain;
        if is_active && held.dead && replace == Replace::Yes {
            // Servers have been wrong before: whoever insists may have it tried again at once.
            return Ok(Admission::Add(Seat::Active { keep_old: false }));
        }
        let Held { chain, generation, dead, .. } = *held;
        return Ok(Admission::Known { chain, generation, active: is_active, dead });
    }
    if let Some(refused) = seen.and_then(spent) {
        return Err(refused);
    }
    if let Some((held, brought)) = active.member_id.zip(brought.member_id.as_deref())
        && !held.eq_ignore_ascii_case(brought)
    {
        return Err(Refused::AnotherPortal);
    }
    let seat = match (active.user_id, brought.user_id) {
        (Some(held), Some(brought)) if held == brought => of_same_user(active.dead, replace),
        (Some(held), Some(brought)) if replace == Replace::No => {
            return Err(Refused::AnotherUser { brought, held });
        }
        (held, None) if replace == Replace::No && !active.dead => {
            return Err(Refused::UserUnknown { held });
        }
        (None, Some(brought)) if replace == Replace::No && !active.dead => {
            return Err(Refused::HolderUnknown { brought });
        }
        // Another user's, or nobody knows: it must not come back as a spare.
        _ => Seat::Active { keep_old: false },
    };
    Ok(Admission::Add(seat))
}

fn of_same_user(active_is_dead: bool, replace: Replace) -> Seat {
    match (active_is_dead, replace) {
        (true, _) => Seat::Active { keep_old: false },
        (false, Replace::Yes) => Seat::Active { keep_old: true },
        (false, Replace::No) => Seat::Spare,
    }
}

/// Whether a token that is nobody's current one is beyond use. One whose chain had to make room
/// before it was exchanged may still be good.
pub(super) fn spent(entry: &LedgerEntry) -> Option<Refused> {
    let LedgerEntry { at, generation, ref outcome, .. } = *entry;
    match outcome.as_str() {
        "intent" => Some(Refused::UsedUp { at, generation }),
        text if text.starts_with("failed: dead") || text == "turned away" => {
            Some(Refused::Dead { at, generation })
        }
        _ => None,
    }
}

fn of(user: Option<u64>) -> String {
    user.map_or_else(String::new, |user| format!(", user {user}'s"))
}

#[cfg(test)]
mod tests;
