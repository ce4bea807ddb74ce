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
mod exchange;
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
mod respond;
mod route;
mod secure;
mod twin;
mod upload;
mod upstream;
mod verdict;
mod wall;
mod wire;
pub mod worker;

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::audit::Audit;
use crate::ca::{CaError, Certificates};
use crate::client::Clients;
use crate::config;
use crate::gateway::admit::{Arrival, Call, Turned};
use crate::gateway::counts::About;
use crate::gateway::guard::{Guarded, Panicked, Reached, UnderWay};
use crate::gateway::inbound::{Inbound, Stop};
use crate::gateway::listener::Bound;
use crate::gateway::respond::{apologise, respond, turn_away};
use crate::gateway::secure::Secure;
use crate::gateway::twin::Twins;
use crate::gateway::wall::Doors;
use crate::gateway::wire::ClientStream;
use crate::metrics::Traffic;
use crate::portal::Portals;

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
                    respond(inbound, &turned.refusal, turned.manner, About::Nobody).await
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
        // In one statement: a name for the outcome would hold the room of a second call for as long
        // as this one takes, on every connection.
        let mut call = match self.let_in(inbound, length, &settings) {
            Ok(call) => call,
            Err(turned) => return turn_away(inbound, *turned).await,
        };
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
                respond(inbound, &refusal, call.manner, About::call(&call)).await
            }
        }
    }

    /// Takes the head off the inbox and lets its request in, or turns it away.
    fn let_in<S: ClientStream>(
        &self,
        inbound: &mut Inbound<S>,
        length: usize,
        settings: &config::Gateway,
    ) -> Result<Call, Box<Turned>> {
        let now = Instant::now();
        inbound.under_way.reached = Reached::Gateway;
        inbound.under_way.begun = Some(now);
        let peer = inbound.peer(&settings.allow_uids);
        let Inbound { inbox, note, .. } = &mut *inbound;
        note.begin(now);
        let head = inbox.as_ref().and_then(|inbox| inbox.filled().get(..length));
        let arrival = Arrival { settings, local_socket: S::LOCAL_SOCKET, peer, note };
        let admitted = self.admit(head.unwrap_or_default(), arrival);
        inbound.consume(length);
        admitted
    }
}

/// Memory for the gathered bodies of all requests together: 256 MiB.
const ROOM_KIB: usize = 256 * 1024;
