//! What is said where a portal cannot be called: which one, why, and what a human has to do about it.

use std::time::Duration;

use crate::credential::{State, Unavailable};
use crate::error::{Kind, Refusal};
use crate::gateway::Gateway;
use crate::portal::{Closed, Portal};

impl Gateway {
    /// The portal is not served, whatever its credential.
    pub(crate) fn closed(&self, portal: &Portal, closed: Closed) -> Refusal {
        let (name, admin) = (&portal.name, &self.admin_url);
        let text = match closed {
            Closed::Disabled => format!(
                "portal {name} is not served: the operator has disabled it; \
                 `b24gate portal enable {name}` or the page {admin} puts it back"
            ),
            Closed::Uninstalled => format!(
                "portal {name} is not connected: the application was uninstalled from this portal; \
                 install it again, or connect it at {admin}"
            ),
        };
        Refusal::new(Kind::NotConnected, text)
    }

    /// There is no token to lend.
    pub(crate) fn unavailable(&self, portal: &Portal, unavailable: Unavailable) -> Refusal {
        let name = &portal.name;
        match unavailable {
            Unavailable::NotConnected(state) => {
                let why = match state {
                    State::Dead { code } => {
                        format!("its refresh token is dead ({})", harmless(&code))
                    }
                    State::Paused { code } => {
                        format!("its OAuth server refuses: {}", harmless(&code))
                    }
                    State::Connected | State::Suspect | State::NotConnected => {
                        "it has no credential".to_owned()
                    }
                };
                Refusal::new(
                    Kind::NotConnected,
                    format!(
                        "portal {name} is not connected: {why}; connect it at {} or with \
                         `b24gate portal connect {name}`",
                        self.admin_url
                    ),
                )
            }
            Unavailable::Later { retry_after, reason } => Refusal::new(
                Kind::RefreshUnavailable,
                format!(
                    "the token of portal {name} cannot be renewed right now: {}",
                    harmless(&reason)
                ),
            )
            .retry_after(whole_seconds(retry_after)),
        }
    }

    /// The portal answers a webhook as it would answer a token that has expired.
    pub(crate) fn webhook_refused(&self, portal: &Portal) -> Refusal {
        let name = &portal.name;
        Refusal::new(
            Kind::NotConnected,
            format!(
                "portal {name} is not connected: it refuses the incoming webhook; make a new one \
                 in the portal and set it as the webhook_url of portals.{name} (status: {})",
                self.admin_url
            ),
        )
    }
}

/// A redirect that nobody can confirm, or that the OAuth server does not.
pub(crate) fn not_confirmed(asked: &'static str) -> Refusal {
    Refusal::new(
        Kind::PortalRedirect,
        format!(
            "the portal sends callers to an address that {asked} (a renamed portal, or a licence \
             page): open the portal in a browser"
        ),
    )
}

/// The portal's own limit, beyond what a call may wait.
pub(crate) fn out_of_budget(delay: Duration) -> Refusal {
    let refusal = Refusal::new(
        Kind::QueryLimit,
        "the portal's request limit is used up; the call has not run",
    );
    refusal.retry_after(whole_seconds(delay))
}

/// The portal does not say when; it counts in steps of a minute.
pub(crate) fn out_of_operating_time() -> Refusal {
    let refusal = Refusal::new(
        Kind::OperationTime,
        "this method has used up its operating time on the portal; the call has not run, and other \
         methods still work",
    );
    refusal.retry_after(OPERATING_STEP_S)
}

/// A page where REST would answer data.
pub(crate) fn not_api() -> Refusal {
    Refusal::new(
        Kind::PortalBroken,
        "the portal's address answers a web page instead of REST (a captive portal, a login page, \
         a wrong url?)",
    )
}

/// An error that may show the webhook and cannot be looked into.
pub(crate) fn unreadable() -> Refusal {
    Refusal::new(
        Kind::PortalBroken,
        "the portal answers an error in a coding that was not asked for; whether the call has run \
         is not known, so check before you repeat a write",
    )
}

/// The token endpoint uses the very codes at which SDKs renew a token themselves, and some look for
/// them anywhere in an error.
fn harmless(text: &str) -> String {
    let lower = text.to_ascii_lowercase();
    let mut text = text.to_owned();
    for code in ["expired_token", "invalid_token"] {
        for (at, _) in lower.match_indices(code) {
            let gap = at + "expired".len();
            text.replace_range(gap..=gap, " ");
        }
    }
    text
}

/// Rounded up: whoever asks again after a part of the time only hears the same again.
fn whole_seconds(time: Duration) -> u64 {
    time.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX)
}

const OPERATING_STEP_S: u64 = 60;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_codes_at_which_sdks_renew_tokens_are_told_in_other_words() {
        let told = harmless("answers EXPIRED_TOKEN, expired_token and invalid_token");
        assert_eq!(told, "answers EXPIRED TOKEN, expired token and invalid token");
        assert_eq!(harmless("invalid_grant"), "invalid_grant");
    }

    #[test]
    fn a_part_of_a_second_is_a_second_to_wait() {
        assert_eq!(whole_seconds(Duration::from_millis(2_001)), 3);
        assert_eq!(whole_seconds(Duration::from_secs(2)), 2);
    }
}
