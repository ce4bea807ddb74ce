//! What a portal's answer means, told by its code. Statuses differ between Bitrix24's documents,
//! its source and live portals, so a status only decides whether to look for a code.

use std::io::Read;

use serde::Deserialize;

use crate::gateway::reply::{Content, Encoding, Reply};
use crate::gateway::route::Api;
use crate::portal::Complaint;

/// How much of a body must be seen before it can be judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// The status and the fields say it all.
    Nothing,
    /// The first bytes tell whether it is an error object.
    Start,
    /// The whole, if it is as small as a packed error object.
    Small,
    /// The whole, up to what is ever held.
    Whole,
}

/// What the answer means for the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finding {
    /// It is for the client, whatever it says.
    Ordinary,
    /// The token has expired or is not known to the portal; the call has not run.
    Expired,
    /// REST v3 refuses the caller with the one code it has for every reason; HEAD with none.
    MaybeExpired,
    /// A 401 for another reason; the call has not run.
    Unauthorized,
    /// There is no such webhook, or its user may not enter; the call has not run.
    BadWebhook(Complaint),
    /// The portal's request budget is used up; the call has not run.
    QueryLimit,
    /// The method's operating time is used up; the call has not run.
    OperationTime,
    /// The portal could not ask the OAuth server about the token; the call has not run.
    ConnectionError,
    /// The portal sends the caller elsewhere; the call has not run.
    Redirect,
    /// A page where REST would answer data: a captive portal, a login page.
    NotApi,
}

/// Decides how much of the body to look at.
pub(crate) fn look(reply: &Reply) -> Look {
    match (reply.status, reply.content, reply.encoding) {
        (401 | 403 | 429 | 503, ..) => Look::Whole,
        (200, Content::Json | Content::Xml, Encoding::Plain) if !reply.is_file => Look::Start,
        // An error object packs into a few hundred bytes; anything larger is an ordinary answer.
        (200, Content::Json | Content::Xml, Encoding::Gzip)
            if reply.declared.is_none_or(|length| length <= PACKED_ERROR_MAX as u64) =>
        {
            Look::Small
        }
        _ => Look::Nothing,
    }
}

/// Whether a 200 starts like an error object and so must be read whole.
pub(crate) fn starts_like_an_error(start: &[u8]) -> bool {
    let start = start.strip_prefix(BOM).unwrap_or(start).trim_ascii_start();
    start.starts_with(b"{\"error\"")
        || start.starts_with(b"<response><error>")
        || start.starts_with(b"<?xml")
}

/// Whether the answer may repeat the path that it was asked for: an error, or a page. `arrived` is
/// the start of its body.
pub(crate) fn may_echo(reply: &Reply, arrived: &[u8]) -> bool {
    let is_error = || {
        let start = reply.look(arrived, ERROR_START);
        start.is_ok_and(|(start, _)| starts_like_an_error(&start))
    };
    !(200..300).contains(&reply.status)
        || (reply.content == Content::Html && !reply.is_file)
        || (matches!(reply.content, Content::Json | Content::Xml) && is_error())
}

/// Judges by status and fields alone.
pub(crate) fn at_sight(reply: &Reply, is_download: bool) -> Finding {
    match reply.status {
        301 | 302 | 303 | 307 | 308 => Finding::Redirect,
        200 if reply.content == Content::Html && !reply.is_file && !is_download => Finding::NotApi,
        401 => Finding::Unauthorized,
        _ => Finding::Ordinary,
    }
}

/// Judges by the code in the body.
pub(crate) fn judge(reply: &Reply, api: Api, body: &[u8]) -> Finding {
    let code = code(reply.encoding, body).unwrap_or_default();
    let is = |known: &str| code.eq_ignore_ascii_case(known);
    match reply.status {
        401 | 403 if is("INVALID_CREDENTIALS") => {
            Finding::BadWebhook(Complaint::InvalidCredentials)
        }
        401 if is("authorization_error") => Finding::BadWebhook(Complaint::AuthorizationError),
        200 | 401 | 403 if is("expired_token") || is("invalid_token") => Finding::Expired,
        200 | 429 | 503 if is("QUERY_LIMIT_EXCEEDED") => Finding::QueryLimit,
        200 | 429 | 503 if is("OPERATION_TIME_LIMIT") => Finding::OperationTime,
        401 if is("CONNECTION_ERROR") => Finding::ConnectionError,
        401 if api == Api::V3 && is(V3_ACCESS_DENIED) => Finding::MaybeExpired,
        401 => Finding::Unauthorized,
        _ => Finding::Ordinary,
    }
}

/// The `error` code of an error body: JSON of v1 and v3, or XML; packed or not, whatever its
/// character set (codes are ASCII).
fn code(encoding: Encoding, body: &[u8]) -> Option<String> {
    let unpacked;
    let body = match encoding {
        Encoding::Plain => body,
        Encoding::Gzip => {
            unpacked = unpack(body)?;
            &unpacked
        }
        Encoding::Unknown => return None,
    };
    let body = body.strip_prefix(BOM).unwrap_or(body).trim_ascii();
    match body.first()? {
        b'{' => json_code(body),
        b'<' => xml_code(body),
        _ => None,
    }
}

fn json_code(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct ErrorBody {
        error: Code,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Code {
        Plain(String),
        Object { code: String },
    }
    let text = String::from_utf8_lossy(body);
    match serde_json::from_str::<ErrorBody>(&text).ok()?.error {
        Code::Plain(code) | Code::Object { code } => Some(code),
    }
}

/// `<error>CODE</error>` directly below the root; REST writes no attributes and no prolog.
fn xml_code(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let (before, rest) = text.split_once("<error>")?;
    let at_top = before.trim_end().ends_with("<response>");
    let (code, _) = rest.split_once("</error>")?;
    at_top.then(|| code.trim().to_owned())
}

fn unpack(body: &[u8]) -> Option<Vec<u8>> {
    let mut unpacked = Vec::new();
    flate2::read::GzDecoder::new(body).take(UNPACKED_MAX).read_to_end(&mut unpacked).ok()?;
    Some(unpacked)
}

/// Enough to tell an error object from a result.
pub(crate) const ERROR_START: usize = 20;
const BOM: &[u8] = b"\xef\xbb\xbf";
const V3_ACCESS_DENIED: &str = "BITRIX_REST_V3_EXCEPTION_ACCESSDENIEDEXCEPTION";
/// An error object packs into less than this, bytes.
pub(crate) const PACKED_ERROR_MAX: usize = 1024;
/// What a hostile body may unpack to, bytes.
const UNPACKED_MAX: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::reply::{self, Parsed};
    use std::io::Write;

    fn check(status: u16, api: Api, body: &[u8], expected: Finding) {
        let packed = body.starts_with(b"\x1f\x8b");
        let encoding = if packed { "Content-Encoding: gzip\r\n" } else { "" };
        let wire = format!("HTTP/1.1 {status} X\r\n{encoding}\r\n");
        let Ok(Parsed::Final(_, reply)) = reply::parse(wire.as_bytes(), false) else { panic!() };
        let shown = String::from_utf8_lossy(body);
        assert_eq!(judge(&reply, api, body), expected, "{status} {shown}");
    }

    fn gzip(text: &str) -> Vec<u8> {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        packer.write_all(text.as_bytes()).unwrap();
        packer.finish().unwrap()
    }

    #[test]
    fn an_expired_token_is_seen_in_every_wrapping() {
        let json = r#"{"error":"expired_token","error_description":"The access token provided has expired."}"#;
        let xml = "<response><error>expired_token</error><error_description>x</error_description></response>";
        let cp1251 =
            b"{\"error_description\":\"\xd2\xee\xea\xe5\xed\",\"error\":\"expired_token\"}";
        for body in [
            json.as_bytes(),
            xml.as_bytes(),
            cp1251,
            &[BOM, json.as_bytes()].concat(),
            &gzip(json),
            &gzip(xml),
            b" {\"error\" : \"EXPIRED_TOKEN\"} ",
            b"{\"error\":\"invalid_token\"}",
        ] {
            check(401, Api::V1, body, Finding::Expired);
            check(403, Api::V1, body, Finding::Expired);
            check(200, Api::V1, body, Finding::Expired);
        }
    }

    #[test]
    fn every_other_401_is_not_an_expiry() {
        for code in [
            "NO_AUTH_FOUND",
            "METHOD_CONFIRM_WAITING",
            "insufficient_scope",
            "ERROR_OAUTH",
            "user_access_error",
            "APPLICATION_NOT_FOUND",
            "",
            "expired",
        ] {
            let body = format!("{{\"error\":\"{code}\",\"error_description\":\"expired_token\"}}");
            check(401, Api::V1, body.as_bytes(), Finding::Unauthorized);
        }
        check(401, Api::V1, b"", Finding::Unauthorized);
        check(401, Api::V1, b"<html>expired_token</html>", Finding::Unauthorized);
        check(401, Api::V1, br#"{"error":"CONNECTION_ERROR"}"#, Finding::ConnectionError);
    }

    #[test]
    fn a_webhook_that_the_portal_does_not_take_is_told_from_other_refusals() {
        let body = br#"{"error":"INVALID_CREDENTIALS"}"#;
        for status in [401, 403] {
            let expected = Finding::BadWebhook(Complaint::InvalidCredentials);
            check(status, Api::V1, body, expected);
        }
        check(400, Api::V1, body, Finding::Ordinary);
        let inactive = Finding::BadWebhook(Complaint::AuthorizationError);
        check(401, Api::V1, br#"{"error":"authorization_error"}"#, inactive);
        check(403, Api::V1, br#"{"error":"authorization_error"}"#, Finding::Ordinary);
    }

    #[test]
    fn errors_and_pages_may_repeat_the_path_and_results_are_not_looked_into() {
        let may = |head: &str, body: &str| {
            let wire = format!("HTTP/1.1 {head}\r\nContent-Length: {}\r\n\r\n", body.len());
            let Ok(Parsed::Final(_, reply)) = reply::parse(wire.as_bytes(), false) else {
                panic!()
            };
            may_echo(&reply, body.as_bytes())
        };
        assert!(may("404 X", "x"));
        assert!(may("500 X\r\nContent-Type: application/json", "{}"));
        assert!(may("200 X\r\nContent-Type: text/html", "<p>"));
        assert!(may("200 X\r\nContent-Type: application/json", r#"{"error":"A","b":"/rest/"}"#));
        assert!(!may("200 X\r\nContent-Type: application/json", r#"{"result":"error"}"#));
        assert!(!may("200 X\r\nContent-Type: image/png", r#"{"error":"A"}"#));
        let file = "200 X\r\nContent-Type: text/html\r\nContent-Disposition: attachment";
        assert!(!may(file, "<p>"));
    }

    #[test]
    fn v3_says_one_code_for_every_refusal() {
        let body = format!(r#"{{"error":{{"code":"{V3_ACCESS_DENIED}","message":"x"}}}}"#);
        check(401, Api::V3, body.as_bytes(), Finding::MaybeExpired);
        check(403, Api::V3, body.as_bytes(), Finding::Ordinary);
        check(401, Api::V1, body.as_bytes(), Finding::Unauthorized);
    }

    #[test]
    fn limits_are_told_from_other_503_and_429() {
        check(503, Api::V1, br#"{"error":"QUERY_LIMIT_EXCEEDED"}"#, Finding::QueryLimit);
        check(429, Api::V1, br#"{"error":"OPERATION_TIME_LIMIT"}"#, Finding::OperationTime);
        check(503, Api::V1, br#"{"error":"OVERLOAD_LIMIT"}"#, Finding::Ordinary);
        check(503, Api::V1, b"<html>503</html>", Finding::Ordinary);
    }

    #[test]
    fn a_result_that_mentions_an_error_is_a_result() {
        check(200, Api::V1, br#"{"result":{"error":"expired_token"}}"#, Finding::Ordinary);
        assert!(!starts_like_an_error(br#"{"result":{"error":"expired_token"}}"#));
        assert!(starts_like_an_error(br#"{"error":"expired_token"}"#));
    }

    #[test]
    fn a_packed_bomb_is_unpacked_no_further_than_the_limit() {
        let bomb = gzip(&"x".repeat(10 * 1024 * 1024));
        assert_eq!(unpack(&bomb).map(|body| body.len() as u64), Some(UNPACKED_MAX));
    }
}
