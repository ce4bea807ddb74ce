//! The life of a connection: one request after the other, each read to its end, treated according
//! to its plan, filed, and answered.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

use super::answer::Answer;
use super::authorize;
use super::deliver::{Next, deliver};
use super::endpoint;
use super::faults::Fault;
use super::journal::Entry;
use super::modes::OauthMode;
use super::oauth;
use super::pages;
use super::plan::{self, Delivery, Plan};
use super::portal::{self, Route};
use super::state::{Place, State};
use super::wire::{Body, Framing, Head, Refusal, Request, Wire};

/// Where a connection comes from and goes to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Visit {
    pub(super) place: Place,
    pub(super) peer: IpAddr,
    /// The number of the connection.
    pub(super) number: u64,
}

/// What a path belongs to.
#[derive(Debug)]
enum Area {
    Control,
    Token,
    Authorize,
    Library,
    OauthRest(String),
    Rest(Route),
    Elsewhere,
}

/// Serves a connection until one side has had enough.
pub(super) async fn serve(state: Arc<State>, stream: TcpStream, visit: Visit) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "no_nodelay");
    }
    let mut wire = Wire::new(stream);
    let mut reused = false;
    let next = loop {
        match Box::pin(exchange(&state, &mut wire, visit, reused)).await {
            Next::Keep => reused = true,
            end => break end,
        }
    };
    match next {
        Next::Reset => wire.reset(),
        Next::Keep | Next::Close => wire.close(LINGER).await,
        Next::Drop => drop(wire),
    }
}

/// One request and its answer.
async fn exchange(state: &State, wire: &mut Wire, visit: Visit, reused: bool) -> Next {
    // A server's keep-alive limit runs between requests; a new connection's first one may be late.
    let limit = if reused { state.lock().faults.idle_ms() } else { None };
    let idle = limit.map_or(IDLE, Duration::from_millis);
    let head = match wire.read_head(idle).await {
        Ok(head) => head,
        Err(refusal) => return refuse(wire, refusal).await,
    };
    let framing = match head.framing() {
        Ok(framing) => framing,
        Err(refusal) => return refuse(wire, refusal).await,
    };
    let area = Area::of(state, &head, visit.place);
    if area.is_down(state, visit.place) {
        return Next::Reset;
    }
    let (plan, fault) = match &area {
        Area::Rest(route) => (plan::for_rest(state, &head, route, reused), None),
        Area::Token | Area::OauthRest(_) => plan::for_oauth(state, &head, reused),
        Area::Control | Area::Authorize | Area::Library | Area::Elsewhere => {
            (Plan::default(), None)
        }
    };
    let body = match receive(wire, &head, framing, &plan).await {
        Ok(body) => body,
        Err(refusal) => return refuse(wire, refusal).await,
    };
    let request = Request { head, body };
    if let Area::Control = area {
        let answer = Box::pin(endpoint::respond(state, &request)).await;
        return send(wire, &request.head, &answer, Delivery::Plain, false).await;
    }
    let visited = Visited { state, visit, area, request };
    if !visited.request.body.complete {
        state.file(visited.entry(&plan));
        return Next::Close;
    }
    let answer = visited.answer(&plan, fault.as_ref());
    let delay = answer.delay + plan.delay;
    if !delay.is_zero() && !wire.wait(delay).await {
        return Next::Close;
    }
    send(wire, &visited.request.head, &answer, plan.delivery, plan.ignore_body).await
}

/// A request that has been read.
struct Visited<'a> {
    state: &'a State,
    visit: Visit,
    area: Area,
    request: Request,
}

impl Visited<'_> {
    /// What is written down about it.
    fn entry(&self, plan: &Plan) -> Entry {
        let mut entry = Entry::of(&self.request);
        entry.listener = self.visit.place.name();
        entry.connection = self.visit.number;
        entry.fault.clone_from(&plan.fault);
        if let Area::Rest(route) = &self.area {
            entry.rest_method = Some(route.method.clone());
        }
        entry
    }

    /// Works out the answer, with all that it changes, and files the request before the answer is
    /// sent: who has seen the answer finds it in the log.
    fn answer(&self, plan: &Plan, fault: Option<&Fault<OauthMode>>) -> Answer {
        let (state, request) = (self.state, &self.request);
        let truth = plan.execute.then(|| match &self.area {
            Area::Rest(_) if !state.admits(self.visit.peer) => plan::query_limit(),
            Area::Rest(route) => portal::respond(state, request, route, self.visit.place),
            Area::Token => oauth::token(state, request, fault),
            Area::OauthRest(method) => oauth::rest(state, request, method),
            Area::Authorize => authorize::respond(state, request),
            Area::Library => pages::library(),
            Area::Control | Area::Elsewhere => Answer::html(404),
        });
        let executed = truth.as_ref().is_some_and(|answer| answer.executed);
        count(state, &self.area, executed);
        if let Some(instead) = &plan.instead {
            plan::remember(state, request, instead);
        }
        let mut answer = plan.instead.clone().or(truth).unwrap_or_else(|| Answer::new(200));
        for (name, value) in &plan.headers {
            answer.set_header(name, value);
        }
        let mut entry = self.entry(plan);
        entry.executed = executed;
        entry.code.clone_from(&answer.code);
        let mute = matches!(plan.delivery, Delivery::Reset | Delivery::Close | Delivery::Hang(_));
        entry.status = if mute { 0 } else { answer.status };
        state.file(entry);
        answer
    }
}

async fn send(
    wire: &mut Wire,
    head: &Head,
    answer: &Answer,
    delivery: Delivery,
    close: bool,
) -> Next {
    deliver(wire, head, answer, delivery, close).await.unwrap_or(Next::Close)
}

/// Reads the body, after the interim answer for those who wait for it (RFC 9110 section 10.1.1).
async fn receive(
    wire: &mut Wire,
    head: &Head,
    framing: Framing,
    plan: &Plan,
) -> Result<Body, Refusal> {
    if plan.ignore_body || framing == Framing::None {
        return wire.read_body(Framing::None).await;
    }
    if head.lists("expect", "100-continue") {
        let interim = wire.write(b"HTTP/1.1 100 Continue\r\n\r\n").await;
        interim.map_err(|_gone| Refusal::Gone)?;
    }
    wire.read_body(framing).await
}

async fn refuse(wire: &mut Wire, refusal: Refusal) -> Next {
    let Refusal::Bad(status) = refusal else {
        return Next::Drop;
    };
    let reason = super::answer::reason(status);
    let text =
        format!("HTTP/1.1 {status} {reason}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    if let Err(error) = wire.write(text.as_bytes()).await {
        tracing::debug!(%error, "refusal_lost");
    }
    Next::Close
}

fn count(state: &State, area: &Area, executed: bool) {
    if let Area::Rest(_) = area {
        let counters = &mut state.lock().counters;
        counters.requests += 1;
        counters.refused += u64::from(!executed);
    }
}

impl Area {
    fn of(state: &State, head: &Head, place: Place) -> Self {
        let path = head.path();
        let is = |prefix: &str| {
            path == prefix.as_bytes()
                || path.strip_prefix(prefix.as_bytes()).is_some_and(|rest| rest.starts_with(b"/"))
        };
        if is("/sandbox") {
            return Self::Control;
        }
        if is("/oauth/token") {
            return Self::Token;
        }
        if is("/oauth/authorize") {
            return Self::Authorize;
        }
        if is("/api/v1") {
            return Self::Library;
        }
        let own_oauth = place == Place::Oauth && state.addresses.oauth.is_some();
        match Route::of(path) {
            Some(route) if own_oauth => Self::OauthRest(route.method),
            Some(route) => Self::Rest(route),
            None => Self::Elsewhere,
        }
    }

    /// Whether nobody should be there to read the request.
    fn is_down(&self, state: &State, place: Place) -> bool {
        match self {
            Self::Rest(_) => state.should_close(place),
            Self::Token | Self::Authorize | Self::OauthRest(_) => state.should_close(Place::Oauth),
            Self::Control | Self::Library | Self::Elsewhere => false,
        }
    }
}

/// nginx closes an idle connection after 75 s.
const IDLE: Duration = Duration::from_secs(75);
/// How long the rest of a request is still read after the last answer, as nginx does it, so that
/// the answer is not lost to a reset.
const LINGER: Duration = Duration::from_secs(5);
