//! Who is calling: where the portal looks for a credential, and what it says about a bad one.

use super::answer::ApiError;
use super::portal::Route;
use super::state::{Inner, State};
use super::tokens::Verdict;
use super::value::Value;
use super::wire::Request;

/// A caller whom the portal has let in.
#[derive(Clone, Debug)]
pub(super) struct Session {
    pub(super) user_id: u32,
    pub(super) member_id: String,
    /// When the credential expires, unix seconds; 0 for a webhook.
    pub(super) expires: u64,
    /// What the caller gave as a parameter. Empty for a Bearer header, which is why links that
    /// such a call produces carry no token (rest module, rest.php).
    pub(super) credential: Option<String>,
    /// `<user>/<secret>` of an incoming webhook.
    pub(super) webhook: Option<String>,
}

/// Finds and checks the credential: webhook path, `Authorization: Bearer`, `auth`, `access_token`,
/// in this order. The parameters lose everything that is only for this (rest module,
/// oauth/auth.php).
pub(super) fn authenticate(
    state: &State,
    inner: &mut Inner,
    request: &Request,
    route: &Route,
    params: &mut Value,
) -> Result<Session, ApiError> {
    let mut take = |name: &str| params.remove(name).and_then(|value| value.text());
    let (auth, access_token) = (take("auth"), take("access_token"));
    let _connector = take("auth_connector");
    let (login, secret) = (take("aplogin"), take("ap"));
    let (session_id, cookie) = (take("sessid"), request.head.header("cookie"));
    if let Some((login, secret)) = route.webhook.clone().or_else(|| login.zip(secret)) {
        return webhook(state, &login, &secret);
    }
    let foreign = session_id.is_some() || request.head.header("x-bitrix-csrf-token").is_some();
    if foreign && cookie.is_some_and(|cookie| cookie.contains("PHPSESSID=")) {
        let text = "Unable to authorize user: logout before";
        return Err(ApiError::new(401, "authorization_error", text));
    }
    let heard = inner.switches.bearer && !inner.faults.drops_bearer();
    let bearer = request.head.header("authorization").filter(|_| heard).and_then(bearer);
    let credential = auth.or(access_token).filter(|token| !token.is_empty());
    let Some(token) = bearer.clone().or_else(|| credential.clone()) else {
        return Err(ApiError::new(401, "NO_AUTH_FOUND", "Wrong authorization data"));
    };
    let owner = check(inner, &token)?;
    let here = request.head.header("host").and_then(|host| inner.installs.at(host));
    if here.is_some_and(|here| here != owner.member_id) {
        return Err(unknown(inner.switches.auth_status));
    }
    inner.tokens.note_use(&token);
    Ok(Session {
        user_id: owner.user_id,
        member_id: owner.member_id,
        expires: inner.tokens.expires(&token),
        credential: credential.filter(|_| bearer.is_none()),
        webhook: None,
    })
}

/// Whose token it is, or why it is refused.
pub(super) fn check(inner: &Inner, token: &str) -> Result<super::tokens::Owner, ApiError> {
    if let Some(error) = inner.records.remembered.get(token) {
        return Err(error.clone());
    }
    let status = inner.switches.auth_status;
    let owner = inner.tokens.owner_of_access(token);
    if owner.is_some_and(|owner| inner.installs.removed(&owner.member_id)) {
        let code = &inner.switches.uninstalled_access_code;
        return Err(ApiError::new(status, code, "Application not installed"));
    }
    let expired = || ApiError::new(status, "expired_token", EXPIRED);
    match inner.tokens.judge(token) {
        Verdict::Good(access) => Ok(access.owner),
        Verdict::Expired => Err(expired()),
        Verdict::Replaced if inner.switches.dead_access_code == "expired_token" => Err(expired()),
        Verdict::Replaced => {
            Err(ApiError::new(status, &inner.switches.dead_access_code, "The token was replaced"))
        }
        Verdict::Unknown => Err(unknown(status)),
    }
}

fn unknown(status: u16) -> ApiError {
    ApiError::new(status, "invalid_token", "Unable to get application by token")
}

/// The token that a request carries, for faults that are about tokens.
pub(super) fn presented(request: &Request) -> Option<String> {
    let params = super::params::from_request(request);
    let bearer = request.head.header("authorization").and_then(bearer);
    let parameter = |name: &str| params.get(name).and_then(Value::text);
    bearer.or_else(|| parameter("auth")).or_else(|| parameter("access_token"))
}

fn webhook(state: &State, login: &str, secret: &str) -> Result<Session, ApiError> {
    let identity = &state.identity;
    if login != identity.user_id.to_string() || secret != identity.webhook {
        let text = "Invalid request credentials";
        return Err(ApiError::new(401, "INVALID_CREDENTIALS", text));
    }
    Ok(Session {
        user_id: identity.user_id,
        member_id: identity.member_id.clone(),
        expires: 0,
        credential: Some(format!("{login}|{secret}")),
        webhook: Some(format!("{login}/{secret}")),
    })
}

/// The token of a Bearer header; the scheme is written in any case. Other schemes are not heard.
fn bearer(header: &str) -> Option<String> {
    let (scheme, token) = header.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then(|| token.to_owned())
}

/// The text that portals write, full stop included.
pub(super) const EXPIRED: &str = "The access token provided has expired.";
