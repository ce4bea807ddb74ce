//! The way of an admitted call: body, budget, token, portal, answer.

use std::time::Duration;

use tokio::time::Instant;

use crate::config;
use crate::failpoint;
use crate::gateway::admit::Call;
use crate::gateway::answer::Timing;
use crate::gateway::body::{Body, Bounds};
use crate::gateway::caller::Ask;
use crate::gateway::forward::Forward;
use crate::gateway::guard::Reached;
use crate::gateway::head::Framing;
use crate::gateway::inbound::{Inbound, Stop};
use crate::gateway::relay::{Delivered, Pace, Relay};
use crate::gateway::reply::{Encoding, Reply};
use crate::gateway::upstream::Conn;
use crate::gateway::wire::ClientStream;
use crate::gateway::{Gateway, Then, answer, cors, forward, mask, refusals, verdict};
use crate::metrics::Replay;
use crate::portal::{Holder, Portal};
use crate::secret::Secret;

/// A portal's answer, as far as it has been read.
struct Answered {
    conn: Conn,
    reply: Reply,
    /// How the client is told about the end of its body.
    to: Framing,
    /// How much of its head is the portal's own.
    fields: usize,
}

impl Gateway {
    /// The way of an admitted call: body, budget, token, portal, answer.
    pub(super) async fn answer<S: ClientStream>(
        &self,
        inbound: &mut Inbound<S>,
        call: &mut Call,
        settings: &config::Gateway,
    ) -> Result<Then, Stop> {
        let keeps_open = !call.manner.close;
        // Until the body is known to be read, an answer of our own must end the connection.
        call.manner.close |= call.framing != Framing::None;
        if call.settled().is_some()
            && let Some(closed) = call.portal.standing.closed()
        {
            return Err(Stop::Refuse(self.closed(&call.portal, closed)));
        }
        let bounds = self.bounds(settings);
        let mut body = if call.head.is_form() {
            Body::None
        } else {
            Body::gather(inbound, call.framing, &bounds, call.expects_continue).await?
        };
        if call.ask != Ask::Nothing {
            // Boxed: this future is part of every request, and few get here.
            Box::pin(self.ask(inbound, call, &mut body, settings)).await?;
        }
        if let Some(form) = call.head.take_form() {
            body = Body::of(form);
        }
        let portal = call.portal.clone();
        call.manner.close = !keeps_open || matches!(body, Body::Upload(_));
        call.head.delimit(body.framing());
        if matches!(body, Body::Memory { .. }) {
            inbound.under_way.gathered = Some(Instant::now());
        }
        if let Some(mark) = &call.mark {
            // Boxed: this future is part of every request.
            let joining = self.join(inbound, (call, mark), &body, settings.portal_timeout);
            if let Some(then) = Box::pin(joining).await? {
                return Ok(then);
            }
        }
        let _place = portal.budget.place().await;
        portal.count_request();
        let mut forward = Forward::new(self, call, &mut body, settings);
        failpoint::hit("forward");
        let outcome = forward.run(inbound).await;
        let (timing, replayed, judged) = (forward.timing, forward.replayed, forward.judged);
        inbound.note.replayed = replayed;
        inbound.tally.waited(timing.queue);
        if !matches!(outcome, Err(Stop::Gone)) {
            inbound.consume(body.in_inbox());
        }
        let exchanged = outcome?;
        let unread = matches!(&body, Body::Upload(upload) if !upload.is_read());
        call.manner.close = !keeps_open || unread;
        inbound.count_overhead(judged, &timing);
        let origin = inbound.under_way.origin.as_deref();
        let mut answered = Answered::new(exchanged, call, origin, (&timing, replayed));
        let delivered = deliver(inbound, call, &mut answered, settings.portal_timeout).await?;
        Ok(settle(inbound, call, answered, delivered, unread))
    }

    fn bounds(&self, settings: &config::Gateway) -> Bounds<'_> {
        Bounds {
            most: settings.max_body,
            in_memory: settings.replay_memory,
            room: &self.room,
            spool: &self.spool,
        }
    }
}

impl Answered {
    /// Completes the head for the client.
    fn new(
        (conn, mut reply): (Conn, Reply),
        call: &mut Call,
        origin: Option<&str>,
        (timing, replayed): (&Timing, Option<Replay>),
    ) -> Self {
        let to = reply.framing_for(&mut call.manner);
        let fields = reply.head.len();
        cors::open_to(&mut reply.head, origin);
        answer::finish(&mut reply.head, call.manner, to.stated, timing, replayed);
        Self { conn, reply, to: to.body, fields }
    }
}

/// Sends the portal's answer on. It is lent, because as an argument it would lie in this future
/// twice.
async fn deliver<S: ClientStream>(
    inbound: &mut Inbound<S>,
    call: &Call,
    answered: &mut Answered,
    silence_max: Duration,
) -> Result<Delivered, Stop> {
    let Answered { conn, reply, to, .. } = answered;
    let hidden = hide(&call.portal, conn, reply)?;
    inbound.under_way.reached = Reached::Client;
    let pace = Pace { deadline: &inbound.deadline, portal: silence_max };
    let client = &mut inbound.stream;
    let lead = inbound.under_way.twin.as_deref_mut();
    let relay = Relay { client, conn, head: &reply.head, to: *to, pace, hidden, lead };
    match relay.deliver(reply.framing).await {
        Delivered::Nothing => Err(Stop::Refuse(forward::broken_off())),
        delivered => Ok(delivered),
    }
}

/// Settles what becomes of both connections.
fn settle<S: ClientStream>(
    inbound: &mut Inbound<S>,
    call: &Call,
    answered: Answered,
    delivered: Delivered,
    unread: bool,
) -> Then {
    let Answered { conn, reply, fields, .. } = answered;
    if let Some(lead) = inbound.under_way.twin.take() {
        lead.answered(&reply, fields, call.manner);
    }
    call.count_answer(reply.status);
    let parks = delivered == Delivered::Whole && reply.keeps_open && !unread;
    let ended = if parks { conn.park(reply.idle_max) } else { Instant::now() };
    inbound.count_duration(ended);
    inbound.note.answered(reply.status, ended);
    match delivered {
        Delivered::Whole => {}
        Delivered::Cut | Delivered::Nothing => {
            tracing::warn!(portal = %call.portal.name, "the portal cut its answer off");
            inbound.stream.reset_on_close();
            return Then::Close;
        }
        Delivered::ClientGone => {
            // It may only have stopped reading; what it gets of the rest must not look whole.
            inbound.stream.reset_on_close();
            return Then::Close;
        }
    }
    match (call.manner.close, unread) {
        (false, _) => Then::Next,
        (true, false) => Then::Close,
        (true, true) => Then::CloseGently,
    }
}

/// Finds what must not be seen in an answer that may repeat the path it was asked for: the webhook.
/// What hides the path from us would show it to the client.
fn hide<'p>(
    portal: &'p Portal,
    conn: &Conn,
    reply: &mut Reply,
) -> Result<Option<&'p Secret>, Stop> {
    let Holder::IncomingWebhook(webhook) = &portal.holder else {
        return Ok(None);
    };
    mask::overwrite(&mut reply.head, &webhook.secret);
    if !verdict::may_echo(reply, conn.arrived()) {
        return Ok(None);
    }
    if reply.encoding != Encoding::Plain && reply.framing != Framing::None {
        return Err(Stop::Refuse(refusals::unreadable()));
    }
    Ok(Some(&webhook.secret))
}
