//! The OAuth server: `/oauth/token/` and its own `app.info`.

use super::answer::{Answer, ApiError, Disguise, Format};
use super::auth;
use super::faults::Fault;
use super::modes::OauthMode;
use super::params;
use super::state::{Inner, State};
use super::switches::{OauthAnswer, Switches};
use super::text;
use super::tokens::{Owner, Pair};
use super::value::Value;
use super::wire::Request;

/// Answers at the token endpoint (Bitrix24 REST docs, OAuth; the statuses of errors are those that
/// integration tests of the Python SDK assert against the live server).
pub(super) fn token(state: &State, request: &Request, fault: Option<&Fault<OauthMode>>) -> Answer {
    let mut inner = state.lock();
    inner.counters.oauth_requests += 1;
    let events = inner.tokens.events();
    let answer = match granted(state, &mut inner, request, fault) {
        Ok(answer) => answer,
        Err(error) => error.answer(Format::Json, Disguise::Plain),
    };
    if !answer.code.is_empty() {
        inner.counters.oauth_refused += 1;
    }
    if let Some(fault) = fault.filter(|_| inner.tokens.events() > events) {
        inner.tokens.note_fault(fault.mode.name());
    }
    drop(inner);
    no_store(answer)
}

/// The fields of a token answer (Bitrix24 REST docs, automatic renewal). `domain` is the OAuth
/// host, not the portal.
pub(super) fn token_response(state: &State, inner: &Inner, pair: &Pair) -> Value {
    let oauth = state.oauth_url(&inner.switches);
    let domain = oauth.split("://").nth(1).unwrap_or_default();
    let portal = state.url_of(inner, &pair.owner.member_id);
    Value::map([
        ("access_token", pair.access_token.as_str().into()),
        ("expires", pair.expires.into()),
        ("expires_in", pair.expires_in.into()),
        ("scope", "app".into()),
        ("domain", domain.into()),
        ("server_endpoint", format!("{oauth}/rest/").into()),
        ("status", "L".into()),
        ("client_endpoint", format!("{portal}/rest/").into()),
        ("member_id", pair.owner.member_id.as_str().into()),
        ("user_id", i64::from(pair.owner.user_id).into()),
        ("refresh_token", pair.refresh_token.as_str().into()),
    ])
}

/// What the OAuth server knows about an installation: the trusted source for `client_endpoint` and
/// `member_id`.
pub(super) fn app_info(state: &State, inner: &Inner, owner: &Owner, expires: u64) -> Value {
    let portal = state.url_of(inner, &owner.member_id);
    let domain = portal.split("://").nth(1).unwrap_or_default().to_owned();
    let expires = text::iso8601(expires);
    let installed = inner.switches.installed || inner.installs.finished(&owner.member_id);
    let install = Value::map([
        ("installed", installed.into()),
        ("version", "1".into()),
        ("status", "L".into()),
        ("scope", super::SCOPES.join(",").into()),
        ("domain", domain.into()),
        ("uri", "".into()),
        ("client_endpoint", format!("{portal}/rest/").into()),
        ("member_id", owner.member_id.as_str().into()),
        ("member_type", "".into()),
    ]);
    Value::map([
        ("client_id", state.identity.client_id.as_str().into()),
        ("scope", "app".into()),
        ("expires", expires.into()),
        ("user_id", i64::from(owner.user_id).into()),
        ("install", install),
    ])
}

/// Answers a REST call to the OAuth server's own address: it knows `app.info` alone.
pub(super) fn rest(state: &State, request: &Request, method: &str) -> Answer {
    let mut inner = state.lock();
    inner.counters.oauth_requests += 1;
    if !method.eq_ignore_ascii_case("app.info") {
        return super::portal::not_found().answer(Format::Json, Disguise::Plain);
    }
    let token = auth::presented(request).unwrap_or_default();
    let owner = match auth::check(&inner, &token) {
        Ok(owner) => owner,
        Err(error) if error.code == "expired_token" => {
            return error.answer(Format::Json, Disguise::Plain);
        }
        Err(_unknown) => return bare(400, "invalid_client").answer(Format::Json, Disguise::Plain),
    };
    let info = app_info(state, &inner, &owner, inner.tokens.expires(&token));
    drop(inner);
    Answer::of(200, &Value::map([("result", info)]), Format::Json)
}

fn granted(
    state: &State,
    inner: &mut Inner,
    request: &Request,
    fault: Option<&Fault<OauthMode>>,
) -> Result<Answer, ApiError> {
    if request.head.method == "POST" && !inner.switches.oauth_post {
        return Ok(post_refused());
    }
    let params = params::from_request(request);
    let text = |name: &str| params.get(name).and_then(Value::text).filter(|text| !text.is_empty());
    let switches = inner.switches.clone();
    let back = text("redirect_uri");
    if switches.oauth_wants_redirect_uri && (back.is_none() || text("scope").is_none()) {
        return Ok(Answer::html(400));
    }
    let grant = text("grant_type").ok_or_else(|| missing("grant_type"))?;
    let client = text("client_id").ok_or_else(|| missing("client_id"))?;
    if client != state.identity.client_id {
        return Err(bare(200, "wrong_client"));
    }
    if text("client_secret").as_deref() != Some(&state.identity.client_secret) {
        return Err(bare(400, "invalid_client"));
    }
    let name = match grant.as_str() {
        "authorization_code" => "code",
        "refresh_token" => "refresh_token",
        _ => return Err(bare(400, "unsupported_grant_type")),
    };
    let presented = text(name).ok_or_else(|| missing(name))?;
    let owner = inner.tokens.owner_of_grant(&presented);
    if owner.is_some_and(|owner| inner.installs.removed(&owner.member_id)) {
        let code = &switches.uninstalled_refresh_code;
        inner.tokens.turn_away(&presented, code);
        return Err(refused(code));
    }
    let pair = if name == "code" {
        inner.tokens.redeem(&presented, &switches).map_err(refused)?
    } else {
        refreshed(inner, &presented, &switches, fault)?
    };
    inner.counters.exchanges += 1;
    let mut response = token_response(state, inner, &pair);
    match fault.map(|fault| &fault.mode) {
        Some(OauthMode::NoRefreshToken) => drop(response.remove("refresh_token")),
        Some(OauthMode::OtherMember) => response.set("member_id", text::random_hex(16).into()),
        _ => {}
    }
    Ok(match switches.oauth_answer {
        OauthAnswer::Json => Answer::of(200, &response, Format::Json),
        OauthAnswer::Redirect => redirected(&response, back.or(switches.redirect_uri).as_deref()),
    })
}

fn refreshed(
    inner: &mut Inner,
    refresh: &str,
    switches: &Switches,
    fault: Option<&Fault<OauthMode>>,
) -> Result<Pair, ApiError> {
    inner.tokens.examine(refresh, switches).map_err(|code| refused(&code))?;
    let kept = fault.is_some_and(|fault| {
        matches!(fault.mode, OauthMode::SameRefreshToken | OauthMode::NoRefreshToken)
    });
    let pair = if kept {
        inner.tokens.renew_access(refresh, switches)
    } else {
        inner.tokens.rotate(refresh, switches)
    };
    pair.ok_or_else(|| bare(400, "invalid_grant"))
}

/// An old portal's answer: the tokens in the query of a redirect, whoever the client is.
fn redirected(response: &Value, back: Option<&str>) -> Answer {
    let Some(back) = back else {
        return Answer::html(400);
    };
    let mut pair = Value::EMPTY;
    for name in ["access_token", "refresh_token", "expires_in", "member_id", "domain"] {
        if let Some(value) = response.get(name) {
            pair.set(name, value.clone());
        }
    }
    let mark = if back.contains('?') { '&' } else { '?' };
    let mut answer = Answer::html(302);
    answer.set_header("Location", &format!("{back}{mark}{}", params::build_query(&pair)));
    answer
}

/// An error of the token endpoint, with its status.
pub(super) fn refused(code: &str) -> ApiError {
    match code {
        "expired_token" => ApiError::new(401, code, "The refresh token provided has expired."),
        "PAYMENT_REQUIRED" => ApiError::new(401, code, "Payment required"),
        "NOT_INSTALLED" => ApiError::new(401, code, "Application not installed"),
        "wrong_client" => bare(200, code),
        _ => bare(400, code),
    }
}

/// 405 for whoever posts.
pub(super) fn post_refused() -> Answer {
    let mut answer = Answer::html(405);
    answer.set_header("Allow", "GET");
    answer
}

fn missing(parameter: &str) -> ApiError {
    let text = format!("Missing parameter: \"{parameter}\" is required");
    ApiError::new(400, "invalid_request", &text)
}

fn bare(status: u16, code: &str) -> ApiError {
    ApiError { status, code: code.to_owned(), description: None }
}

fn no_store(mut answer: Answer) -> Answer {
    answer.set_header("Cache-Control", "no-store");
    answer
}
