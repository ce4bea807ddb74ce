//! What is said to whoever gets no answer to what they asked: as JSON to programs, as a page to
//! browsers, as a line to everybody else.

use std::time::Duration;

use http::header::{ACCEPT, ALLOW, HeaderName, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;

use crate::connect::OperateError;
use crate::door::{self, Answer, Asked};

use super::page;

/// Why there is no answer, for people. It repeats nothing of the request.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) text: String,
    field: Option<(HeaderName, HeaderValue)>,
}

/// In which words whoever asks is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Voice {
    /// JSON.
    Program,
    /// HTML.
    Page,
    /// A line of text.
    Line,
}

impl Voice {
    pub(super) fn of(asked: &Asked) -> Self {
        if asked.uri().path().starts_with("/api/") {
            Self::Program
        } else if reads_html(asked.headers()) {
            Self::Page
        } else {
            Self::Line
        }
    }
}

fn reads_html(headers: &HeaderMap) -> bool {
    let said = |value: &HeaderValue| value.to_str().is_ok_and(|text| text.contains("text/html"));
    headers.get_all(ACCEPT).iter().any(said)
}

impl Refusal {
    fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), field: None }
    }

    pub(super) fn bad_request(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, text)
    }

    pub(super) fn forbidden(text: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, text)
    }

    pub(super) fn not_found(text: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, text)
    }

    /// It cannot be done with this portal as it is.
    pub(super) fn conflict(text: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, text)
    }

    pub(super) fn unsupported(text: impl Into<String>) -> Self {
        Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, text)
    }

    /// It cannot be done now.
    pub(super) fn later(text: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, text)
    }

    pub(super) fn method(allowed: &'static str) -> Self {
        let field = Some((ALLOW, HeaderValue::from_static(allowed)));
        let text = format!("this address takes {allowed}");
        Self { field, ..Self::new(StatusCode::METHOD_NOT_ALLOWED, text) }
    }

    pub(super) fn unauthorized() -> Self {
        let field = Some((WWW_AUTHENTICATE, HeaderValue::from_static(CHALLENGE)));
        let text = "the password of [admin] is needed (HTTP Basic, any user name)";
        Self { field, ..Self::new(StatusCode::UNAUTHORIZED, text) }
    }

    pub(super) fn too_many_tries() -> Self {
        let text = "too many wrong passwords; try again in a second";
        Self::new(StatusCode::TOO_MANY_REQUESTS, text).after(Duration::from_secs(1))
    }

    /// Says when to ask again, in whole seconds.
    pub(super) fn after(self, wait: Duration) -> Self {
        let seconds = wait.as_secs().max(1);
        Self { field: Some((RETRY_AFTER, HeaderValue::from(seconds))), ..self }
    }

    /// The same as an answer.
    pub(super) fn answer(self, voice: Voice) -> Answer {
        let Self { status, text, field } = self;
        let mut answer = match voice {
            Voice::Program => json(status, &Said { error: code(status), error_description: &text }),
            Voice::Page => page::said(status, &text),
            Voice::Line => door::text(status, text + "\n"),
        };
        if let Some((name, value)) = field {
            answer.headers_mut().insert(name, value);
        }
        answer
    }
}

impl From<OperateError> for Refusal {
    fn from(error: OperateError) -> Self {
        match error {
            OperateError::Unknown(_) => Self::not_found("there is no such portal"),
            OperateError::Refused(text) => Self::conflict(text),
            OperateError::Later(text) => Self::later(text),
        }
    }
}

/// An error as programs read it.
#[derive(Debug, Serialize)]
struct Said<'a> {
    error: &'static str,
    error_description: &'a str,
}

/// A value as an answer.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(body) => door::page(status, JSON, body),
        Err(error) => {
            tracing::error!(%error, "an answer cannot be written as JSON");
            door::page(StatusCode::INTERNAL_SERVER_ERROR, JSON, NO_JSON)
        }
    }
}

fn code(status: StatusCode) -> &'static str {
    match status {
        StatusCode::BAD_REQUEST => "bad_request",
        StatusCode::UNAUTHORIZED => "unauthorized",
        StatusCode::FORBIDDEN => "forbidden",
        StatusCode::NOT_FOUND => "not_found",
        StatusCode::METHOD_NOT_ALLOWED => "method_not_allowed",
        StatusCode::CONFLICT => "conflict",
        StatusCode::UNSUPPORTED_MEDIA_TYPE => "unsupported_media_type",
        StatusCode::TOO_MANY_REQUESTS => "too_many_tries",
        _ => "unavailable",
    }
}

const JSON: &str = "application/json";
const NO_JSON: &str = r#"{"error":"unavailable","error_description":"see the gateway's log"}"#;
const CHALLENGE: &str = r#"Basic realm="b24gate", charset="UTF-8""#;
