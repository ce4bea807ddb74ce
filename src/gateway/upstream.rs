//! Connections to portals: made, pooled per worker, and used for one exchange at a time.
//!
//! The one question that matters when an exchange fails is whether a byte of the request may have
//! reached the portal. Only while the answer is no is the exchange tried on another connection.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::poll_fn;
use std::hash::{BuildHasherDefault, Hasher};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::time::Instant;

use crate::error::{Kind, Refusal};
use crate::gateway::buffer::{Buffer, poll_fill_slot};
use crate::gateway::reply::{self, Parsed, Reply};
use crate::gateway::wire::Slices;
use crate::portal::Site;
use crate::transport::{Stream, TransportError};

/// A connection to a portal, lent to one exchange.
#[derive(Debug)]
pub(crate) struct Conn {
    stream: Stream,
    site: u64,
    /// What the portal has sent and nobody has taken.
    pub(crate) inbox: Option<Buffer>,
    /// It served an exchange before, so the portal may be closing it.
    pub(crate) reused: bool,
    /// Whether a byte of the current request may have left.
    pub(crate) touched: bool,
    flow: Flow,
    /// How long it may lie idle.
    pub(crate) idle_max: Duration,
    idle_since: Option<Instant>,
}

/// What is known about the portal's side of the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Open,
    /// It ended in good order: with TLS that needs its `close_notify`.
    Ended,
    /// Reading failed, so what has arrived may not be all. This is kept, because a reset is told
    /// once, and the next read would take it for an end.
    Failed,
}

/// How writing ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sent {
    /// Everything is on its way.
    All,
    /// The portal answered before it had read everything.
    Answered,
}

impl Conn {
    /// A connection to `site`: a pooled one that is still alive, or a new one.
    pub(crate) async fn checkout(site: &Site) -> Result<Self, Refusal> {
        while let Some(mut conn) = take_idle(site.id) {
            if conn.is_alive() {
                conn.idle_since = None;
                return Ok(conn);
            }
        }
        Self::open(site).await
    }

    /// A new connection.
    pub(crate) async fn open(site: &Site) -> Result<Self, Refusal> {
        let stream = Box::pin(site.connector.connect(&site.endpoint, CONNECT_MAX))
            .await
            .map_err(|error| unreachable(site, &error))?;
        Ok(Self {
            stream,
            site: site.id,
            inbox: None,
            reused: false,
            touched: false,
            flow: Flow::Open,
            idle_max: IDLE_MAX,
            idle_since: None,
        })
    }

    /// Gives the connection back for the next exchange. One with unread bytes is closed instead:
    /// what a portal says unasked cannot be the answer to anything. Returns the time.
    pub(crate) fn park(mut self, idle_max: Option<Duration>) -> Instant {
        let now = Instant::now();
        self.idle_max = idle_max.unwrap_or(IDLE_MAX);
        if self.inbox.as_ref().is_some_and(|inbox| !inbox.is_empty()) {
            tracing::debug!("portal sent more than its answer; connection closed");
            return now;
        }
        self.inbox = None;
        self.reused = true;
        self.touched = false;
        self.idle_since = Some(now);
        IDLE.with_borrow_mut(|idle| {
            let stack = idle.entry(self.site).or_default();
            if stack.len() < IDLE_PER_SITE {
                stack.push(self);
            }
        });
        now
    }

    /// Gives the connection back after an answer that is not delivered, if all of it is here.
    pub(crate) fn retire(mut self, reply: &Reply, sent: Sent) {
        let Some(length) = reply.length_at_hand(self.arrived()) else {
            return;
        };
        self.consume(length);
        if sent == Sent::All && reply.keeps_open {
            self.park(reply.idle_max);
        }
    }

    /// Writes `slices`, unless the portal answers first.
    pub(crate) async fn send(&mut self, slices: &mut [IoSlice<'_>]) -> io::Result<Sent> {
        let mut left = Slices::new(slices);
        poll_fn(|cx| {
            while !left.is_empty() {
                match left.poll_write(cx, &mut self.stream) {
                    Poll::Ready(Ok(count)) => self.touched |= count > 0,
                    Poll::Ready(Err(error)) => {
                        // The portal may have answered and closed; its answer is worth more.
                        let answered =
                            self.poll_answer(cx).is_ready() && !self.arrived().is_empty();
                        return Poll::Ready(if answered { Ok(Sent::Answered) } else { Err(error) });
                    }
                    Poll::Pending => {
                        ready!(self.poll_answer(cx));
                        return Poll::Ready(if self.arrived().is_empty() {
                            Err(io::Error::from(io::ErrorKind::UnexpectedEof))
                        } else {
                            Ok(Sent::Answered)
                        });
                    }
                }
            }
            Pin::new(&mut self.stream).poll_flush(cx).map_ok(|()| Sent::All)
        })
        .await
    }

    /// Reads more of the answer; the end of the stream is `Ok(0)`.
    pub(crate) async fn read(&mut self) -> io::Result<usize> {
        poll_fn(|cx| self.poll_read(cx)).await
    }

    /// For use while a request is being sent: waits until the portal answers, or ends the
    /// connection, which the next read or write will show. Interim answers are skipped on the way.
    pub(crate) fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while !self.has_answer() {
            if !matches!(ready!(self.poll_read(cx)), Ok(1..)) {
                break;
            }
        }
        Poll::Ready(())
    }

    /// Whether more than (parts of) interim answers has arrived.
    fn has_answer(&mut self) -> bool {
        while !self.arrived().is_empty() {
            match reply::parse(self.arrived(), false) {
                Ok(Parsed::Interim(length)) => self.consume(length),
                Ok(Parsed::Partial) => {
                    return !self.arrived().iter().zip(INTERIM).all(|(came, known)| came == known);
                }
                Ok(Parsed::Final(..)) | Err(_) => return true,
            }
        }
        false
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.flow == Flow::Failed {
            return Poll::Ready(Err(io::Error::from(io::ErrorKind::ConnectionReset)));
        }
        let read = poll_fill_slot(cx, &mut self.stream, &mut self.inbox);
        match &read {
            Poll::Ready(Ok(0)) => self.flow = Flow::Ended,
            Poll::Ready(Err(_)) => self.flow = Flow::Failed,
            Poll::Ready(Ok(_)) | Poll::Pending => {}
        }
        read
    }

    /// Whether the portal ended the stream in good order.
    pub(crate) fn ended_cleanly(&self) -> bool {
        self.flow == Flow::Ended
    }

    /// What has arrived and was not consumed.
    pub(crate) fn arrived(&self) -> &[u8] {
        self.inbox.as_ref().map(Buffer::filled).unwrap_or_default()
    }

    /// Takes `count` bytes off what has arrived.
    pub(crate) fn consume(&mut self, count: usize) {
        if let Some(inbox) = &mut self.inbox {
            inbox.consume(count);
            if inbox.is_empty() {
                self.inbox = None;
            }
        }
    }

    /// Goes on reading in a large buffer.
    pub(crate) fn enlarge(&mut self) {
        let mut large = Buffer::lend_large();
        if let Some(small) = &self.inbox {
            large.take_over(small);
        }
        self.inbox = Some(large);
    }

    /// Whether nothing more fits into the inbox.
    pub(crate) fn is_full(&self) -> bool {
        self.inbox.as_ref().is_some_and(Buffer::is_full)
    }

    /// A connection that was closed, or on which the portal said something unasked, shows itself as
    /// readable. While it has been idle for a moment only, the runtime's knowledge is good enough:
    /// it has just heard from the kernel, together with the request that needs a connection.
    fn is_alive(&self) -> bool {
        let Some(since) = self.idle_since else {
            return true;
        };
        let idle = since.elapsed();
        if idle > self.idle_max {
            return false;
        }
        let tcp = match &self.stream {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(tls) => tls.get_ref().0,
        };
        let mut nobody = Context::from_waker(Waker::noop());
        if idle < KERNEL_ASKED_FROM && tcp.poll_read_ready(&mut nobody).is_pending() {
            return true;
        }
        let mut byte = [MaybeUninit::uninit()];
        socket2::SockRef::from(tcp)
            .peek(&mut byte)
            .is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }
}

/// Closes what has been idle for too long; called by the worker's ticker.
pub(crate) fn sweep() {
    let now = Instant::now();
    IDLE.with_borrow_mut(|idle| {
        for stack in idle.values_mut() {
            stack.retain(|conn| conn.idle_since.is_some_and(|since| now - since <= conn.idle_max));
        }
        idle.retain(|_, stack| !stack.is_empty());
    });
}

fn take_idle(site: u64) -> Option<Conn> {
    IDLE.with_borrow_mut(|idle| idle.get_mut(&site).and_then(Vec::pop))
}

/// Nothing was sent in any of these.
fn unreachable(site: &Site, error: &TransportError) -> Refusal {
    tracing::warn!(portal = %site.endpoint, reason = %chain(error), "no connection to the portal");
    if let Some(fault) = error.tls_fault() {
        return Refusal::new(Kind::PortalTls, format!("no TLS connection to the portal: {fault}"));
    }
    match error {
        TransportError::Tls(_) | TransportError::Roots { .. } => {
            Refusal::new(Kind::PortalTls, "no TLS connection to the portal")
        }
        TransportError::Name(_) => {
            Refusal::new(Kind::PortalUnreachable, "the portal's host name does not resolve")
        }
        TransportError::Private => Refusal::new(
            Kind::PortalUnreachable,
            "the portal's host name leads to this machine or to a private network",
        ),
        TransportError::Itself => Refusal::new(
            Kind::PortalUnreachable,
            "the portal's host name leads back to this gateway: an entry of the hosts file that is \
             meant for tools must not be seen by the gateway",
        ),
        TransportError::Connect(_) => {
            Refusal::new(Kind::PortalUnreachable, "the portal refuses connections")
        }
        TransportError::Timeout => {
            Refusal::new(Kind::PortalUnreachable, "the portal accepts no connection in time")
        }
    }
}

/// An error with its causes, for the log.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

thread_local! {
    static IDLE: RefCell<HashMap<u64, Vec<Conn>, BuildHasherDefault<SiteHasher>>> =
        RefCell::default();
}

/// Site numbers are the gateway's own and count up: they need no protection from collisions.
#[derive(Default)]
struct SiteHasher(u64);

impl Hasher for SiteHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, number: u64) {
        // Fibonacci hashing: the map looks at the highest bits.
        self.0 = (self.0 ^ number).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// How every interim answer starts.
const INTERIM: &[u8] = b"HTTP/1.1 1";
/// Covers name, TCP and TLS.
const CONNECT_MAX: Duration = Duration::from_secs(5);
/// Below nginx's 75 s, so that the portal seldom closes first.
const IDLE_MAX: Duration = Duration::from_secs(45);
/// Asking the kernel costs a system call.
const KERNEL_ASKED_FROM: Duration = Duration::from_millis(250);
/// A burst opens connections that its replays will need again, so many are kept.
const IDLE_PER_SITE: usize = 1024;
