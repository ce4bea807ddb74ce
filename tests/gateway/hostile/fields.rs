//! S-01, S-05: what answers may not carry, and S-35: what a client may not take away.

use crate::support::http::{self, Answer};
use crate::support::wire::{last_call, request, stage};

/// Fields that would open the portal's answers to a web page, or keep something in a browser.
const DANGEROUS: &[(&str, &str)] = &[
    ("Access-Control-Allow-Origin", "*"),
    ("Access-Control-Allow-Headers", "*"),
    ("Access-Control-Allow-Credentials", "true"),
    ("Access-Control-Allow-Private-Network", "true"),
    ("access-control-expose-headers", "x"),
    ("Timing-Allow-Origin", "*"),
    ("Cross-Origin-Resource-Policy", "cross-origin"),
    ("Cross-Origin-Opener-Policy", "unsafe-none"),
    ("Cross-Origin-Embedder-Policy", "unsafe-none"),
    ("Content-Security-Policy", "default-src *"),
    ("Content-Security-Policy-Report-Only", "default-src *; report-uri http://evil.example"),
    ("X-Frame-Options", "ALLOWALL"),
    ("X-Content-Type-Options", "off"),
    ("Cache-Control", "public, max-age=31536000"),
    ("Pragma", "cache"),
    ("Set-Cookie", "PHPSESSID=pwned"),
    ("Clear-Site-Data", "\"*\""),
    ("Refresh", "0; url=http://evil.example/pwned"),
    ("Link", "<http://evil.example/pwned>; rel=preload"),
    ("Location", "http://evil.example/pwned"),
    ("Content-Location", "http://evil.example/pwned"),
    ("Alt-Svc", "h3=\"evil.example:443\""),
    ("Report-To", "{\"pwned\":1}"),
    ("Reporting-Endpoints", "pwned=\"http://evil.example\""),
    ("NEL", "{\"pwned\":1}"),
    ("Service-Worker-Allowed", "/pwned"),
    ("Strict-Transport-Security", "max-age=31536000"),
    ("Proxy-Status", "pwned"),
    ("Proxy-Authenticate", "Basic realm=pwned"),
    ("X-B24-Replayed", "pwned"),
    ("Server-Timing", "pwned"),
    ("Upgrade", "pwned"),
    ("Keep-Alive", "timeout=5, pwned"),
    ("Trailer", "pwned"),
];

const GUARDS: &[(&str, &str)] = &[
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("X-Content-Type-Options", "nosniff"),
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "sandbox; default-src 'none'"),
    ("X-Frame-Options", "DENY"),
];

fn values(answer: &Answer, name: &str) -> Vec<String> {
    let fields = answer.head.lines().skip(1).filter_map(|line| line.split_once(':'));
    fields
        .filter(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim().to_owned())
        .collect()
}

fn is_guarded(answer: &Answer) {
    for (name, value) in GUARDS {
        assert_eq!(values(answer, name), [*value], "{}", answer.head);
    }
    for (name, hostile) in DANGEROUS {
        assert!(!values(answer, name).iter().any(|value| value == hostile), "{}", answer.head);
    }
    let head = answer.head.to_lowercase();
    assert!(!head.contains("access-control") && !head.contains("set-cookie"), "{head}");
    assert!(!head.contains("pwned") && !head.contains("evil.example"), "{head}");
}

#[tokio::test]
async fn s_01_s_05_answers_lose_what_a_page_could_use_and_get_their_guards() {
    let (portal, gate) = stage().await;
    let headers: serde_json::Map<_, _> =
        DANGEROUS.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
    let fault = serde_json::json!({"portal": {"mode": "headers", "headers": headers}});
    portal.control().fault(&fault).await.unwrap();
    for target in [
        "/rest/profile",
        "/rest/profile.xml",
        "/rest/no.such.method",
        "/rest/sandbox.bytes?size=10",
        "/rest/sandbox.bytes?size=10&chunked=1",
        "/rest/sandbox.error?status=500&code=X",
        "/rest/api/rest.scope.list",
    ] {
        let answer = http::get(gate.address, target).await;
        is_guarded(&answer);
        assert_eq!(answer.field("x-bitrix-rest-time"), Some("0.0012"), "{}", answer.head);
    }
}

#[tokio::test]
async fn s_05_pages_of_the_front_end_and_the_gateways_own_answers_are_guarded_too() {
    let (portal, gate) = stage().await;
    let fault = serde_json::json!({"portal": {"mode": "html", "status": 502, "count": 1}});
    portal.control().fault(&fault).await.unwrap();
    let page = http::get(gate.address, "/rest/profile").await;
    assert_eq!((page.status, page.field("content-type")), (502, Some("text/html")));
    is_guarded(&page);
    for target in ["/", "/rest/a/b", "/nobody/rest/profile"] {
        is_guarded(&http::get(gate.address, target).await);
    }
}

#[tokio::test]
async fn s_35_a_client_cannot_list_away_what_the_gateway_adds() {
    let (portal, gate) = stage().await;
    for name in [
        "authorization",
        "Authorization",
        "host",
        "content-length",
        "content-type",
        "transfer-encoding",
        "connection",
        "close, authorization",
        "keep-alive, Host",
        "x-forwarded-for",
        "cookie",
        "x-listed",
        "accept-encoding, user-agent, x-request-id",
        ",,, authorization ,,host,",
    ] {
        let fields = format!("Connection: {name}\r\nX-Listed: 1\r\nTE: trailers\r\n");
        let wire = request("POST /rest/sandbox.echo", &fields, b"a=1");
        let answer = http::send(gate.address, wire).await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        let call = last_call(&portal);
        let host = portal.address().to_string();
        assert!(call.header("authorization").is_some_and(|value| value.starts_with("Bearer ")));
        assert_eq!(call.header("host"), Some(host.as_str()), "{name}");
        assert_eq!(call.header("content-length"), Some("3"), "{name}");
        assert_eq!(call.body.as_deref(), Some("a=1"), "{name}");
        assert_eq!((call.header("connection"), call.header("te")), (None, None), "{name}");
        assert_eq!(call.header("x-listed").is_none(), name.contains("x-listed"), "{name}");
    }
    assert_eq!(portal.control().exchanges(), 0);
}
