//! Events whose only proof is the `application_token` that the portal's installation brought.

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::connect::arrivals::not_written;
use crate::connect::claim::member_id;
use crate::connect::events::{EventError, EventOutcome};
use crate::connect::{Connect, Form};
use crate::credential::unix_now;
use crate::portal::Portal;
use crate::store::Facts;

impl Connect {
    /// The portal that an event comes from, if it carries what only that one knows.
    pub(super) fn sender(&self, form: &Form) -> Result<Arc<Portal>, EventError> {
        let member = form.once("auth[member_id]").map_err(EventError::Refused)?;
        let token = form.once("auth[application_token]").map_err(EventError::Refused)?;
        let portal = member_id(member).and_then(|member| self.portal_of_member(&member));
        let kept = portal.as_ref().and_then(|it| it.standing.facts().application_token.clone());
        // A portal that is not ours is compared as well, so that time does not tell who is.
        let expected = kept.as_ref().unwrap_or(&self.mail.nobody);
        let matches = expected.matches(token.unwrap_or_default());
        match portal {
            Some(portal) if kept.is_some() && matches => Ok(portal),
            _ => Err(EventError::Refused("its application_token is not the portal's")),
        }
    }

    /// `ONAPPUNINSTALL`: a tombstone, if the application was not installed or removed since.
    pub(super) async fn uninstalled(
        self: &Arc<Self>,
        form: &Form,
    ) -> Result<EventOutcome, EventError> {
        let portal = self.sender(form)?;
        let ts = form.once("ts").map_err(EventError::Refused)?;
        let Some(at) = ts.and_then(|ts| ts.parse::<u64>().ok()) else {
            return Err(EventError::Refused("it does not say when it happened"));
        };
        let (told, outcome) = oneshot::channel();
        let connect = self.clone();
        // Whoever posted it may leave between what is written and what is served.
        self.custody.flights().spawn(async move {
            drop(told.send(connect.close_uninstalled(&portal, at).await));
        });
        let cut_short = |_crashed| EventError::Later("the gateway could not finish".to_owned());
        outcome.await.map_err(cut_short)?
    }

    async fn close_uninstalled(
        &self,
        portal: &Portal,
        at: u64,
    ) -> Result<EventOutcome, EventError> {
        let _one_at_a_time = self.operating.lock().await;
        if !is_news(&portal.standing.facts(), at) {
            tracing::info!(portal = %portal.name, "an old uninstallation is ignored");
            return Ok(EventOutcome::Ignored);
        }
        let noted = self.registry.note_uninstall(&portal.name, at).await;
        noted.map_err(|error| EventError::Later(not_written(&error)))?;
        portal.standing.note(|facts| {
            facts.uninstalled = true;
            facts.uninstalled_at = Some(at);
        });
        tracing::warn!(portal = %portal.name, "the application was removed in the portal");
        self.recent.tell(Some(&portal.name), "the application was removed in the portal");
        Ok(EventOutcome::Done)
    }

    /// `ONAPPPAYMENT`: what was refused for want of it may be tried again at once.
    pub(super) fn paid(&self, form: &Form) -> Result<EventOutcome, EventError> {
        let portal = self.sender(form)?;
        let is = |name, word: &str| form.text(name).is_some_and(|it| it.eq_ignore_ascii_case(word));
        if is("data[PAYMENT_EXPIRED]", "Y") {
            tracing::warn!(portal = %portal.name, "the application is no longer paid for");
            self.recent.tell(Some(&portal.name), "the application is no longer paid for");
            return Ok(EventOutcome::Ignored);
        }
        if let Some(credential) = portal.credential() {
            credential.retry();
        }
        let status = if is("data[STATUS]", "T") { "on trial" } else { "paid for" };
        tracing::info!(portal = %portal.name, status, "the application's payment has changed");
        self.recent.tell(Some(&portal.name), format!("the application is {status}"));
        Ok(EventOutcome::Done)
    }
}

/// Whether an uninstallation at `at` is later than all that is known. Events overtake one another,
/// and anybody who has seen one can send it again.
fn is_news(facts: &Facts, at: u64) -> bool {
    let later = |known: Option<u64>| known.is_none_or(|known| at > known);
    // By this machine's clock and theirs, nothing happens tomorrow.
    let possible = at <= unix_now().saturating_add(CLOCKS_DIFFER);
    possible && later(facts.installed_at) && later(facts.uninstalled_at)
}

/// By how much two clocks may differ, seconds.
const CLOCKS_DIFFER: u64 = 86_400;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_uninstallation_after_all_that_is_known_is_news() {
        let facts = |installed_at, uninstalled_at| Facts {
            installed_at,
            uninstalled_at,
            ..Facts::default()
        };
        for (known, at, news) in [
            (facts(None, None), 100, true),
            (facts(Some(100), None), 101, true),
            (facts(Some(100), None), 100, false),
            (facts(Some(100), None), 99, false),
            (facts(Some(100), Some(150)), 151, true),
            (facts(Some(100), Some(150)), 150, false),
            (facts(Some(200), Some(150)), 160, false),
            (facts(None, None), u64::MAX, false),
        ] {
            assert_eq!(is_news(&known, at), news, "{known:?} {at}");
        }
    }
}
