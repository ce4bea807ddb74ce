//! From a claim to a seat: what pages and events have in common.

use std::sync::Arc;
use std::time::Duration;

use crate::connect::Connect;
use crate::connect::arrivals::{Ending, not_written};
use crate::connect::claim::Claim;
use crate::connect::verify::{Doubt, Pace, Verified};
use crate::credential::{Admitted, FailureKind, Grant, IntakeError, Refused, Replace};
use crate::portal::{Closed, Portal};

/// A claim that was verified, and what became of it.
#[derive(Debug)]
pub(in crate::connect) struct Taken {
    pub(in crate::connect) portal: Arc<Portal>,
    pub(in crate::connect) verified: Verified,
    pub(in crate::connect) fate: Fate,
}

/// What became of a pair that is genuine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::connect) enum Fate {
    /// It has a seat.
    Admitted(Admitted),
    /// It is another user's than the one in use; not kept.
    AnotherUser,
    /// It was used before; not kept.
    Spent,
    /// It has nothing that could be kept.
    Nothing,
}

impl Connect {
    /// Verifies a claim, finds its portal, and has its pair exchanged and seated.
    pub(in crate::connect) async fn take(
        self: &Arc<Self>,
        claim: &Claim,
        pace: Pace,
    ) -> Result<Taken, Doubt> {
        let Some(refresh) = claim.refresh.clone() else {
            let known = self.portal_of_member(&claim.member_id);
            let portal = known.ok_or(Doubt::Refused("there is no refresh token in it"))?;
            let verified = self.verify(claim, pace).await?;
            return Ok(Taken { portal, verified, fate: Fate::Nothing });
        };
        let verified = self.verify(claim, pace).await?;
        let portal = self.enter(&verified).await?;
        let grant = Grant {
            access: claim.access.clone(),
            refresh,
            expires_at: claim.expires_at,
            good_until: None,
            member_id: Some(verified.member_id.clone()),
            user_id: verified.user_id,
            client_endpoint: Some(verified.client_endpoint.clone()),
        };
        let (ending, outcome) = self.seat(&portal, grant, claim).await;
        self.leave(&portal, ending).await;
        Ok(Taken { portal, verified, fate: outcome? })
    }

    async fn seat(
        self: &Arc<Self>,
        portal: &Arc<Portal>,
        grant: Grant,
        claim: &Claim,
    ) -> (Ending, Result<Fate, Doubt>) {
        let Some(credential) = portal.credential() else {
            return (Ending::Stays, Err(Doubt::Refused("its portal is opened by a webhook here")));
        };
        // Who installs an application anew means what was installed, whoever that was before.
        let gone = portal.standing.closed() == Some(Closed::Uninstalled);
        let replace = if gone { Replace::Yes } else { Replace::No };
        let admitted = match credential.adopt_exchanged(grant, replace).await {
            Ok(admitted) => admitted,
            Err(error) => return refused(portal, error),
        };
        let welcomed = self.welcomed(portal, claim.at, claim.application_token.as_ref()).await;
        if let Err(error) = welcomed {
            let doubt = not_written(&error);
            self.welcome_later(portal.clone(), claim);
            return (Ending::Stays, Err(doubt));
        }
        (Ending::Stays, Ok(Fate::Admitted(admitted)))
    }

    /// The pair is in the store, and what belongs to it is not. Nobody will bring it again, so it is
    /// tried for as long as there is a gateway.
    fn welcome_later(self: &Arc<Self>, portal: Arc<Portal>, claim: &Claim) {
        let (connect, at) = (self.clone(), claim.at);
        let application_token = claim.application_token.clone();
        tokio::spawn(async move {
            let mut pause = WELCOME_MIN;
            loop {
                tokio::time::sleep(pause).await;
                let told = connect.welcomed(&portal, at, application_token.as_ref()).await;
                if told.is_ok() {
                    return;
                }
                pause = pause.saturating_mul(2).min(WELCOME_MAX);
            }
        });
    }
}

/// Why a genuine pair has no seat, and whether a portal that came for it stays.
fn refused(portal: &Portal, error: IntakeError) -> (Ending, Result<Fate, Doubt>) {
    match error {
        IntakeError::Refused(
            Refused::AnotherUser { .. }
            | Refused::UserUnknown { .. }
            | Refused::HolderUnknown { .. },
        ) => (Ending::Failed, Ok(Fate::AnotherUser)),
        IntakeError::Refused(Refused::UsedUp { .. } | Refused::Dead { .. }) => {
            (Ending::Failed, Ok(Fate::Spent))
        }
        IntakeError::Refused(Refused::AnotherPortal) => {
            (Ending::Failed, Err(Doubt::Refused("its pair is of another portal")))
        }
        IntakeError::Exchange(failure) if failure.kind == FailureKind::Transient => {
            (Ending::Stays, Err(Doubt::Later(failure.to_string())))
        }
        IntakeError::Exchange(failure) => {
            tracing::warn!(portal = %portal.name, reason = %failure, "a pair could not be exchanged");
            (Ending::Failed, Err(Doubt::Refused("its refresh token is of no use")))
        }
        IntakeError::Store(error) => (Ending::Stays, Err(not_written(&error))),
    }
}

/// First pause before a welcome is written again.
const WELCOME_MIN: Duration = Duration::from_secs(1);
/// Longest pause of that kind.
const WELCOME_MAX: Duration = Duration::from_mins(1);
