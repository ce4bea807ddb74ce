//! What an OAuth server's answer means.

use std::fmt;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::credential::grant::{GrantError, has_error, number, object};
use crate::credential::{Grant, RawAnswer};
use crate::transport::today;

/// Longest error code kept, characters.
const CODE_MAX: usize = 64;

/// Why there is no new pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefreshFailure {
    /// What to do about it.
    pub kind: FailureKind,
    /// The server's error code, or ours in lower case (`timeout`, `http_502`), at most 64
    /// characters of `[A-Za-z0-9_.-]`: fit for a log and for an answer to a client.
    pub code: String,
    /// What the server asked for.
    pub retry_after: Option<Duration>,
    /// Whether the exchange may have happened all the same: the request may have reached the
    /// server and no clear answer came back.
    pub sent: bool,
}

/// What to do about a failed exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// This refresh token is no longer good; a human must connect the portal again.
    Dead,
    /// The server refuses for now; the token is kept.
    Paused,
    /// The application's id or secret is wrong; the token is kept.
    Configuration,
    /// Try again later.
    Transient,
}

/// What the OAuth server says about an access token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppInfo {
    /// The application that the token was issued to.
    pub client_id: String,
    /// The portal's stable key.
    pub member_id: Option<String>,
    /// Where the portal's REST lives.
    pub client_endpoint: Option<String>,
    /// The portal's host name.
    pub domain: Option<String>,
    /// Whose rights the token carries.
    pub user_id: Option<u64>,
    /// When the access token expires, as the server writes it (ISO 8601).
    pub expires: Option<String>,
    /// Whether the portal calls the installation finished; until then it sends no events.
    pub installed: Option<bool>,
}

impl RawAnswer {
    /// Whether a POST was refused for being one. Whatever the reason, nothing was exchanged.
    pub(super) fn refuses_post(&self) -> bool {
        let invalid = || {
            object(&self.body)
                .and_then(|answer| error_code(&answer))
                .is_some_and(|code| code.eq_ignore_ascii_case("invalid_request"))
        };
        self.status == 405 || (matches!(self.status, 200 | 400) && invalid())
    }

    /// Reads the pair. Success is status 200, no error, and both tokens; nothing else is.
    pub fn grant(&self) -> Result<Grant, RefreshFailure> {
        let answer = self.success()?;
        Grant::answered(answer, self.at).map_err(|error| {
            if !self.complete {
                return RefreshFailure::ambiguous("connection_lost");
            }
            if error == GrantError::Missing("refresh_token") {
                tracing::error!("OAuth server sent an access token without a refresh token");
                return RefreshFailure::ambiguous("missing_refresh_token");
            }
            RefreshFailure::ambiguous("bad_answer")
        })
    }

    pub(super) fn app_info(&self) -> Result<AppInfo, RefreshFailure> {
        let mut answer = self.success()?;
        let bad = || RefreshFailure::ambiguous("bad_answer");
        let Some(Value::Object(result)) = answer.remove("result") else {
            return Err(bad());
        };
        let install = result.get("install").and_then(Value::as_object);
        let text = |object: &Map<String, Value>, key| {
            object.get(key).and_then(Value::as_str).map(str::to_owned)
        };
        let installed = |key| install.and_then(|install| text(install, key));
        Ok(AppInfo {
            client_id: text(&result, "client_id").ok_or_else(bad)?,
            member_id: installed("member_id").map(|id| id.to_ascii_lowercase()),
            client_endpoint: installed("client_endpoint"),
            domain: installed("domain"),
            user_id: result.get("user_id").and_then(number),
            expires: text(&result, "expires"),
            installed: install.and_then(|install| flag(install.get("installed")?)),
        })
    }

    /// The answer's object, if it reports success.
    pub(super) fn success(&self) -> Result<Map<String, Value>, RefreshFailure> {
        // A server's or a proxy's own failure says nothing about the exchange behind it.
        let unclear = self.status == 200 || self.status >= 500;
        let failure = |kind, code: &str, sent| RefreshFailure {
            kind,
            code: sanitise(code),
            retry_after: self.retry_after,
            sent,
        };
        let answer = if self.complete { object(&self.body) } else { whole_part(&self.body) };
        if let Some(code) = answer.as_ref().and_then(error_code) {
            let kind = classify(&code);
            let sent = kind == FailureKind::Transient && self.status >= 500;
            return Err(failure(kind, &code, sent));
        }
        match answer {
            Some(answer) if self.status == 200 && !has_error(&answer) => Ok(answer),
            _ if !self.complete => Err(failure(FailureKind::Transient, "connection_lost", true)),
            _ if self.status == 200 => Err(failure(FailureKind::Transient, "bad_answer", true)),
            _ => {
                let code = format!("http_{}", self.status);
                Err(failure(FailureKind::Transient, &code, unclear))
            }
        }
    }
}

/// Yes or no, in one of the ways in which PHP writes it.
fn flag(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(flag) => Some(*flag),
        Value::Number(number) => Some(number.as_u64()? != 0),
        Value::String(text) => match text.to_ascii_lowercase().as_str() {
            "true" | "y" | "1" => Some(true),
            "false" | "n" | "0" | "" => Some(false),
            _ => None,
        },
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// What is whole of an object that was cut off: a server may have spent the old refresh token on
/// these bytes, so a pair that is all there is not thrown away for a missing brace.
fn whole_part(body: &[u8]) -> Option<Map<String, Value>> {
    let ends = |byte: u8| body.iter().rposition(|it| *it == byte);
    // After the last quote a text may end; after the last comma but for it, a member has ended.
    let cuts = [Some(body.len()), ends(b'"').map(|at| at + 1), ends(b',')];
    cuts.into_iter().flatten().find_map(|end| {
        let head = body.get(..end)?;
        object(head).or_else(|| object(&[head, b"}"].concat()))
    })
}

/// By code only. `wrong_client` comes with status 200; `expired_token` here is about the refresh
/// token, though an expired access token has the same code elsewhere.
fn classify(code: &str) -> FailureKind {
    match code.to_ascii_lowercase().as_str() {
        "invalid_grant" | "expired_token" | "not_installed" => FailureKind::Dead,
        "payment_required" => FailureKind::Paused,
        "wrong_client" | "invalid_client" => FailureKind::Configuration,
        _ => FailureKind::Transient,
    }
}

fn error_code(answer: &Map<String, Value>) -> Option<String> {
    answer.get("error").and_then(Value::as_str).filter(|code| !code.is_empty()).map(str::to_owned)
}

/// Codes are shown and logged, so they may not carry anything else.
fn sanitise(code: &str) -> String {
    let good = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    let code: String = code.chars().filter(good).take(CODE_MAX).collect();
    if code.is_empty() { "unnamed".to_owned() } else { code }
}

impl RefreshFailure {
    /// The answer holds a pair of another portal; ours stays as it is.
    pub(crate) fn of_another_portal() -> Self {
        Self {
            kind: FailureKind::Paused,
            code: "member_id_mismatch".to_owned(),
            retry_after: None,
            sent: false,
        }
    }

    /// Whether it will pass by itself.
    pub fn is_passing(&self) -> bool {
        self.kind == FailureKind::Transient
    }

    /// Nothing has reached the server.
    pub(crate) fn unsent(code: &str) -> Self {
        Self { kind: FailureKind::Transient, code: code.to_owned(), retry_after: None, sent: false }
    }

    /// The server may have acted.
    pub(super) fn ambiguous(code: &str) -> Self {
        Self { sent: true, ..Self::unsent(code) }
    }
}

/// For people: `the OAuth server answers 502`.
impl fmt::Display for RefreshFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code.as_str() {
            "name" => f.write_str("the OAuth server's name does not resolve"),
            "store" => f.write_str("the store cannot be written"),
            "cut_short" => f.write_str("the exchange was cut short"),
            "too_many_wait" => f.write_str("too many pairs of this portal wait to be exchanged"),
            "private_address" => {
                f.write_str("the name leads to an address of this machine or of a private network")
            }
            "connect" | "connect_timeout" => f.write_str("the OAuth server cannot be reached"),
            "tls" => f.write_str("the OAuth server's certificate is not trusted"),
            "tls_date" => {
                let date = today();
                write!(
                    f,
                    "the OAuth server's certificate has expired or is not valid yet, if this \
                     machine's clock is right: it says {date}"
                )
            }
            "timeout" => f.write_str("the OAuth server does not answer in time"),
            "connection_lost" => f.write_str("the OAuth server broke off the connection"),
            "bad_answer" | "answer_too_long" | "missing_refresh_token" => {
                f.write_str("the OAuth server's answer makes no sense")
            }
            code => match code.strip_prefix("http_") {
                Some(status) => write!(f, "the OAuth server answers {status}"),
                None => write!(f, "the OAuth server says {code}"),
            },
        }
    }
}

impl std::error::Error for RefreshFailure {}
