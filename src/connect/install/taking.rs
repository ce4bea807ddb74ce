//! From a claim to a seat: what pages and events have in common.

mod bringing;

pub(in crate::connect) use bringing::Followed;

use std::sync::Arc;

use crate::connect::Connect;
use crate::connect::claim::Claim;
use crate::connect::verify::{Doubt, Pace, Verified};
use crate::credential::{Admitted, Grant};
use crate::portal::Portal;

use self::bringing::Brought;

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
        let fate = self.bring(Brought::new(portal.clone(), grant, claim)).await?;
        Ok(Taken { portal, verified, fate })
    }
}
