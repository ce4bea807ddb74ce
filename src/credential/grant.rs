//! Reading a token response, from the OAuth server or from an operator's import.

use std::time::Duration;

use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::credential::{Grant, Secret};

/// Longest token taken, bytes. The vendor's have 70; anything this long is not a token.
const TOKEN_MAX: usize = 4096;

/// Longest `member_id` and `client_endpoint` kept, bytes.
const TEXT_MAX: usize = 512;

/// Why a text is not a token response. Says nothing of what it held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GrantError {
    /// Not JSON, or not an object.
    #[error("this is not a JSON object")]
    NotJson,
    /// It reports an error.
    #[error("this is an error answer, not a token response")]
    Refusal,
    /// A field without which it is of no use.
    #[error("there is no {0} in it")]
    Missing(&'static str),
    /// A token that is not text, or that no header could carry.
    #[error("its {0} is not a token")]
    Malformed(&'static str),
}

impl Grant {
    /// Reads a token response that an operator brings as JSON; `imported` says by which clock.
    pub fn parse(body: &[u8], now: u64) -> Result<Self, GrantError> {
        let answer = object(body).ok_or(GrantError::NotJson)?;
        if has_error(&answer) {
            return Err(GrantError::Refusal);
        }
        Self::imported(answer, now)
    }

    /// Reads a token response that somebody kept. Nobody knows since when, so the server's own
    /// `expires` is the better word, and `expires_in` is counted from `now` (unix seconds) only
    /// where there is no other.
    pub(crate) fn imported(answer: Map<String, Value>, now: u64) -> Result<Self, GrantError> {
        let (lifetime, expires) = times(&answer);
        let expires_at = expires.or_else(|| lifetime.map(|seconds| now.saturating_add(seconds)));
        Self::read(answer, expires_at, None)
    }

    /// Reads a token response that has come this moment, which is `now` (unix seconds) by this
    /// machine's clock. Its `expires_in` needs no clock that agrees with the server's; `expires`
    /// does, and is asked only where there is nothing else.
    pub(crate) fn answered(answer: Map<String, Value>, now: u64) -> Result<Self, GrantError> {
        let (lifetime, expires) = times(&answer);
        // A new token that is over already says that the clocks differ, and nothing of its time;
        // believing it would renew at every call.
        let lifetime = lifetime.filter(|seconds| *seconds > 0);
        let left = expires.map(|at| at.saturating_sub(now)).filter(|seconds| *seconds > 0);
        let good_for = lifetime.or(left).map(Duration::from_secs);
        let expires_at = lifetime.map(|seconds| now.saturating_add(seconds)).or(expires);
        Self::read(answer, expires_at, good_for.and_then(|time| Instant::now().checked_add(time)))
    }

    /// Numbers may be strings: the server's event posts and PHP tools write them so.
    fn read(
        mut answer: Map<String, Value>,
        expires_at: Option<u64>,
        good_until: Option<Instant>,
    ) -> Result<Self, GrantError> {
        let refresh = token(&mut answer, "refresh_token");
        // Asked first: an answer with only this one is worse than an answer with nothing.
        let access = token(&mut answer, "access_token")?;
        let mut text = |key| match answer.remove(key) {
            Some(Value::String(text)) if is_plain(&text, TEXT_MAX) => Some(text),
            _ => None,
        };
        Ok(Self {
            access,
            refresh: refresh?,
            expires_at,
            good_until,
            member_id: text("member_id").map(|id| id.to_ascii_lowercase()),
            client_endpoint: text("client_endpoint"),
            user_id: answer.get("user_id").and_then(number),
        })
    }
}

/// The JSON object that `body` holds, a byte order mark aside.
pub(crate) fn object(body: &[u8]) -> Option<Map<String, Value>> {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    match serde_json::from_slice(body) {
        Ok(Value::Object(object)) => Some(object),
        _ => None,
    }
}

/// Whether the answer reports an error; PHP writes "none" in several ways.
pub(crate) fn has_error(answer: &Map<String, Value>) -> bool {
    match answer.get("error") {
        None | Some(Value::Null | Value::Bool(false)) => false,
        Some(Value::String(code)) => !code.is_empty(),
        Some(_) => true,
    }
}

/// A whole number, also as text.
pub(crate) fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

/// `expires_in` and `expires`, where they are numbers.
fn times(answer: &Map<String, Value>) -> (Option<u64>, Option<u64>) {
    let read = |key| answer.get(key).and_then(number);
    (read("expires_in"), read("expires"))
}

fn token(answer: &mut Map<String, Value>, name: &'static str) -> Result<Secret, GrantError> {
    match answer.remove(name) {
        None | Some(Value::Null) => Err(GrantError::Missing(name)),
        Some(Value::String(text)) if text.is_empty() => Err(GrantError::Missing(name)),
        Some(Value::String(text)) if is_plain(&text, TOKEN_MAX) => Ok(Secret::new(text)),
        Some(_) => Err(GrantError::Malformed(name)),
    }
}

/// Fit for a header, and for a terminal.
fn is_plain(text: &str, max: usize) -> bool {
    (1..=max).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_000;

    #[test]
    fn a_token_response_is_read_with_numbers_as_numbers_or_as_text() {
        for body in [
            r#"{"access_token":"A","refresh_token":"R","expires":1800000000,"user_id":7,
                "expires_in":3600,"member_id":"ABC","client_endpoint":"https://a/rest/"}"#,
            "\u{feff}{\"access_token\":\"A\",\"refresh_token\":\"R\",\"expires\":\"1800000000\",
                \"user_id\":\"7\",\"member_id\":\"abc\",\"client_endpoint\":\"https://a/rest/\",
                \"error\":\"\"}",
        ] {
            let grant = Grant::parse(body.as_bytes(), NOW).unwrap();
            assert!(grant.access.matches("A") && grant.refresh.matches("R"));
            assert_eq!(grant.expires_at, Some(1_800_000_000));
            assert_eq!(grant.user_id, Some(7));
            assert_eq!(grant.member_id.as_deref(), Some("abc"));
            assert_eq!(grant.client_endpoint.as_deref(), Some("https://a/rest/"));
        }
    }

    /// What an answer with these fields, read at [`NOW`], leaves of its time: the time that is
    /// stored, and the seconds until it counts as over.
    fn answered(fields: &str) -> (Option<u64>, Option<u64>) {
        let text = format!(r#"{{"access_token":"A","refresh_token":"R"{fields}}}"#);
        let grant = Grant::answered(object(text.as_bytes()).unwrap(), NOW).unwrap();
        let left = grant.good_until.map(|until| (until - Instant::now()).as_secs());
        (grant.expires_at, left)
    }

    #[tokio::test(start_paused = true)]
    async fn the_lifetime_of_a_new_answer_counts_from_now_whatever_the_servers_clock_says() {
        let lifetime = r#","expires_in":3600"#;
        for servers_clock in [NOW, NOW - 7_200, NOW + 7_200, 0] {
            let both = format!(r#"{lifetime},"expires":{}"#, servers_clock + 3_600);
            assert_eq!(answered(&both), (Some(NOW + 3_600), Some(3_600)), "{servers_clock}");
        }
        assert_eq!(answered(lifetime), (Some(NOW + 3_600), Some(3_600)));
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_lifetime_the_servers_clock_is_believed_as_far_as_it_can_be() {
        let at = |at| format!(r#","expires":{at}"#);
        assert_eq!(answered(&at(NOW + 60)), (Some(NOW + 60), Some(60)));
        // Over when it comes: the clocks differ, and the portal will say when it is.
        assert_eq!(answered(&at(NOW)), (Some(NOW), None));
        assert_eq!(answered(&at(NOW - 7_200)), (Some(NOW - 7_200), None));
        assert_eq!(answered(r#","expires_in":0"#), (None, None));
        assert_eq!(answered(""), (None, None));
        // Longer than any clock reaches.
        assert_eq!(answered(r#","expires_in":18446744073709551615"#), (Some(u64::MAX), None));
    }

    #[test]
    fn an_imported_pair_has_the_time_of_its_own_and_no_measured_one() {
        let text = r#"{"access_token":"A","refresh_token":"R","expires":5,"expires_in":3600}"#;
        let grant = Grant::parse(text.as_bytes(), NOW).unwrap();
        assert_eq!((grant.expires_at, grant.good_until), (Some(5), None));
    }

    #[test]
    fn an_imports_expiry_is_counted_from_now_when_only_the_lifetime_is_given() {
        let parse = |text: &str| Grant::parse(text.as_bytes(), NOW).unwrap().expires_at;
        let with = |fields: &str| format!(r#"{{"access_token":"A","refresh_token":"R"{fields}}}"#);
        assert_eq!(parse(&with(r#","expires_in":"3600""#)), Some(NOW + 3600));
        assert_eq!(parse(&with("")), None);
        assert_eq!(parse(&with(r#","expires":"soon","expires_in":[]"#)), None);
        assert_eq!(parse(&with(r#","expires_in":18446744073709551615"#)), Some(u64::MAX));
    }

    #[test]
    fn what_is_not_a_pair_is_refused_with_the_reason() {
        for (body, error) in [
            ("<html>", GrantError::NotJson),
            ("[]", GrantError::NotJson),
            (r#"{"access_token":"A","refresh_tok"#, GrantError::NotJson),
            ("{}", GrantError::Missing("access_token")),
            (r#"{"access_token":"A"}"#, GrantError::Missing("refresh_token")),
            (r#"{"access_token":"A","refresh_token":""}"#, GrantError::Missing("refresh_token")),
            (r#"{"access_token":7,"refresh_token":"R"}"#, GrantError::Malformed("access_token")),
            (
                r#"{"access_token":"A\r\nX: y","refresh_token":"R"}"#,
                GrantError::Malformed("access_token"),
            ),
            (r#"{"error":"x","access_token":"A","refresh_token":"R"}"#, GrantError::Refusal),
        ] {
            assert_eq!(Grant::parse(body.as_bytes(), NOW).unwrap_err(), error, "{body}");
        }
    }
}
