//! The gateway's own answers: a closed set of kinds, each with its status, its code, what RFC 9209
//! calls it, and the one thing no portal answer tells: whether the call has run.

use std::borrow::Cow;

/// Why the gateway answers by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The request names a portal that is not configured, or names none and there are several.
    PortalUnknown,
    /// The path is not a REST method.
    NotAMethod,
    /// The portal has no usable credential.
    NotConnected,
    /// The key is none of a client's, or there is none and one is needed.
    KeyRefused,
    /// The client may not call this method, or not this portal.
    MethodForbidden,
    /// The user who runs the calling program is not in `allow_uids`.
    PeerNotAllowed,
    /// A browser, or a proxy in front of one, is not let through.
    BrowserRefused,
    /// Bitrix24 REST knows GET, HEAD and POST.
    VerbRefused,
    /// The body is larger than `max_body`.
    BodyTooLarge,
    /// The portal's budget was not free within `max_wait`.
    QueryLimit,
    /// The method has used up its operating time on the portal.
    OperationTime,
    /// No token can be had right now, and nothing is lost.
    RefreshUnavailable,
    /// The signed link carries a token that has expired; it cannot be renewed inside the link.
    LinkExpired,
    /// No connection to the portal.
    PortalUnreachable,
    /// The portal's certificate or handshake is not acceptable.
    PortalTls,
    /// The connection broke after the request was sent, or the answer is not what REST answers.
    PortalBroken,
    /// The portal said nothing for `portal_timeout`.
    PortalTimeout,
    /// The portal sends the caller to an address that the OAuth server does not confirm.
    PortalRedirect,
    /// The request is not one unambiguous HTTP/1.1 request.
    Malformed,
    /// The request target alone is too long.
    TargetTooLong,
    /// The request head is too long.
    HeadTooLarge,
    /// The client stopped sending in the middle of its request.
    ClientTimeout,
    /// The gateway's own code has failed.
    Internal,
}

/// Whether the call has run on the portal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Executed {
    /// It has not; repeating it is safe.
    No,
    /// Nobody can know; repeating a write may write twice.
    Unknown,
}

/// By what a web page or a proxy is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sign {
    /// `Host`
    Host,
    /// `Origin` or `Referer`
    Origin,
    /// `Sec-Fetch-*`
    SecFetch,
    /// `Forwarded`, `Via` and the like
    Forwarded,
}

/// One refusal, ready to be answered.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// What happened.
    pub kind: Kind,
    /// One sentence for the caller: what to do. Never holds a secret or text from a client.
    pub description: Cow<'static, str>,
    /// Seconds after which asking again makes sense.
    pub retry_after: Option<u64>,
    /// Whether the call has run, as far as its kind or the case tells.
    pub executed: Executed,
    /// What gave a browser or a proxy away.
    pub sign: Option<Sign>,
}

impl Refusal {
    /// A refusal with the sentence that goes to the caller.
    pub fn new(kind: Kind, description: impl Into<Cow<'static, str>>) -> Self {
        let executed = kind.executed();
        Self { kind, description: description.into(), retry_after: None, executed, sign: None }
    }

    /// The refusal of a browser or a proxy that this gave away.
    pub fn browser(sign: Sign, description: impl Into<Cow<'static, str>>) -> Self {
        Self { sign: Some(sign), ..Self::new(Kind::BrowserRefused, description) }
    }

    /// The same, of a call that is known not to have run, though others of its kind may have.
    #[must_use]
    pub fn not_executed(mut self) -> Self {
        self.executed = Executed::No;
        self
    }

    /// The same, with the number of seconds after which to ask again.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds.max(1));
        self
    }
}

impl Kind {
    /// The HTTP status.
    pub fn status(self) -> (u16, &'static str) {
        match self {
            Self::Malformed => (400, "Bad Request"),
            Self::NotConnected
            | Self::KeyRefused
            | Self::MethodForbidden
            | Self::PeerNotAllowed
            | Self::BrowserRefused
            | Self::LinkExpired => (403, "Forbidden"),
            Self::PortalUnknown | Self::NotAMethod => (404, "Not Found"),
            Self::VerbRefused => (405, "Method Not Allowed"),
            Self::ClientTimeout => (408, "Request Timeout"),
            Self::BodyTooLarge => (413, "Content Too Large"),
            Self::TargetTooLong => (414, "URI Too Long"),
            Self::OperationTime => (429, "Too Many Requests"),
            Self::HeadTooLarge => (431, "Request Header Fields Too Large"),
            Self::Internal => (500, "Internal Server Error"),
            Self::PortalUnreachable
            | Self::PortalTls
            | Self::PortalBroken
            | Self::PortalRedirect => (502, "Bad Gateway"),
            Self::QueryLimit | Self::RefreshUnavailable => (503, "Service Unavailable"),
            Self::PortalTimeout => (504, "Gateway Timeout"),
        }
    }

    /// The `error` code.
    pub fn code(self) -> &'static str {
        match self {
            Self::PortalUnknown => "GATEWAY_PORTAL_UNKNOWN",
            Self::NotAMethod => "GATEWAY_NOT_A_METHOD",
            Self::NotConnected => "GATEWAY_PORTAL_NOT_CONNECTED",
            Self::KeyRefused => "GATEWAY_KEY_REFUSED",
            Self::MethodForbidden => "GATEWAY_METHOD_FORBIDDEN",
            Self::PeerNotAllowed => "GATEWAY_PEER_NOT_ALLOWED",
            Self::BrowserRefused => "GATEWAY_BROWSER_REFUSED",
            Self::VerbRefused => "GATEWAY_VERB_REFUSED",
            Self::BodyTooLarge => "GATEWAY_BODY_TOO_LARGE",
            Self::QueryLimit => "QUERY_LIMIT_EXCEEDED",
            Self::OperationTime => "OPERATION_TIME_LIMIT",
            Self::RefreshUnavailable => "GATEWAY_REFRESH_UNAVAILABLE",
            Self::LinkExpired => "GATEWAY_LINK_EXPIRED",
            Self::PortalUnreachable => "GATEWAY_PORTAL_UNREACHABLE",
            Self::PortalTls => "GATEWAY_PORTAL_TLS",
            Self::PortalBroken => "GATEWAY_PORTAL_BROKEN",
            Self::PortalTimeout => "GATEWAY_PORTAL_TIMEOUT",
            Self::PortalRedirect => "GATEWAY_PORTAL_REDIRECT",
            Self::Malformed => "GATEWAY_BAD_REQUEST",
            Self::TargetTooLong => "GATEWAY_TARGET_TOO_LONG",
            Self::HeadTooLarge => "GATEWAY_HEAD_TOO_LARGE",
            Self::ClientTimeout => "GATEWAY_CLIENT_TIMEOUT",
            Self::Internal => "GATEWAY_INTERNAL",
        }
    }

    /// The error type of RFC 9209, section 2.3.
    pub fn proxy_status(self) -> &'static str {
        match self {
            Self::PortalUnknown => "destination_not_found",
            Self::NotAMethod
            | Self::KeyRefused
            | Self::MethodForbidden
            | Self::PeerNotAllowed
            | Self::BrowserRefused
            | Self::VerbRefused
            | Self::LinkExpired
            | Self::OperationTime
            | Self::NotConnected => "http_request_denied",
            Self::Malformed
            | Self::BodyTooLarge
            | Self::TargetTooLong
            | Self::HeadTooLarge
            | Self::ClientTimeout => "http_request_error",
            Self::QueryLimit => "connection_limit_reached",
            Self::RefreshUnavailable => "destination_unavailable",
            Self::PortalUnreachable => "connection_refused",
            Self::PortalTls => "tls_certificate_error",
            Self::PortalBroken => "http_response_incomplete",
            Self::PortalTimeout => "http_response_timeout",
            Self::PortalRedirect => "http_protocol_error",
            Self::Internal => "proxy_internal_error",
        }
    }

    /// Whether the call has run, where nothing more is known of it.
    pub fn executed(self) -> Executed {
        match self {
            Self::PortalBroken | Self::PortalTimeout | Self::Internal => Executed::Unknown,
            Self::PortalUnknown
            | Self::NotAMethod
            | Self::NotConnected
            | Self::KeyRefused
            | Self::MethodForbidden
            | Self::PeerNotAllowed
            | Self::BrowserRefused
            | Self::VerbRefused
            | Self::BodyTooLarge
            | Self::QueryLimit
            | Self::OperationTime
            | Self::RefreshUnavailable
            | Self::LinkExpired
            | Self::PortalUnreachable
            | Self::PortalTls
            | Self::PortalRedirect
            | Self::Malformed
            | Self::TargetTooLong
            | Self::HeadTooLarge
            | Self::ClientTimeout => Executed::No,
        }
    }

    /// Every kind, for the documentation test.
    pub const ALL: [Self; 23] = [
        Self::PortalUnknown,
        Self::NotAMethod,
        Self::NotConnected,
        Self::KeyRefused,
        Self::MethodForbidden,
        Self::PeerNotAllowed,
        Self::BrowserRefused,
        Self::VerbRefused,
        Self::BodyTooLarge,
        Self::QueryLimit,
        Self::OperationTime,
        Self::RefreshUnavailable,
        Self::LinkExpired,
        Self::PortalUnreachable,
        Self::PortalTls,
        Self::PortalBroken,
        Self::PortalTimeout,
        Self::PortalRedirect,
        Self::Malformed,
        Self::TargetTooLong,
        Self::HeadTooLarge,
        Self::ClientTimeout,
        Self::Internal,
    ];
}

impl Executed {
    /// As it stands in the answer.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Unknown => "unknown",
        }
    }
}
