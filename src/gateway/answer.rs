//! What the client gets: the rest of a portal's head, or an answer of the gateway's own.

use std::time::Duration;

use crate::error::Refusal;
use crate::gateway::cors;
use crate::gateway::head::Framing;
use crate::metrics::Replay;

/// How an exchange looks to the client's side of the connection.
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not states of one thing")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manner {
    /// `.xml` was asked for.
    pub(crate) xml: bool,
    /// HEAD: fields only.
    pub(crate) head_only: bool,
    /// HTTP/1.0 knows no chunks, and no keep-alive unless it is said.
    pub(crate) http10: bool,
    /// The connection ends after this answer.
    pub(crate) close: bool,
}

/// Where the time of a request went.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Timing {
    pub(crate) queue: Duration,
    pub(crate) refresh: Duration,
    pub(crate) portal: Duration,
}

/// Completes a head that starts with the portal's status line and fields.
pub(crate) fn finish(
    head: &mut Vec<u8>,
    manner: Manner,
    framing: Framing,
    timing: &Timing,
    replayed: Option<Replay>,
) {
    match framing {
        Framing::Length(length) => {
            head.extend_from_slice(b"Content-Length: ");
            push_number(head, length);
            head.extend_from_slice(b"\r\n");
        }
        Framing::Chunked => head.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        Framing::None | Framing::Close => {}
    }
    push_connection(head, manner);
    push_replayed(head, replayed);
    head.extend_from_slice(b"Server-Timing: queue;dur=");
    push_ms(head, timing.queue);
    head.extend_from_slice(b", refresh;dur=");
    push_ms(head, timing.refresh);
    head.extend_from_slice(b", portal;dur=");
    push_ms(head, timing.portal);
    head.extend_from_slice(b"\r\n");
    head.extend_from_slice(GUARDS);
    head.extend_from_slice(b"\r\n");
}

/// A whole answer of the gateway's own, which the page at `origin` may read if there is one.
pub(crate) fn refuse(
    refusal: &Refusal,
    manner: Manner,
    request_id: &str,
    (origin, replayed): (Option<&str>, Option<Replay>),
) -> Vec<u8> {
    let (status, reason) = refusal.kind.status();
    let body = if manner.xml { xml(refusal, request_id) } else { json(refusal, request_id) };
    let mut answer = Vec::with_capacity(1024 + body.len());
    let content = if manner.xml { "text/xml" } else { "application/json" };
    answer.extend_from_slice(
        format!(
            "HTTP/1.1 {status} {reason}\r\nContent-Type: {content}; charset=utf-8\r\n\
             Content-Length: {}\r\nProxy-Status: b24gate; error={}\r\nX-Request-Id: {request_id}\r\n",
            body.len(),
            refusal.kind.proxy_status(),
        )
        .as_bytes(),
    );
    if let Some(seconds) = refusal.retry_after {
        answer.extend_from_slice(format!("Retry-After: {seconds}\r\n").as_bytes());
    }
    if status == 405 {
        answer.extend_from_slice(b"Allow: GET, HEAD, POST\r\n");
    }
    push_connection(&mut answer, manner);
    cors::open_to(&mut answer, origin);
    push_replayed(&mut answer, replayed);
    answer.extend_from_slice(GUARDS);
    answer.extend_from_slice(b"\r\n");
    if !manner.head_only {
        answer.extend_from_slice(body.as_bytes());
    }
    answer
}

/// What a browser is told that asks whether the page at `origin` may send these fields.
pub(crate) fn permit(fields: &str, manner: Manner, origin: Option<&str>) -> Vec<u8> {
    let mut answer = cors::permit(fields, manner);
    cors::open_to(&mut answer, origin);
    answer.extend_from_slice(GUARDS);
    answer.extend_from_slice(b"\r\n");
    answer
}

/// The client's own id where it is a plain word, else a random one.
pub(crate) fn request_id(given: Option<&[u8]>) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
    given
        .filter(|id| (1..=64).contains(&id.len()) && id.iter().all(plain))
        .and_then(|id| std::str::from_utf8(id).ok())
        .map_or_else(random_id, str::to_owned)
}

fn random_id() -> String {
    let mut bytes = [0; 8];
    if getrandom::fill(&mut bytes).is_err() {
        return "unavailable".to_owned();
    }
    format!("{:016x}", u64::from_be_bytes(bytes))
}

fn json(refusal: &Refusal, request_id: &str) -> String {
    serde_json::json!({
        "error": refusal.kind.code(),
        "error_description": refusal.description,
        "gateway": {
            "request_id": request_id,
            "executed": refusal.executed.as_str(),
        },
    })
    .to_string()
}

fn xml(refusal: &Refusal, request_id: &str) -> String {
    let description =
        refusal.description.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    format!(
        "<response><error>{}</error><error_description>{description}</error_description>\
         <gateway><request_id>{request_id}</request_id><executed>{}</executed></gateway></response>",
        refusal.kind.code(),
        refusal.executed.as_str(),
    )
}

fn push_connection(head: &mut Vec<u8>, manner: Manner) {
    if manner.close {
        head.extend_from_slice(b"Connection: close\r\n");
    } else if manner.http10 {
        head.extend_from_slice(b"Connection: keep-alive\r\n");
    }
}

fn push_replayed(head: &mut Vec<u8>, replayed: Option<Replay>) {
    if let Some(reason) = replayed {
        head.extend_from_slice(b"X-B24-Replayed: ");
        head.extend_from_slice(reason.as_str().as_bytes());
        head.extend_from_slice(b"\r\n");
    }
}

/// Milliseconds with one decimal, without the cost of formatting a float.
fn push_ms(head: &mut Vec<u8>, duration: Duration) {
    let tenths = u64::from(duration.subsec_nanos() / 100_000);
    let tenths = duration.as_secs().saturating_mul(10_000).saturating_add(tenths);
    push_number(head, tenths / 10);
    head.push(b'.');
    head.push(b'0' + u8::try_from(tenths % 10).unwrap_or_default());
}

fn push_number(head: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0; 20];
    let mut used = 0;
    for slot in digits.iter_mut().rev() {
        *slot = b'0' + u8::try_from(number % 10).unwrap_or_default();
        used += 1;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    head.extend_from_slice(digits.get(digits.len() - used..).unwrap_or_default());
}

/// On every answer: nothing that comes from here may be read, shown or kept by a browser.
const GUARDS: &[u8] = b"Cross-Origin-Resource-Policy: same-origin\r\n\
    X-Content-Type-Options: nosniff\r\n\
    Cache-Control: no-store\r\n\
    Content-Security-Policy: sandbox; default-src 'none'\r\n\
    X-Frame-Options: DENY\r\n";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;

    const PLAIN: Manner = Manner { xml: false, head_only: false, http10: false, close: false };

    fn body(answer: &[u8]) -> &str {
        std::str::from_utf8(answer).unwrap().split_once("\r\n\r\n").unwrap().1
    }

    #[test]
    fn a_refusal_has_the_shape_every_sdk_reads_and_says_whether_the_call_has_run() {
        let refusal = Refusal::new(Kind::PortalTimeout, "the portal is \"silent\"");
        let answer = refuse(&refusal, PLAIN, "r1", (None, None));
        let text = std::str::from_utf8(&answer).unwrap();
        assert!(text.starts_with("HTTP/1.1 504 Gateway Timeout\r\n"), "{text}");
        assert!(text.contains("Proxy-Status: b24gate; error=http_response_timeout\r\n"));
        assert!(text.contains("Cache-Control: no-store\r\n"));
        let json: serde_json::Value = serde_json::from_str(body(&answer)).unwrap();
        assert_eq!(json["error"], "GATEWAY_PORTAL_TIMEOUT");
        assert_eq!(json["gateway"]["executed"], "unknown");
        assert_eq!(json["gateway"]["request_id"], "r1");
    }

    #[test]
    fn the_xml_twin_is_escaped() {
        let manner = Manner { xml: true, ..PLAIN };
        let answer =
            refuse(&Refusal::new(Kind::PortalTls, "a < b & c"), manner, "r1", (None, None));
        assert!(body(&answer).contains("<error>GATEWAY_PORTAL_TLS</error>"));
        assert!(body(&answer).contains("a &lt; b &amp; c"));
    }

    #[test]
    fn a_strange_request_id_is_replaced() {
        assert_eq!(request_id(Some(b"r-1_2.3")), "r-1_2.3");
        for strange in [&b""[..], b"a b", b"a\r\nb", b"<x>", &[b'a'; 65]] {
            assert_eq!(request_id(Some(strange)).len(), 16, "{strange:?}");
        }
    }

    #[test]
    fn numbers_are_written_like_format_writes_them() {
        for number in [0, 7, 10, 1234, u64::MAX] {
            let mut text = Vec::new();
            push_number(&mut text, number);
            assert_eq!(text, number.to_string().into_bytes());
        }
        let mut text = Vec::new();
        push_ms(&mut text, Duration::from_micros(12_345));
        assert_eq!(text, b"12.3");
    }
}
