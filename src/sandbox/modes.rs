//! What can go wrong, by the names that `POST /sandbox/fault` takes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::answer::Disguise;

/// What goes wrong at the portal.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub(super) enum PortalMode {
    /// Every call gets `expired_token`, whatever its token.
    AlwaysExpired,
    /// One call does.
    ExpiredOnce,
    /// Any error.
    Error {
        #[serde(default = "default_error_status")]
        status: u16,
        code: String,
        description: Option<String>,
        #[serde(default)]
        format: Disguise,
    },
    /// 503 `QUERY_LIMIT_EXCEEDED`.
    QueryLimit,
    /// 429 `OPERATION_TIME_LIMIT`.
    OperatingLimit,
    /// 401 `CONNECTION_ERROR`: the portal cannot reach the OAuth server. Transient.
    ConnectionError,
    /// A page of the front end.
    Html {
        #[serde(default = "default_html_status")]
        status: u16,
    },
    /// A redirect; without a location to the renamed portal.
    Redirect {
        location: Option<String>,
        #[serde(default = "default_redirect_status")]
        status: u16,
    },
    /// RST instead of an answer.
    ResetBeforeAnswer,
    /// FIN instead of an answer.
    CloseBeforeAnswer,
    /// The answer ends after so many bytes of its body.
    CutBody {
        after: usize,
        #[serde(default)]
        framing: Shape,
        #[serde(default)]
        reset: bool,
    },
    /// The body comes slowly.
    Drip { bytes_per_second: u64 },
    /// No answer, for that long or until the other side leaves.
    Hang { ms: Option<u64> },
    /// The answer comes that much later.
    Slow { ms: u64 },
    /// Bytes that are not HTTP.
    Garbage,
    /// The `Authorization` header is ignored, as behind Apache with CGI.
    DropBearer,
    /// Kept-alive connections are closed after so much idleness between requests.
    IdleClose { ms: u64 },
    /// `102 Processing` before the answer.
    #[serde(rename = "continue_102")]
    Continue102,
    /// `103 Early Hints` before the answer (RFC 8297).
    #[serde(rename = "continue_103")]
    Continue103,
    /// The answer comes before the body is read, as nginx refuses large bodies; with a status it is
    /// a page of that status.
    IgnoreBody { status: Option<u16> },
    /// Exactly these bytes, then FIN.
    Raw { text: Option<String>, base64: Option<String> },
    /// The true answer in another framing.
    Framing {
        #[serde(rename = "as")]
        shape: Shape,
    },
    /// Additional headers on the true answer.
    Headers { headers: BTreeMap<String, String> },
    /// The listener is closed, for that long or until it is cleared.
    Down { ms: Option<u64> },
}

/// How the body of an answer is delimited (RFC 9112 section 6.3), correctly or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Shape {
    /// `Content-Length`.
    #[default]
    ContentLength,
    /// Chunked.
    Chunked,
    /// By the end of the connection.
    Close,
    /// `Content-Length` twice, with the same value.
    DuplicateLength,
    /// `Content-Length` twice, with different values.
    ConflictingLength,
    /// `Content-Length` and chunked.
    LengthAndChunked,
}

/// What goes wrong at the OAuth server.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(tag = "mode", rename_all = "snake_case")]
pub(super) enum OauthMode {
    /// Nobody listens; on a shared address: RST as soon as the head has been read.
    Down { ms: Option<u64> },
    /// Any status.
    Status {
        status: u16,
        #[serde(default)]
        body: String,
        content_type: Option<String>,
        #[serde(default)]
        headers: BTreeMap<String, String>,
    },
    /// 200 with a page.
    Html,
    /// The answer ends in the middle.
    Truncated,
    /// 200 with `{}`.
    EmptyJson,
    /// 200 with an access token alone; the old refresh token stays good.
    NoRefreshToken,
    /// The answer comes that much later.
    Slow { ms: u64 },
    /// No answer.
    Hang { ms: Option<u64> },
    /// The rotation is committed, the answer is lost.
    ResetAfterCommit,
    /// 400 `invalid_grant`.
    InvalidGrant,
    /// 401 `expired_token`: the refresh token is too old.
    ExpiredToken,
    /// 401 `PAYMENT_REQUIRED`.
    PaymentRequired,
    /// 401 `NOT_INSTALLED`.
    NotInstalled,
    /// 400 `invalid_client`.
    InvalidClient,
    /// 200 `wrong_client`.
    WrongClient,
    /// A good pair of another portal.
    OtherMember,
    /// A new access token with the same refresh token.
    SameRefreshToken,
    /// 405 for POST; GET works.
    PostRefused,
}

impl PortalMode {
    /// Whether the call runs by default: it does when the fault is in the transport, it does not
    /// when the fault is an answer of its own.
    pub(super) fn runs_the_call(&self) -> bool {
        match self {
            Self::ResetBeforeAnswer
            | Self::CloseBeforeAnswer
            | Self::CutBody { .. }
            | Self::Drip { .. }
            | Self::Hang { .. }
            | Self::Slow { .. }
            | Self::Garbage
            | Self::Continue102
            | Self::Continue103
            | Self::Framing { .. }
            | Self::Headers { .. }
            | Self::DropBearer
            | Self::IdleClose { .. } => true,
            Self::IgnoreBody { status } => status.is_none(),
            Self::AlwaysExpired
            | Self::ExpiredOnce
            | Self::Error { .. }
            | Self::QueryLimit
            | Self::OperatingLimit
            | Self::ConnectionError
            | Self::Html { .. }
            | Self::Redirect { .. }
            | Self::Raw { .. }
            | Self::Down { .. } => false,
        }
    }

    /// Whether it describes the place and not a request.
    pub(super) fn is_of_the_place(&self) -> bool {
        matches!(self, Self::DropBearer | Self::IdleClose { .. } | Self::Down { .. })
    }

    /// The name on the wire.
    pub(super) fn name(&self) -> String {
        mode_name(self)
    }
}

impl OauthMode {
    /// The name on the wire.
    pub(super) fn name(&self) -> String {
        mode_name(self)
    }
}

fn mode_name(mode: &impl Serialize) -> String {
    let json = serde_json::to_value(mode).unwrap_or_default();
    json.get("mode").and_then(serde_json::Value::as_str).unwrap_or_default().to_owned()
}

fn default_error_status() -> u16 {
    401
}

fn default_html_status() -> u16 {
    502
}

fn default_redirect_status() -> u16 {
    302
}
