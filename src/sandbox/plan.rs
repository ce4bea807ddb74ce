//! What a fault makes of a request: an answer in the place of the true one, a way of delivering it
//! that no honest server has, or both.

use std::collections::BTreeMap;
use std::time::Duration;

use super::answer::{Answer, ApiError, Disguise, Format};
use super::auth;
use super::faults::Fault;
use super::modes::{OauthMode, PortalMode, Shape};
use super::oauth;
use super::portal::{self, Route, Version};
use super::state::State;
use super::text;
use super::v3;
use super::wire::{Head, Request};

/// How a request is treated.
#[derive(Debug)]
pub(super) struct Plan {
    /// Whether the true answer is worked out, with all that it changes.
    pub(super) execute: bool,
    /// The answer in its place.
    pub(super) instead: Option<Answer>,
    /// How it is delivered.
    pub(super) delivery: Delivery,
    /// How much later.
    pub(super) delay: Duration,
    /// Headers on top.
    pub(super) headers: BTreeMap<String, String>,
    /// Whether the answer comes before the body is read.
    pub(super) ignore_body: bool,
    /// The name of the fault.
    pub(super) fault: Option<String>,
}

/// How an answer gets onto the wire.
#[derive(Debug)]
pub(super) enum Delivery {
    /// As it should.
    Plain,
    /// After an interim answer.
    Interim(&'static str),
    /// In another framing.
    Framed(Shape),
    /// Not to the end.
    Cut { after: u64, shape: Shape, reset: bool },
    /// Slowly.
    Drip(u64),
    /// Not at all: RST.
    Reset,
    /// Not at all: FIN.
    Close,
    /// Not at all, and the connection stays, for that long.
    Hang(Duration),
    /// These bytes in its place, then FIN.
    Raw(Vec<u8>),
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            execute: true,
            instead: None,
            delivery: Delivery::Plain,
            delay: Duration::ZERO,
            headers: BTreeMap::new(),
            ignore_body: false,
            fault: None,
        }
    }
}

/// The treatment of a REST call.
pub(super) fn for_rest(state: &State, head: &Head, route: &Route, reused: bool) -> Plan {
    let mut inner = state.lock();
    let Some(fault) = inner.faults.hit_portal(&route.method, reused) else {
        return Plan::default();
    };
    let disguise = inner.switches.auth_errors;
    drop(inner);
    let mut plan = Plan { fault: Some(fault.mode.name()), ..Plan::default() };
    plan.execute = fault.executed.unwrap_or_else(|| fault.mode.runs_the_call());
    plan.instead = rest_answer(state, head, route, &fault, disguise);
    match fault.mode {
        PortalMode::ResetBeforeAnswer => plan.delivery = Delivery::Reset,
        PortalMode::CloseBeforeAnswer => plan.delivery = Delivery::Close,
        PortalMode::CutBody { after, framing, reset } => {
            plan.delivery = Delivery::Cut { after: after as u64, shape: framing, reset };
        }
        PortalMode::Drip { bytes_per_second } => plan.delivery = Delivery::Drip(bytes_per_second),
        PortalMode::Hang { ms } => plan.delivery = hang(ms),
        PortalMode::Slow { ms } => plan.delay = Duration::from_millis(ms),
        PortalMode::Garbage => plan.delivery = Delivery::Raw(GARBAGE.to_vec()),
        PortalMode::Continue102 => {
            plan.delivery = Delivery::Interim("HTTP/1.1 102 Processing\r\n\r\n");
        }
        PortalMode::Continue103 => {
            plan.delivery = Delivery::Interim(
                "HTTP/1.1 103 Early Hints\r\nLink: </s.css>; rel=preload\r\n\r\n",
            );
        }
        PortalMode::IgnoreBody { .. } => plan.ignore_body = true,
        PortalMode::Raw { text, base64 } => {
            let coded = base64.and_then(|coded| text::from_base64(&coded));
            let bytes = coded.unwrap_or_else(|| text.unwrap_or_default().into_bytes());
            plan.delivery = Delivery::Raw(bytes);
        }
        PortalMode::Framing { shape } => plan.delivery = Delivery::Framed(shape),
        PortalMode::Headers { headers } => plan.headers = headers,
        PortalMode::AlwaysExpired
        | PortalMode::ExpiredOnce
        | PortalMode::Error { .. }
        | PortalMode::QueryLimit
        | PortalMode::OperatingLimit
        | PortalMode::ConnectionError
        | PortalMode::Html { .. }
        | PortalMode::Redirect { .. }
        | PortalMode::DropBearer
        | PortalMode::IdleClose { .. }
        | PortalMode::Down { .. } => {}
    }
    plan
}

/// The treatment of a request to the OAuth server.
pub(super) fn for_oauth(
    state: &State,
    head: &Head,
    reused: bool,
) -> (Plan, Option<Fault<OauthMode>>) {
    let fault = state.lock().faults.hit_oauth(reused, head.method == "POST");
    let Some(fault) = fault else {
        return (Plan::default(), None);
    };
    let mut plan = Plan { fault: Some(fault.mode.name()), ..Plan::default() };
    let mut commit = false;
    match &fault.mode {
        OauthMode::Status { status, body, content_type, headers } => {
            let content_type = content_type.as_deref().unwrap_or("application/json");
            plan.instead = Some(Answer::with_body(*status, content_type, body.as_str()));
            plan.headers.clone_from(headers);
        }
        OauthMode::Html => {
            let page = "<!DOCTYPE html><html><body>Sign in</body></html>";
            plan.instead = Some(Answer::with_body(200, "text/html; charset=utf-8", page));
        }
        OauthMode::EmptyJson => {
            plan.instead = Some(Answer::with_body(200, "application/json", "{}"));
        }
        OauthMode::Truncated => {
            let begun = "{\"access_token\":\"0123456789abcdef\",\"expires\":17";
            plan.instead = Some(Answer::with_body(200, "application/json", begun));
        }
        OauthMode::InvalidGrant => plan.instead = Some(refusal("invalid_grant")),
        OauthMode::ExpiredToken => plan.instead = Some(refusal("expired_token")),
        OauthMode::PaymentRequired => plan.instead = Some(refusal("PAYMENT_REQUIRED")),
        OauthMode::NotInstalled => plan.instead = Some(refusal("NOT_INSTALLED")),
        OauthMode::InvalidClient => plan.instead = Some(refusal("invalid_client")),
        OauthMode::WrongClient => plan.instead = Some(refusal("wrong_client")),
        OauthMode::PostRefused => plan.instead = Some(oauth::post_refused()),
        OauthMode::Slow { ms } => {
            plan.delay = Duration::from_millis(*ms);
            commit = true;
        }
        OauthMode::Hang { ms } => plan.delivery = hang(*ms),
        OauthMode::ResetAfterCommit => {
            plan.delivery = Delivery::Reset;
            commit = true;
        }
        OauthMode::NoRefreshToken
        | OauthMode::OtherMember
        | OauthMode::SameRefreshToken
        | OauthMode::Down { .. } => commit = true,
    }
    plan.execute = fault.executed.unwrap_or(commit);
    (plan, Some(fault))
}

/// Lets the portal remember a refusal of the token, if it is of the kind that remembers.
pub(super) fn remember(state: &State, request: &Request, answer: &Answer) {
    let mut inner = state.lock();
    if inner.switches.negative_cache
        && answer.status == 401
        && let Some(token) = auth::presented(request)
    {
        let error = ApiError::new(401, &answer.code, "Remembered");
        inner.records.remembered.insert(token, error);
    }
}

/// The answer that a fault puts in the place of the true one. Faults of the auth layer come after
/// the question whether the method exists, as in the true order.
fn rest_answer(
    state: &State,
    head: &Head,
    route: &Route,
    fault: &Fault<PortalMode>,
    disguise: Disguise,
) -> Option<Answer> {
    let v3 = route.version == Version::V3;
    let refused = |error: ApiError, shape: Disguise| {
        if !route.exists() {
            return portal::not_found().answer(route.format(), Disguise::Plain);
        }
        if v3 && error.status == 401 {
            return v3::access_denied(401);
        }
        error.answer(route.format(), shape)
    };
    let answer = match &fault.mode {
        PortalMode::AlwaysExpired | PortalMode::ExpiredOnce => {
            refused(ApiError::new(401, "expired_token", auth::EXPIRED), disguise)
        }
        PortalMode::ConnectionError => {
            let text = "Error connecting to authorization server";
            refused(ApiError::new(401, "CONNECTION_ERROR", text), disguise)
        }
        PortalMode::OperatingLimit if v3 => v3::error(429, "RATELIMITEXCEPTION", "Too long"),
        PortalMode::OperatingLimit => refused(portal::operating_limit(), Disguise::Plain),
        PortalMode::QueryLimit => query_limit(),
        PortalMode::Error { status, code, description, .. } if v3 => {
            let code = code.trim_start_matches("BITRIX_REST_V3_EXCEPTION_");
            v3::error(*status, code, description.as_deref().unwrap_or_default())
        }
        PortalMode::Error { status, code, description, format } => {
            let (code, description) = (code.clone(), description.clone());
            ApiError { status: *status, code, description }.answer(route.format(), *format)
        }
        PortalMode::Html { status } | PortalMode::IgnoreBody { status: Some(status) } => {
            return Some(Answer::html(*status));
        }
        PortalMode::Redirect { location, status } => {
            let target = String::from_utf8_lossy(&head.target);
            let renamed = || format!("{}{target}", state.renamed_url());
            let mut answer = Answer::html(*status);
            answer.set_header("Location", &location.clone().unwrap_or_else(renamed));
            return Some(answer);
        }
        _ => return None,
    };
    let mut answer = answer;
    answer.dress(&state.identity.client_id, false);
    Some(answer)
}

/// 503 of the front end (Bitrix24 REST docs, limits).
pub(super) fn query_limit() -> Answer {
    let error = ApiError::new(503, "QUERY_LIMIT_EXCEEDED", "Too many requests");
    error.answer(Format::Json, Disguise::Plain)
}

fn refusal(code: &str) -> Answer {
    oauth::refused(code).answer(Format::Json, Disguise::Plain)
}

fn hang(ms: Option<u64>) -> Delivery {
    Delivery::Hang(ms.map_or(FOREVER, Duration::from_millis))
}

const FOREVER: Duration = Duration::from_hours(24);
const GARBAGE: &[u8] = b"\x16\x03\x01\x02\x00\x01 this is not HTTP\r\n\r\n";
