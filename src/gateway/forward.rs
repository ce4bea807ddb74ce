//! Forwarding a call until there is an answer for the client: lend a token, exchange, judge, and
//! send again only when the portal has proven that the call has not run.

use std::io::IoSlice;
use std::sync::Arc;

use tokio::time::Instant;

use crate::config;
use crate::credential::{State, Token, Unavailable};
use crate::error::{Kind, Refusal};
use crate::failpoint;
use crate::gateway::Gateway;
use crate::gateway::admit::Call;
use crate::gateway::answer::Timing;
use crate::gateway::body::Body;
use crate::gateway::deadline::Elapsed;
use crate::gateway::decide::Step;
use crate::gateway::inbound::{Inbound, Stop};
use crate::gateway::lent::Lent;
use crate::gateway::query::Carries;
use crate::gateway::relay::Pace;
use crate::gateway::reply::{self, NotHttp, Parsed, Reply};
use crate::gateway::upload::Sending;
use crate::gateway::upstream::{Conn, Sent};
use crate::gateway::verdict::Finding;
use crate::gateway::wire::ClientStream;
use crate::metrics::Replay;
use crate::portal::{Holder, Slot};

/// One call on its way, with what has been tried.
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not states of one thing")]
#[derive(Debug)]
pub(crate) struct Forward<'f> {
    pub(crate) gateway: &'f Gateway,
    pub(crate) call: &'f mut Call,
    body: &'f mut Body,
    pub(crate) settings: &'f config::Gateway,
    pub(crate) timing: Timing,
    /// Why the call was sent more than once, for `X-B24-Replayed`.
    pub(crate) replayed: Option<Replay>,
    /// When the answer was known to be the one for the client.
    pub(crate) judged: Option<Instant>,
    pub(crate) renewed: bool,
    pub(crate) parameter_tried: bool,
    pub(crate) moved: bool,
    pub(crate) limited: u32,
    pub(crate) waited_once: bool,
}

/// Why an exchange brought no answer.
pub(crate) enum Failure {
    /// Nothing of it can have reached the portal.
    Untouched,
    /// It may have.
    Broken(&'static str),
    Silent,
    Stop(Stop),
}

impl<'f> Forward<'f> {
    /// Nothing has been tried yet.
    pub(crate) fn new(
        gateway: &'f Gateway,
        call: &'f mut Call,
        body: &'f mut Body,
        settings: &'f config::Gateway,
    ) -> Self {
        Self {
            gateway,
            call,
            body,
            settings,
            timing: Timing::default(),
            replayed: None,
            judged: None,
            renewed: false,
            parameter_tried: false,
            moved: false,
            limited: 0,
            waited_once: false,
        }
    }

    /// Runs until there is an answer to deliver.
    pub(crate) async fn run<S: ClientStream>(
        &mut self,
        inbound: &mut Inbound<S>,
    ) -> Result<(Conn, Reply), Stop> {
        loop {
            let lent = self.lend().await?;
            let slot = self.slot();
            let started = Instant::now();
            let (mut conn, reply, sent) = self.exchange(inbound, slot, &lent, started).await?;
            failpoint::hit("answered");
            let finding = self.judge(inbound, &mut conn, &reply).await?;
            inbound.note.judged(finding);
            let judged = Instant::now();
            self.timing.portal += judged - started;
            self.judged = Some(judged);
            if finding == Finding::Ordinary {
                self.succeeded(&reply, slot, &lent);
                return Ok((conn, reply));
            }
            let whose = finding == Finding::Expired && slot == Slot::BearerUntried;
            if whose && lent.token().is_some() && self.hide_credentials(inbound).await? {
                // Perhaps the client's own was refused, which the portal reads where it does not
                // read the header: nothing is learnt or renewed before that is ruled out.
                conn.retire(&reply, sent);
                self.make_replayable(inbound).await?;
                inbound.tally.replayed(Replay::ClientCredential);
                continue;
            }
            match Box::pin(self.decide(finding, &reply, slot, lent)).await {
                // Every finding but the ordinary one proves that the call has not run.
                Step::Deliver => {
                    inbound.under_way.rejected();
                    return Ok((conn, reply));
                }
                Step::Refuse(refusal) => {
                    conn.retire(&reply, sent);
                    return Err(Stop::Refuse(refusal));
                }
                Step::Again(reason) => {
                    conn.retire(&reply, sent);
                    self.make_replayable(inbound).await?;
                    self.replayed = Some(reason);
                    inbound.tally.replayed(reason);
                }
            }
        }
    }

    /// What opens the portal for this call.
    async fn lend(&mut self) -> Result<Lent, Stop> {
        if self.call.head.carries == Carries::SignedLink {
            return Ok(Lent::Nothing);
        }
        let credential = match &self.call.portal.holder {
            Holder::Application(credential) => credential,
            Holder::IncomingWebhook(webhook) => return Ok(Lent::Webhook(webhook.clone())),
        };
        let current = credential.current().clone();
        let Some(token) = current else {
            return Err(self.unavailable(credential.why_unavailable()).into());
        };
        if !token.is_past_expiry() {
            return Ok(Lent::Token(token));
        }
        self.renew(&token).await.map(Lent::Token).map_err(Stop::Refuse)
    }

    pub(crate) async fn renew(&mut self, token: &Token) -> Result<Arc<Token>, Refusal> {
        let started = Instant::now();
        let Holder::Application(credential) = &self.call.portal.holder else {
            return Err(self.unavailable(Unavailable::NotConnected(State::NotConnected)));
        };
        let renewed = credential.renew(token.generation).await;
        self.timing.refresh += started.elapsed();
        renewed.map_err(|unavailable| self.unavailable(unavailable))
    }

    fn unavailable(&self, unavailable: Unavailable) -> Refusal {
        self.gateway.unavailable(&self.call.portal, unavailable)
    }

    fn slot(&self) -> Slot {
        match self.call.portal.slot() {
            Slot::BearerUntried if self.parameter_tried => Slot::Parameter,
            slot => slot,
        }
    }

    /// One request and the head of its answer. A pooled connection that turns out to be closed
    /// before anything was sent is replaced once.
    async fn exchange<S: ClientStream>(
        &mut self,
        inbound: &mut Inbound<S>,
        slot: Slot,
        lent: &Lent,
        now: Instant,
    ) -> Result<(Conn, Reply, Sent), Stop> {
        if lent.may_be_overridden(slot) {
            self.hide_credentials(inbound).await?;
        }
        let mut conn = Conn::checkout(&self.call.site).await?;
        self.call.portal.budget.sent(now);
        loop {
            match self.attempt(inbound, &mut conn, slot, lent).await {
                Ok((reply, sent)) => return Ok((conn, reply, sent)),
                Err(Failure::Untouched) if conn.reused => {
                    conn = Conn::open(&self.call.site).await?;
                }
                Err(failure) => return Err(self.failed(failure)),
            }
        }
    }

    /// Takes a client's own credential out of the body; true if there was one.
    async fn hide_credentials<S: ClientStream>(
        &mut self,
        inbound: &mut Inbound<S>,
    ) -> Result<bool, Stop> {
        // Boxed: this future is part of every request, and few get here.
        Box::pin(self.body.hide_credentials(inbound, self.call.content_type.as_deref())).await
    }

    async fn attempt<S: ClientStream>(
        &mut self,
        inbound: &mut Inbound<S>,
        conn: &mut Conn,
        slot: Slot,
        lent: &Lent,
    ) -> Result<(Reply, Sent), Failure> {
        inbound.under_way.leaves();
        inbound.note.sent();
        let to_head = self.call.manner.head_only;
        let head = lent.head(&mut self.call.head, slot);
        let limit = self.settings.portal_timeout;
        let Body::Upload(upload) = &mut *self.body else {
            let [first, second] = self.body.slices(inbound.bytes());
            let mut slices = [IoSlice::new(head), IoSlice::new(first), IoSlice::new(second)];
            let exchange = async {
                let sent = conn.send(&mut slices).await.map_err(|_error| broke(conn))?;
                Ok((read_reply(conn, to_head, sent).await?, sent))
            };
            return inbound.deadline.limit(limit, exchange).await.unwrap_or(Err(Failure::Silent));
        };
        let head = head.to_vec();
        let clock = inbound.deadline.sibling();
        let pace = Pace { deadline: &clock, portal: limit };
        let sending = async {
            match conn.send(&mut [IoSlice::new(&head)]).await {
                Ok(Sent::All) => Ok(upload.send(inbound, conn, pace).await),
                Ok(Sent::Answered) => Ok(Sending::Done(Sent::Answered)),
                Err(_) => Err(broke(conn)),
            }
        };
        let sent = match sending.await? {
            Sending::Done(sent) => sent,
            Sending::Broke => return Err(broke(conn)),
            Sending::Stalled => return Err(Failure::Silent),
            Sending::Stop(stop) => return Err(Failure::Stop(stop)),
        };
        let reply = clock.limit(limit, read_reply(conn, to_head, sent)).await;
        Ok((reply.unwrap_or(Err(Failure::Silent))?, sent))
    }

    pub(crate) fn failed(&self, failure: Failure) -> Stop {
        let portal = &self.call.portal.name;
        Stop::Refuse(match failure {
            Failure::Stop(stop) => return stop,
            Failure::Untouched => {
                tracing::warn!(%portal, "the portal closed a new connection at once");
                Refusal::new(Kind::PortalUnreachable, "the portal closes connections at once")
            }
            Failure::Broken(reason) => {
                tracing::warn!(%portal, reason, "no answer; the call may have run");
                broken_off()
            }
            Failure::Silent => {
                tracing::warn!(%portal, "the portal is silent; the call may have run");
                Refusal::new(
                    Kind::PortalTimeout,
                    "the portal did not answer in time; whether the call has run is not known",
                )
            }
        })
    }

    /// Before a call is sent again, all of its body must be at hand.
    async fn make_replayable<S: ClientStream>(
        &mut self,
        inbound: &mut Inbound<S>,
    ) -> Result<(), Stop> {
        let Body::Upload(upload) = &mut *self.body else {
            return Ok(());
        };
        upload.record_rest(inbound).await?;
        if upload.is_replayable() {
            return Ok(());
        }
        let refusal = Refusal::new(
            Kind::RefreshUnavailable,
            "the token was renewed, but the body could not be recorded for a replay: send it again",
        );
        Err(Stop::Refuse(refusal.retry_after(1)))
    }
}

/// Reads up to and including the head of the final answer.
async fn read_reply(conn: &mut Conn, to_head: bool, sent: Sent) -> Result<Reply, Failure> {
    loop {
        match reply::parse(conn.arrived(), to_head) {
            Ok(Parsed::Final(length, mut reply)) => {
                conn.consume(length);
                // What is left of the request must not become the start of the next one.
                reply.keeps_open &= sent == Sent::All;
                return Ok(reply);
            }
            Ok(Parsed::Interim(length)) => {
                conn.consume(length);
                continue;
            }
            Ok(Parsed::Partial) => {}
            Err(NotHttp(reason)) => return Err(Failure::Broken(reason)),
        }
        if conn.is_full() {
            return Err(Failure::Broken("the answer's head is larger than 64 KiB"));
        }
        match conn.read().await {
            Ok(1..) => {}
            Ok(0) | Err(_) => return Err(broke(conn)),
        }
    }
}

/// The call was sent, and what came back is no answer.
pub(crate) fn broken_off() -> Refusal {
    Refusal::new(
        Kind::PortalBroken,
        "the portal broke off without a valid answer; whether the call has run is not known, so \
         check before you repeat a write",
    )
}

fn broke(conn: &Conn) -> Failure {
    if conn.touched {
        Failure::Broken("the connection broke after the request was sent")
    } else {
        Failure::Untouched
    }
}

impl From<Elapsed> for Failure {
    fn from(_elapsed: Elapsed) -> Self {
        Self::Silent
    }
}
