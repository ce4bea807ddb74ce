//! What an answer means for a call: deliver it, send the call again, or refuse.

use std::sync::Arc;
use std::time::Duration;

use crate::config::Endpoint;
use crate::credential::Token;
use crate::error::{Kind, Refusal};
use crate::gateway::forward::Forward;
use crate::gateway::lent::Lent;
use crate::gateway::refusals;
use crate::gateway::reply::Reply;
use crate::gateway::verdict::Finding;
use crate::metrics::Replay;
use crate::portal::{Budget, Complaint, Slot, Webhook};

/// What to do with an answer.
pub(crate) enum Step {
    Deliver,
    Again(Replay),
    Refuse(Refusal),
}

impl Forward<'_> {
    /// Notes what an ordinary answer proves about what was lent, and about the slot.
    pub(crate) fn succeeded(&self, reply: &Reply, slot: Slot, lent: &Lent) {
        if !(200..300).contains(&reply.status) {
            return;
        }
        match lent {
            Lent::Token(token) => {
                token.mark_accepted();
                if slot != Slot::Bearer {
                    self.call.portal.learn_slot(slot);
                }
            }
            Lent::Webhook(webhook) => webhook.accepted(),
            Lent::Nothing => {}
        }
    }

    /// Decides what any other answer means for this call, and prepares what comes next.
    pub(crate) async fn decide(
        &mut self,
        finding: Finding,
        reply: &Reply,
        slot: Slot,
        lent: Lent,
    ) -> Step {
        match lent {
            Lent::Token(token) => self.decide_token(finding, reply, slot, &token).await,
            Lent::Webhook(webhook) => self.decide_webhook(finding, &webhook).await,
            Lent::Nothing => decide_link(finding),
        }
    }

    async fn decide_token(
        &mut self,
        finding: Finding,
        reply: &Reply,
        slot: Slot,
        token: &Token,
    ) -> Step {
        match finding {
            Finding::Expired => {
                self.call.portal.learn_slot(slot);
                self.expired(token).await
            }
            Finding::MaybeExpired | Finding::Unauthorized | Finding::BadWebhook(_)
                if reply.status == 401 && self.may_try_parameter(slot) =>
            {
                self.parameter_tried = true;
                Step::Again(Replay::Parameter)
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
                self.expired(token).await
            }
            Finding::Ordinary | Finding::Unauthorized | Finding::BadWebhook(_) => Step::Deliver,
            Finding::QueryLimit => self.limited().await,
            Finding::OperationTime | Finding::ConnectionError => self.once_more(finding).await,
            Finding::Redirect => self.redirected(reply, token).await,
            Finding::NotApi => Step::Refuse(refusals::not_api()),
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
        match self.renew(token).await {
            Ok(fresh) => {
                let (portal, seen) = (&self.call.portal.name, token.generation);
                let generation = fresh.generation;
                if fresh.tell_once() {
                    tracing::info!(%portal, %seen, %generation, "token had expired; call replayed");
                } else {
                    tracing::debug!(%portal, %seen, %generation, "call replayed too");
                }
                Step::Again(Replay::ExpiredToken)
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
            return Step::Refuse(refusals::out_of_budget(delay));
        }
        self.limited += 1;
        self.wait(delay).await;
        Step::Again(Replay::QueryLimit)
    }

    async fn once_more(&mut self, finding: Finding) -> Step {
        if self.waited_once || self.timing.queue + ONCE_MORE > self.settings.max_wait {
            return match finding {
                Finding::OperationTime => Step::Refuse(refusals::out_of_operating_time()),
                _ => Step::Deliver,
            };
        }
        self.waited_once = true;
        self.wait(ONCE_MORE).await;
        Step::Again(match finding {
            Finding::OperationTime => Replay::OperationTime,
            _ => Replay::ConnectionError,
        })
    }

    async fn wait(&mut self, delay: Duration) {
        let _held = self.call.portal.tally.hold();
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
            let why = "its OAuth server does not confirm";
            return Step::Refuse(refusals::not_confirmed(why));
        }
        self.gateway.portals.list_domain(portal);
        self.call.site = Arc::clone(&portal.site());
        self.call.head.readdress(&self.call.site.authority);
        self.moved = true;
        Step::Again(Replay::Moved)
    }

    /// A webhook cannot be renewed, and nobody can say where its portal has moved to. Its secret
    /// stands in the path, so that nothing a client sends can make the portal refuse it.
    async fn decide_webhook(&mut self, finding: Finding, webhook: &Webhook) -> Step {
        let complaint = match finding {
            Finding::BadWebhook(complaint) => complaint,
            Finding::Expired => Complaint::Token,
            Finding::QueryLimit => return self.limited().await,
            Finding::OperationTime | Finding::ConnectionError => {
                return self.once_more(finding).await;
            }
            Finding::Redirect => {
                return Step::Refuse(refusals::not_confirmed("nobody can confirm for a webhook"));
            }
            Finding::NotApi => return Step::Refuse(refusals::not_api()),
            Finding::Ordinary | Finding::Unauthorized | Finding::MaybeExpired => {
                return Step::Deliver;
            }
        };
        let portal = &self.call.portal;
        if webhook.refused(complaint) {
            tracing::warn!(portal = %portal.name, code = complaint.code(), "webhook refused");
        }
        match complaint {
            // Clients would renew a token at this, and they have none.
            Complaint::Token => Step::Refuse(self.gateway.webhook_refused(portal)),
            Complaint::InvalidCredentials | Complaint::AuthorizationError => Step::Deliver,
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
        Finding::NotApi => Step::Refuse(refusals::not_api()),
        _ => Step::Deliver,
    }
}

const ONCE_MORE: Duration = Duration::from_secs(1);
