//! What an answer means for a call: deliver it, send the call again, or refuse.

use std::sync::Arc;
use std::time::Duration;

use crate::config::Endpoint;
use crate::credential::{State, Token, Unavailable};
use crate::error::{Kind, Refusal};
use crate::gateway::forward::Forward;
use crate::gateway::reply::Reply;
use crate::gateway::verdict::Finding;
use crate::portal::{Budget, Slot};

/// What to do with an answer.
pub(crate) enum Step {
    Deliver,
    Again,
    Refuse(Refusal),
}

impl Forward<'_> {
    /// Notes what an ordinary answer proves about the token and its slot.
    pub(crate) fn succeeded(&self, reply: &Reply, slot: Slot, token: Option<&Token>) {
        if let Some(token) = token.filter(|_| (200..300).contains(&reply.status)) {
            token.mark_accepted();
            if slot != Slot::Bearer {
                self.call.portal.learn_slot(slot);
            }
        }
    }

    /// Decides what any other answer means for this call, and prepares what comes next.
    pub(crate) async fn decide(
        &mut self,
        finding: Finding,
        reply: &Reply,
        slot: Slot,
        token: Option<Arc<Token>>,
    ) -> Step {
        let Some(token) = token else {
            return decide_link(finding);
        };
        match finding {
            Finding::Expired => {
                self.call.portal.learn_slot(slot);
                self.expired(&token).await
            }
            Finding::MaybeExpired | Finding::Unauthorized if self.may_try_parameter(slot) => {
                self.parameter_tried = true;
                self.replayed = Some("parameter");
                Step::Again
            }
            Finding::MaybeExpired if self.renewed => {
                token.mark_beyond_doubt();
                Step::Deliver
            }
            Finding::MaybeExpired => {
                if !token.is_doubtful() {
                    return Step::Deliver;
                }
                // Where an expired token was refused twice, neither place is proven wrong.
                self.parameter_tried = false;
                self.expired(&token).await
            }
            Finding::Ordinary | Finding::Unauthorized => Step::Deliver,
            Finding::QueryLimit => self.limited().await,
            Finding::OperationTime | Finding::ConnectionError => self.once_more(finding).await,
            Finding::Redirect => self.redirected(reply, &token).await,
            Finding::NotApi => Step::Refuse(not_api()),
        }
    }

    /// The portal says that the token is no longer good: renew it and replay, once.
    async fn expired(&mut self, token: &Token) -> Step {
        if self.renewed {
            let refusal = Refusal::new(
                Kind::RefreshUnavailable,
                "the portal refuses a token that was renewed for this very call",
            );
            return Step::Refuse(refusal.retry_after(60));
        }
        self.renewed = true;
        self.replayed = Some("expired_token");
        match self.renew(token).await {
            Ok(fresh) => {
                let (portal, seen) = (&self.call.portal.name, token.generation);
                let generation = fresh.generation;
                if fresh.tell_once() {
                    tracing::info!(%portal, %seen, %generation, "token had expired; call replayed");
                } else {
                    tracing::debug!(%portal, %seen, %generation, "call replayed too");
                }
                Step::Again
            }
            Err(refusal) => Step::Refuse(refusal),
        }
    }

    fn may_try_parameter(&self, slot: Slot) -> bool {
        slot == Slot::BearerUntried && !self.parameter_tried
    }

    /// The portal's own limit: wait longer each time, but not beyond `max_wait`.
    async fn limited(&mut self) -> Step {
        let delay = Budget::delay(self.limited);
        if self.timing.queue + delay > self.settings.max_wait {
            let refusal = Refusal::new(
                Kind::QueryLimit,
                "the portal's request limit is used up; the call has not run",
            );
            return Step::Refuse(refusal.retry_after(whole_seconds(delay)));
        }
        self.limited += 1;
        self.replayed = Some("query_limit");
        self.wait(delay).await;
        Step::Again
    }

    async fn once_more(&mut self, finding: Finding) -> Step {
        if self.waited_once || self.timing.queue + ONCE_MORE > self.settings.max_wait {
            return match finding {
                Finding::OperationTime => Step::Refuse(out_of_operating_time()),
                _ => Step::Deliver,
            };
        }
        self.waited_once = true;
        self.replayed = Some(match finding {
            Finding::OperationTime => "operation_time",
            _ => "connection_error",
        });
        self.wait(ONCE_MORE).await;
        Step::Again
    }

    async fn wait(&mut self, delay: Duration) {
        tokio::time::sleep(delay).await;
        self.timing.queue += delay;
    }

    /// A redirect is followed only to where the OAuth server says the portal now lives.
    async fn redirected(&mut self, reply: &Reply, token: &Token) -> Step {
        let portal = &self.call.portal;
        let target = reply.location.as_deref().and_then(Endpoint::of_url);
        // The licence page of a self-hosted portal is at the same address: nothing to ask about.
        let elsewhere = target.filter(|target| *target != self.call.site.endpoint);
        let followed = match elsewhere {
            Some(target) if !self.moved => portal.follow(&token.access, &target).await,
            _ => false,
        };
        if !followed {
            tracing::warn!(portal = %portal.name, "redirect not confirmed by the OAuth server");
            return Step::Refuse(Refusal::new(
                Kind::PortalRedirect,
                "the portal sends callers to an address that its OAuth server does not confirm \
                 (a renamed portal, or a licence page): open the portal in a browser",
            ));
        }
        self.gateway.portals.list_domain(portal);
        self.call.site = Arc::clone(&portal.site());
        self.call.head.readdress(&self.call.site.authority);
        self.moved = true;
        self.replayed = Some("moved");
        Step::Again
    }

    /// Says which portal, why, and what a human has to do about it.
    pub(crate) fn unavailable(&self, unavailable: Unavailable) -> Refusal {
        let name = &self.call.portal.name;
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
                         `b24gate portal import {name}`",
                        self.gateway.admin_url
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
}

/// A signed link is valid only with the token inside it, so nothing can be renewed or retried.
fn decide_link(finding: Finding) -> Step {
    match finding {
        Finding::Expired => Step::Refuse(Refusal::new(
            Kind::LinkExpired,
            "the token inside this link has expired: repeat the call that produced the link",
        )),
        Finding::Redirect => Step::Refuse(Refusal::new(
            Kind::PortalRedirect,
            "the portal answers this link with a redirect, which is not followed",
        )),
        Finding::NotApi => Step::Refuse(not_api()),
        _ => Step::Deliver,
    }
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

/// The portal does not say when; it counts in steps of a minute.
fn out_of_operating_time() -> Refusal {
    let refusal = Refusal::new(
        Kind::OperationTime,
        "this method has used up its operating time on the portal; the call has not run, and other \
         methods still work",
    );
    refusal.retry_after(OPERATING_STEP_S)
}

fn not_api() -> Refusal {
    Refusal::new(
        Kind::PortalBroken,
        "the portal's address answers a web page instead of REST (a captive portal, a login page, \
         a wrong url?)",
    )
}

const OPERATING_STEP_S: u64 = 60;
const ONCE_MORE: Duration = Duration::from_secs(1);

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
