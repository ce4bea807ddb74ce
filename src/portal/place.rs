//! What a portal is seen to do, and what is remembered of it: where it reads its token, where it
//! has moved to. Writing it down happens in the background; it can be learnt again.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use crate::config::{Endpoint, Inject};
use crate::portal::{Portal, Site, Slot};
use crate::secret::Secret;

impl Portal {
    /// Notes that a token in `slot` was read, if that was not known yet.
    pub fn learn_slot(self: &Arc<Self>, slot: Slot) {
        let inject = match slot {
            Slot::Parameter => Inject::Parameter,
            Slot::Bearer | Slot::BearerUntried => Inject::Bearer,
        };
        let known = if slot == Slot::Parameter { slot } else { Slot::Bearer };
        let untried = Slot::BearerUntried as u8;
        let (relaxed, known) = (Ordering::Relaxed, known as u8);
        if self.slot.compare_exchange(untried, known, relaxed, relaxed).is_err() {
            return;
        }
        tracing::info!(portal = %self.name, ?inject, "the portal reads its token here");
        let portal = self.clone();
        self.custody.flights().spawn(async move {
            let written = portal.custody.store().remember_inject(&portal.name, inject).await;
            portal.log_unwritten(written.err());
        });
    }

    /// Moves to `target`, if the OAuth server names it as the place of this token's portal. A
    /// redirect alone proves nothing: it is written by whoever answers at the old address. All
    /// calls that meet the redirect share one question, and a refusal holds for a while.
    pub async fn follow(self: &Arc<Self>, access: &Secret, target: &Endpoint) -> bool {
        let mut refused = self.refused_move.lock().await;
        if self.site.load().endpoint == *target {
            return true;
        }
        let recently =
            |(place, at): &(Endpoint, Instant)| place == target && at.elapsed() < REFUSAL_HOLDS;
        if refused.as_ref().is_some_and(recently) {
            return false;
        }
        if !self.is_confirmed(access, target).await {
            *refused = Some((target.clone(), Instant::now()));
            return false;
        }
        self.relocate(target);
        true
    }

    async fn is_confirmed(&self, access: &Secret, target: &Endpoint) -> bool {
        let Some(credential) = self.credential() else {
            return false; // Nobody can be asked about a webhook.
        };
        let app = credential.app();
        let info = match self.custody.oauth().app_info(&app, access).await {
            Ok(info) => info,
            Err(failure) => {
                tracing::warn!(portal = %self.name, reason = %failure, "move not confirmed");
                return false;
            }
        };
        let told = info.client_endpoint.as_deref().and_then(Endpoint::of_url);
        let known = credential.state().member_id.clone();
        let same_portal = match (&known, &info.member_id) {
            (Some(known), Some(told)) => known.eq_ignore_ascii_case(told),
            _ => known.is_none(),
        };
        told.as_ref() == Some(target) && info.client_id == app.client_id && same_portal
    }

    /// Takes over that the portal lives at `target` now, which must have been confirmed. It is
    /// reachable by its new domain once it is listed ([`Portals::list_domain`]).
    ///
    /// [`Portals::list_domain`]: crate::portal::Portals::list_domain
    pub fn relocate(self: &Arc<Self>, target: &Endpoint) {
        if self.site.load().endpoint == *target {
            return;
        }
        let connector = self.site.load().connector.clone();
        self.site.store(Arc::new(Site::new(target.clone(), connector)));
        tracing::info!(portal = %self.name, to = %target, "the portal has moved");
        let (portal, target) = (self.clone(), target.clone());
        self.custody.flights().spawn(async move {
            let store = portal.custody.store();
            let written = store.remember_endpoint(&portal.name, Some(&target)).await;
            portal.log_unwritten(written.err());
        });
    }

    fn log_unwritten(&self, error: Option<crate::store::StoreError>) {
        if let Some(error) = error {
            tracing::warn!(portal = %self.name, %error, "not remembered; it will be learnt again");
        }
    }
}

/// How long a redirect that was not confirmed is not asked about again.
const REFUSAL_HOLDS: Duration = Duration::from_mins(1);
