//! S-01, S-04: what a page gets whose origin the operator allows.

use crate::support::http;
use crate::support::wire::{request, stage_with};

use super::{only_probes, refused};

/// A page whose origin the operator allows, and nobody else.
const ALLOWED: &str = "http://localhost:3000";

fn lower(answer: &http::Answer) -> String {
    answer.head.to_lowercase()
}

#[tokio::test]
async fn s_04_the_preflight_of_an_allowed_page_is_answered_here_and_goes_nowhere() {
    let allow = format!("origins = [\"{ALLOWED}\", \"https://crm.example.com\"]");
    let (portal, gate) = stage_with(|setup| setup.gateway(&allow)).await;
    let mut client = http::Client::connect(gate.address).await;
    for (asked, permitted) in [
        ("", None),
        ("Access-Control-Request-Headers: content-type\r\n", Some("content-type")),
        (
            "Access-Control-Request-Headers: x-b24-portal,evil,Cookie,content-type\r\n\
             Access-Control-Request-Private-Network: true\r\n",
            Some("content-type, x-b24-portal"),
        ),
    ] {
        for (target, verb) in [("/rest/crm.deal.add", "POST"), ("/", "DELETE"), ("*", "GET")] {
            let fields = format!(
                "Origin: {ALLOWED}\r\nAccess-Control-Request-Method: {verb}\r\n{asked}\
                 Sec-Fetch-Site: same-site\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\n"
            );
            client.send(request(&format!("OPTIONS {target}"), &fields, b"")).await;
            let answer = client.answer().await.unwrap();
            assert_eq!(answer.status, 204, "{target}: {}", answer.head);
            assert_eq!(answer.field("access-control-allow-origin"), Some(ALLOWED));
            assert_eq!(answer.field("vary"), Some("Origin"));
            assert_eq!(answer.field("access-control-allow-methods"), Some("GET, POST, HEAD"));
            assert_eq!(answer.field("access-control-allow-headers"), permitted);
            assert_eq!(answer.field("access-control-max-age"), Some("600"));
            let head = lower(&answer);
            assert!(!head.contains("private-network") && !head.contains("credentials"), "{head}");
            assert!(head.contains("nosniff") && !head.contains("evil"), "{head}");
        }
    }
    // Not of a page, not a preflight, or of a page and to a name that is not ours.
    let page = format!("Origin: {ALLOWED}\r\n");
    let ask = "Access-Control-Request-Method: GET\r\n";
    for (number, (fields, status)) in [
        (String::new(), 405),
        (ask.to_owned(), 405),
        (page.clone(), 405),
        (format!("Origin: http://localhost:3001\r\n{ask}"), 403),
        (format!("Origin: null\r\n{ask}"), 403),
        (format!("{page}{page}{ask}"), 403),
        (format!("{page}{ask}Via: 1.1 a\r\n"), 403),
        (format!("{page}{ask}Sec-Fetch-Mode: navigate\r\n"), 403),
    ]
    .iter()
    .enumerate()
    {
        let answer = refused(&gate, &request("OPTIONS /rest/profile", fields, b""), number).await;
        assert_eq!(answer.status, *status, "{fields}");
        assert!(!lower(&answer).contains("access-control-allow-methods"), "{}", answer.head);
    }
    let wire = format!("OPTIONS /rest/profile HTTP/1.1\r\nHost: evil.example\r\n{page}{ask}\r\n");
    assert_eq!(refused(&gate, wire.as_bytes(), 99).await.status, 403);
    only_probes(&portal);
}

#[tokio::test]
async fn s_01_an_allowed_page_may_read_every_answer_and_another_none() {
    let allow = format!("origins = [\"https://crm.example.com\", \"{ALLOWED}\"]");
    let (portal, gate) = stage_with(|setup| setup.gateway(&allow)).await;
    let page = format!("Origin: {}\r\nSec-Fetch-Site: same-site\r\n", ALLOWED.to_uppercase());
    let mut client = http::Client::connect(gate.address).await;
    portal.control().expire();
    for (line, fields, status) in [
        ("GET /rest/profile", "", 200),
        ("POST /rest/sandbox.echo", "", 200),
        ("GET /rest/no.such.method", "", 404),
        ("GET /rest/sandbox.error?status=503&code=X", "", 503),
        ("GET /rest/a/b", "", 404),
        ("GET /nobody/rest/profile", "", 404),
        ("GET /rest/profile", "X-Forwarded-For: 1\r\n", 403),
        ("GET /rest/profile", "Sec-Fetch-Mode: navigate\r\n", 403),
        ("POST /rest/profile", "Referer: http://evil.example/\r\n", 403),
    ] {
        client.send(request(line, &format!("{page}{fields}"), b"")).await;
        let answer = client.answer().await.unwrap();
        assert_eq!(answer.status, status, "{line}: {}", answer.text());
        assert_eq!(answer.field("access-control-allow-origin"), Some(ALLOWED), "{line}");
        assert_eq!(answer.field("vary"), Some("Origin"), "{line}");
        assert_eq!(
            answer.field("access-control-expose-headers"),
            Some("X-B24-Replayed, Server-Timing, Retry-After, X-Request-Id, Proxy-Status"),
            "{line}"
        );
        assert_eq!(answer.field("cross-origin-resource-policy"), Some("same-origin"), "{line}");
        assert_eq!(lower(&answer).matches("access-control-allow-origin").count(), 1, "{line}");
        assert!(!lower(&answer).contains("credentials"), "{line}");
        // The next on the same connection is no page's.
        client.send(request("GET /rest/profile", "", b"")).await;
        let plain = client.answer().await.unwrap();
        assert!(plain.status == 200 && !lower(&plain).contains("access-control"), "{}", plain.head);
    }
    let wire = request("GET /rest/profile", "Origin: http://localhost:3001\r\n", b"");
    assert!(!lower(&refused(&gate, &wire, 1).await).contains("access-control"));
}

#[tokio::test]
async fn s_05_a_long_answer_is_guarded_and_open_to_its_page_in_every_framing() {
    let allow = format!("origins = [\"{ALLOWED}\"]");
    let (_portal, gate) = stage_with(|setup| setup.gateway(&allow)).await;
    for target in ["size=100000", "size=100000&chunked=1"] {
        let line = format!("GET /rest/sandbox.bytes?{target}");
        let wire = request(&line, &format!("Origin: {ALLOWED}\r\n"), b"");
        let answer = http::send(gate.address, wire).await;
        assert_eq!((answer.status, answer.whole, answer.body.len()), (200, true, 100_000));
        assert_eq!(answer.field("access-control-allow-origin"), Some(ALLOWED));
        assert_eq!(answer.field("x-frame-options"), Some("DENY"));
    }
}
