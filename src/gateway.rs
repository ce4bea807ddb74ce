//! The request path: a client's connection, and the life of each request on it.
//!
//! This file is the order of the steps; each step is a room of its own below. A step either hands
//! on what the next one needs or stops with a [`Refusal`]; refusals become answers in one place.

mod admit;
mod answer;
mod batch;
mod body;
mod buffer;
mod caller;
mod chunked;
mod cors;
mod counts;
mod deadline;
mod decide;
mod field;
mod form;
mod forward;
mod guard;
mod head;
mod inbound;
mod judge;
mod lent;
pub mod listener;
mod mask;
mod multipart;
mod outgoing;
mod parameter;
mod peer;
#[doc(hidden)]
pub mod pure;
mod query;
mod record;
mod refusals;
mod relay;
mod reply;
mod route;
mod secure;
mod twin;
mod upload;
mod upstream;
mod verdict;
mod wall;
mod wire;
pub mod worker;

use std::io::IoSlice;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::audit::Audit;
use crate::ca::{CaError, Certificates};
use crate::client::Clients;
use crate::config;
use crate::error::Refusal;
use crate::failpoint;
use crate::gateway::admit::{Arrival, Call, Turned};
use crate::gateway::answer::Manner;
use crate::gateway::body::{Body, Bounds};
use crate::gateway::caller::Ask;
use crate::gateway::forward::Forward;
use crate::gateway::guard::{Guarded, Panicked, Reached, UnderWay};
use crate::gateway::head::Framing;
use crate::gateway::inbound::{Inbound, Stop};
use crate::gateway::listener::Bound;
use crate::gateway::relay::{Delivered, Pace, Relay};
use crate::gateway::reply::{Encoding, Reply};
use crate::gateway::secure::Secure;
use crate::gateway::twin::Twins;
use crate::gateway::upstream::Conn;
use crate::gateway::wall::Doors;
use crate::gateway::wire::{ClientStream, write_all};
use crate::metrics::Traffic;
use crate::portal::{Holder, Portal, Portals};
use crate::secret::Secret;

/// What all connections share.
#[derive(Debug)]
pub struct Gateway {
    settings: ArcSwap<config::Gateway>,
    /// The portals that can be called.
    pub portals: Arc<Portals>,
    /// Where the operator connects portals, for the errors that send people there.
    admin_url: String,
    /// Where large bodies are recorded.
    spool: PathBuf,
    /// Memory for gathered bodies, in KiB.
    room: Arc<Semaphore>,
    /// What the workers count.
    traffic: Arc<Traffic>,
    /// Who may call.
    clients: Arc<Clients>,
    /// How TLS is spoken, where it is.
    secure: Option<Secure>,
    /// Where they connect.
    doors: Doors,
    /// Requests that a repetition can be told from.
    twins: Arc<Twins>,
    /// Who wants to know of every call.
    audit: Arc<Audit>,
}

/// A portal's answer, as far as it has been read.
struct Answered {
    conn: Conn,
    reply: Reply,
    /// How the client is told about the end of its body.
    to: Framing,
    /// Something of the request is still to be read.
    unread: bool,
    /// How much of its head is the portal's own.
    fields: usize,
}

/// Whether the connection to the client goes on.
#[derive(Debug, PartialEq, Eq)]
enum Then {
    Next,
    Close,
    /// Close, but read on for a moment: the client is still sending.
    CloseGently,
}

impl Gateway {
    /// A gateway to `portals`; large bodies are recorded in `spool`.
    pub fn new(
        settings: Arc<config::Gateway>,
        portals: Arc<Portals>,
        admin_url: String,
        spool: PathBuf,
    ) -> Self {
        Self {
            settings: ArcSwap::new(settings),
            portals,
            admin_url,
            spool,
            room: Arc::new(Semaphore::new(ROOM_KIB)),
            traffic: Arc::default(),
            clients: Arc::default(),
            secure: None,
            doors: Doors::default(),
            twins: Arc::default(),
            audit: Arc::default(),
        }
    }

    /// Counts where the numbers are shown.
    #[must_use]
    pub fn counting(self, traffic: Arc<Traffic>) -> Self {
        Self { traffic, ..self }
    }

    /// Asks these clients for their keys.
    #[must_use]
    pub fn known_to(self, clients: Arc<Clients>) -> Self {
        Self { clients, ..self }
    }

    /// Speaks TLS, too, and shows these.
    pub fn showing(self, certificates: Arc<Certificates>) -> Result<Self, CaError> {
        Ok(Self { secure: Some(Secure::new(certificates)?), ..self })
    }

    /// Notes calls there.
    #[must_use]
    pub fn noting(self, audit: Arc<Audit>) -> Self {
        Self { audit, ..self }
    }

    /// Takes these addresses for its own, with the ports that they got.
    #[must_use]
    pub fn reached_at(self, sockets: &[Bound]) -> Self {
        Self { doors: Doors::of(sockets), ..self }
    }

    /// Applies new settings to all requests from now on.
    pub fn reconfigure(&self, settings: Arc<config::Gateway>) {
        self.settings.store(settings);
    }

    /// Serves a client's connection to its end, even if that is a panic.
    async fn serve<S: ClientStream>(&self, inbound: &mut Inbound<S>) {
        let outcome = {
            // Pinned here: as an argument it would lie in this future twice.
            let requests = pin!(self.requests(inbound));
            Guarded(requests).await
        };
        let then = match outcome {
            Ok(then) => then,
            Err(Panicked) => apologise(inbound).await,
        };
        if then == Then::CloseGently {
            inbound.close_gently().await;
        }
    }

    /// Serves one request after another, until the connection is to be closed.
    async fn requests<S: ClientStream>(&self, inbound: &mut Inbound<S>) -> Then {
        loop {
            inbound.under_way = UnderWay::nothing();
            let then = match inbound.next_head().await {
                Ok(Some(length)) => self.request(inbound, length).await,
                Ok(None) => Then::Close,
                Err(refusal) => {
                    let turned = Turned::unread(refusal);
                    respond(inbound, &turned.refusal, turned.manner, None).await
                }
            };
            if then != Then::Next {
                return then;
            }
        }
    }

    /// Serves one request, whose head is the first `length` bytes of the inbox.
    async fn request<S: ClientStream>(&self, inbound: &mut Inbound<S>, length: usize) -> Then {
        let settings = self.settings.load_full();
        inbound.under_way.reached = Reached::Gateway;
        let now = Instant::now();
        inbound.under_way.begun = Some(now);
        let peer = inbound.peer(&settings.allow_uids);
        let Inbound { inbox, note, .. } = &mut *inbound;
        note.begin(now);
        let head = inbox.as_ref().and_then(|inbox| inbox.filled().get(..length));
        let arrival = Arrival { settings: &settings, local_socket: S::LOCAL_SOCKET, peer, note };
        let admitted = self.admit(head.unwrap_or_default(), arrival);
        inbound.consume(length);
        match admitted {
            Ok(mut call) => {
                call.manner.close |= inbound.deadline.clock().is_draining();
                inbound.under_way.manner = call.manner;
                inbound.under_way.request_id = call.request_id.take();
                inbound.under_way.origin = call.origin.take();
                match self.answer(inbound, &mut call, &settings).await {
                    Ok(then) => then,
                    Err(Stop::Gone) => {
                        if call.settled().is_some() {
                            call.count_left();
                        }
                        inbound.note.called_by(&call.caller);
                        inbound.note.left();
                        Then::Close
                    }
                    Err(Stop::Refuse(refusal)) => {
                        inbound.note.called_by(&call.caller);
                        let settled = call.settled().is_some().then_some(&call);
                        respond(inbound, &refusal, call.manner, settled).await
                    }
                }
            }
            Err(turned) => {
                inbound.under_way.request_id = turned.request_id;
                inbound.under_way.origin = turned.origin;
                if let Some(fields) = turned.preflight {
                    return permit(inbound, &fields, turned.manner).await;
                }
                respond(inbound, &turned.refusal, turned.manner, None).await
            }
        }
    }

    /// The way of an admitted call: body, budget, token, portal, answer.
    async fn answer<S: ClientStream>(
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
            inbound.note.reaches(&call.portal);
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
        let in_inbox = body.in_inbox();
        let (conn, mut reply) = match outcome {
            Ok(answered) => answered,
            Err(Stop::Refuse(refusal)) => {
                inbound.consume(in_inbox);
                return Err(Stop::Refuse(refusal));
            }
            Err(Stop::Gone) => return Err(Stop::Gone),
        };
        let unread = matches!(&body, Body::Upload(upload) if !upload.is_read());
        call.manner.close = !keeps_open || unread;
        inbound.consume(in_inbox);
        inbound.count_overhead(judged, &timing);
        let to = reply.framing_for(&mut call.manner);
        let fields = reply.head.len();
        cors::open_to(&mut reply.head, inbound.under_way.origin.as_deref());
        answer::finish(&mut reply.head, call.manner, to.stated, &timing, replayed);
        let answered = Answered { conn, reply, to: to.body, unread, fields };
        deliver(inbound, call, answered, settings.portal_timeout).await
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

/// Sends the portal's answer on, and settles what becomes of both connections.
async fn deliver<S: ClientStream>(
    inbound: &mut Inbound<S>,
    call: &Call,
    answered: Answered,
    silence_max: Duration,
) -> Result<Then, Stop> {
    let Answered { mut conn, mut reply, to, unread, fields } = answered;
    let portal = &call.portal;
    let hidden = hide(portal, &conn, &mut reply)?;
    inbound.under_way.reached = Reached::Client;
    let pace = Pace { deadline: &inbound.deadline, portal: silence_max };
    let client = &mut inbound.stream;
    let lead = inbound.under_way.twin.as_deref_mut();
    let relay = Relay { client, conn: &mut conn, head: &reply.head, to, pace, hidden, lead };
    let delivered = relay.deliver(reply.framing).await;
    if delivered == Delivered::Nothing {
        return Err(Stop::Refuse(forward::broken_off()));
    }
    if let Some(lead) = inbound.under_way.twin.take() {
        lead.answered(&reply, fields, call.manner);
    }
    call.count_answer(reply.status);
    let parks = delivered == Delivered::Whole && reply.keeps_open && !unread;
    let ended = if parks { conn.park(reply.idle_max) } else { Instant::now() };
    inbound.count_duration(ended);
    inbound.note.called_by(&call.caller);
    inbound.note.answered(reply.status, ended);
    match delivered {
        Delivered::Whole => {}
        Delivered::Cut | Delivered::Nothing => {
            tracing::warn!(portal = %portal.name, "the portal cut its answer off");
            inbound.stream.reset_on_close();
            return Ok(Then::Close);
        }
        Delivered::ClientGone => {
            // It may only have stopped reading; what it gets of the rest must not look whole.
            inbound.stream.reset_on_close();
            return Ok(Then::Close);
        }
    }
    Ok(match (call.manner.close, unread) {
        (false, _) => Then::Next,
        (true, false) => Then::Close,
        (true, true) => Then::CloseGently,
    })
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

/// Sends an answer of the gateway's own to a request, which was a call if it got so far.
async fn respond<S: ClientStream>(
    inbound: &mut Inbound<S>,
    refusal: &Refusal,
    manner: Manner,
    call: Option<&Call>,
) -> Then {
    inbound.count_refusal(refusal, call);
    inbound.note.refused(refusal);
    if let Some(lead) = inbound.under_way.twin.take() {
        lead.refused(refusal);
    }
    let id = answer::request_id(inbound.under_way.request_id.take().as_deref());
    inbound.under_way.reached = Reached::Client;
    tracing::debug!(code = refusal.kind.code(), request_id = id, "refused");
    let UnderWay { origin, replayed, .. } = &inbound.under_way;
    let bytes = answer::refuse(refusal, manner, &id, (origin.as_deref(), *replayed));
    say(inbound, &bytes, manner).await
}

/// Lets a page of an allowed origin send what its browser has asked about.
async fn permit<S: ClientStream>(inbound: &mut Inbound<S>, fields: &str, manner: Manner) -> Then {
    inbound.under_way.reached = Reached::Client;
    let bytes = answer::permit(fields, manner, inbound.under_way.origin.as_deref());
    say(inbound, &bytes, manner).await
}

async fn say<S: ClientStream>(inbound: &mut Inbound<S>, bytes: &[u8], manner: Manner) -> Then {
    let mut slices = [IoSlice::new(bytes)];
    let writing = write_all(&mut inbound.stream, &mut slices);
    match inbound.deadline.limit(RESPOND_MAX, writing).await {
        Ok(Ok(())) if manner.close => Then::CloseGently,
        Ok(Ok(())) => Then::Next,
        _ => Then::Close,
    }
}

/// What a client gets whose request ended in a panic: words, or where it is too late for them a
/// transfer that is plainly broken.
async fn apologise<S: ClientStream>(inbound: &mut Inbound<S>) -> Then {
    let UnderWay { manner, reached, .. } = inbound.under_way;
    let Some(refusal) = inbound.under_way.apology() else {
        tracing::error!("answer cut off by a panic");
        inbound.stream.reset_on_close();
        return Then::Close;
    };
    if reached == Reached::Nothing && inbound.bytes().is_empty() {
        return Then::Close; // nobody has asked for anything
    }
    let request_id = answer::request_id(inbound.under_way.request_id.take().as_deref());
    tracing::error!(request_id, executed = refusal.executed.as_str(), "call ended by a panic");
    inbound.under_way.request_id = Some(request_id.into_bytes());
    respond(inbound, &refusal, Manner { close: true, ..manner }, None).await
}

/// Memory for the gathered bodies of all requests together: 256 MiB.
const ROOM_KIB: usize = 256 * 1024;
const RESPOND_MAX: Duration = Duration::from_secs(10);
