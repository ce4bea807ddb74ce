//! S-01 to S-05 and S-12: no web page gets through, on any verb, and no proxy in front of one.

use std::net::SocketAddr;

use crate::support::Gate;
use crate::support::http;
use crate::support::wire::{request, stage, stage_with};
use b24gate::sandbox::Sandbox;

use super::{only_probes, refused};

/// Each of `fields` is refused on every verb, whatever the body is labelled as.
async fn all_refused(portal: &Sandbox, gate: &Gate, fields: &[&str]) {
    let mut number = 0;
    for line in fields {
        for (verb, label, body) in [
            ("GET", "", &b""[..]),
            ("HEAD", "", b""),
            ("POST", "", b""),
            ("POST", "Content-Type: text/plain\r\n", b"a=1"),
            ("POST", "Content-Type: application/x-www-form-urlencoded\r\n", b"a=1"),
            ("POST", "Content-Type: application/json\r\n", b"{}"),
        ] {
            let fields = format!("{line}\r\n{label}");
            let wire =
                request(&format!("{verb} /rest/crm.deal.add?fields[TITLE]=x"), &fields, body);
            if verb == "HEAD" {
                let mut client = http::Client::connect(gate.address).await;
                client.send(&wire).await;
                assert_eq!(client.answer_to(true).await.unwrap().status, 403, "{line}");
                continue;
            }
            number += 1;
            let answer = refused(gate, &wire, number).await;
            let found = (answer.status, answer.error());
            assert_eq!(found, (403, "GATEWAY_BROWSER_REFUSED".to_owned()), "{verb} {line}");
            assert!(!answer.head.to_lowercase().contains("access-control"), "{}", answer.head);
        }
    }
    only_probes(portal);
}

#[tokio::test]
async fn s_02_requests_that_carry_an_origin_or_a_referer_are_refused() {
    let (portal, gate) = stage().await;
    let own = format!("Origin: http://{}", gate.address);
    all_refused(
        &portal,
        &gate,
        &[
            "Origin: null",
            "Origin:",
            "Origin: http://evil.example",
            "Origin: https://evil.example:8443",
            "Origin: http://localhost",
            "Origin: http://localhost:8024",
            "ORIGIN: HTTP://LOCALHOST",
            "Origin: http://[::1]:8024",
            "Origin: http://127.0.0.1",
            "Origin: chrome-extension://abcdefgh",
            "Origin: file://",
            &own,
            "Referer: http://evil.example/page?x",
            "Referer: http://localhost:8025/",
            "Referer: http://localhost/rest/profile",
            "Referer:",
            "Referer: about:blank",
            "Referer: about:blank\r\nReferer: about:blank",
        ],
    )
    .await;
}

#[tokio::test]
async fn s_02_s_05_requests_that_a_browser_marks_as_a_pages_are_refused() {
    let (portal, gate) = stage().await;
    all_refused(
        &portal,
        &gate,
        &[
            "Sec-Fetch-Site: cross-site",
            "Sec-Fetch-Site: same-site",
            "sec-fetch-site: CROSS-SITE",
            "Sec-Fetch-Site:",
            "Sec-Fetch-Site: none\r\nSec-Fetch-Mode: navigate",
            "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document",
            "Sec-Fetch-Mode: navigate",
            "Sec-Fetch-Dest: document",
            "Sec-Fetch-Dest: iframe",
            "Sec-Fetch-Dest: frame",
            "Sec-Fetch-Dest: object",
            "Sec-Fetch-Dest: embed",
            "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image",
            "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: script",
            "Sec-Fetch-Site: same-origin\r\nSec-Fetch-Site: cross-site",
            "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Site: same-origin",
        ],
    )
    .await;
}

#[tokio::test]
async fn s_12_requests_that_a_proxy_or_tunnel_forwarded_are_refused() {
    let (portal, gate) = stage().await;
    all_refused(
        &portal,
        &gate,
        &[
            "Forwarded: for=1.2.3.4",
            "X-Forwarded-For: 1.2.3.4",
            "x-forwarded-for:",
            "X-Forwarded-Host: localhost",
            "X-Forwarded-Proto: https",
            "X-Forwarded-Port: 443",
            "X-Forwarded-Server: a",
            "X_Forwarded_For: 1.2.3.4",
            "X-Forwarded_For: 1.2.3.4",
            "X-Real-IP: 1.2.3.4",
            "X_Real_IP: 1.2.3.4",
            "Via: 1.1 tunnel",
            "CF-Connecting-IP: 1.2.3.4",
            "True-Client-IP: 1.2.3.4",
            "X-Original-URL: /rest/profile",
            "X-Rewrite-URL: /rest/profile",
            "X-Forwarded: for=1.2.3.4",
            "Forwarded-For: 1.2.3.4",
            "CF-Ray: 1",
            "CF-IPCountry: XX",
            "cf_visitor: {}",
            "CDN-Loop: cloudflare",
            "X-Client-IP: 1.2.3.4",
            "X-Cluster-Client-IP: 1.2.3.4",
            "X-Original-Forwarded-For: 1.2.3.4",
            "X-Envoy-External-Address: 1.2.3.4",
            "Fly-Client-IP: 1.2.3.4",
            "Fastly-Client-IP: 1.2.3.4",
            "X-Azure-ClientIP: 1.2.3.4",
            "Tailscale-User-Login: a",
        ],
    )
    .await;
}

#[tokio::test]
async fn s_12_behind_a_proxy_forwarding_is_allowed_and_goes_no_further() {
    let (portal, gate) = stage_with(|setup| setup.gateway("behind_proxy = true")).await;
    let fields =
        "X-Forwarded-For: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\nVia: 1.1 a\r\nX-Real-IP: 1\r\n";
    let answer = http::send(gate.address, request("GET /rest/profile", fields, b"")).await;
    assert_eq!(answer.status, 200);
    let call = crate::support::wire::last_call(&portal);
    for name in ["x-forwarded-for", "forwarded", "via", "x-real-ip"] {
        assert_eq!(call.header(name), None, "{name}");
    }
}

#[tokio::test]
async fn s_02_an_origin_that_the_operator_allows_may_call_and_its_look_alikes_may_not() {
    let allow = "origins = [\"http://localhost:3000\"]";
    let (portal, gate) = stage_with(|setup| setup.gateway(allow)).await;
    for fields in [
        "Origin: http://localhost:3000\r\n",
        "Origin: http://localhost:3000\r\nReferer: http://localhost:3000/page\r\n\
         Sec-Fetch-Site: same-site\r\nSec-Fetch-Mode: cors\r\nSec-Fetch-Dest: empty\r\n",
    ] {
        let wire = request("POST /rest/sandbox.echo?probe=x", fields, b"a=1");
        assert_eq!(http::send(gate.address, wire).await.status, 200, "{fields}");
        let call = crate::support::wire::last_call(&portal);
        assert_eq!((call.header("origin"), call.header("referer")), (None, None));
    }
    all_refused(
        &portal,
        &gate,
        &[
            "Origin: http://localhost:3001",
            "Origin: https://localhost:3000",
            "Origin: http://localhost:30000",
            "Origin: http://localhost:3000.evil.example",
            "Origin: http://localhost:3000/",
            "Origin: http://localhost:3000, http://evil.example",
            "Origin: http://localhost:3000\r\nOrigin: http://evil.example",
            "Referer: http://evil.example/\r\nReferer: http://localhost:3000/",
            "Sec-Fetch-Site: same-site",
        ],
    )
    .await;
}

/// S-03: hosts that a rebound name or a clever spelling would bring.
const FOREIGN_HOSTS: &[&str] = &[
    "",
    " ",
    ".",
    ":8024",
    "evil.example",
    "evil.example:8024",
    "localhost.evil.example",
    "evil-localhost",
    "xlocalhost",
    "localhost.localdomain",
    "127.0.0.1.nip.io",
    "127.1",
    "127.0.0.2",
    "127.0.1",
    "0.0.0.0",
    "0",
    "2130706433",
    "0x7f.1",
    "0x7f000001",
    "017700000001",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[0:0:0:0:0:0:0:1]",
    "[::1",
    "::1",
    "[::1]evil",
    "[::1]:evil",
    "[::1%25lo]",
    "localhost:evil",
    "localhost:80:80",
    "localhost:123456",
    "localhost:1",
    "127.0.0.1:1",
    "[::1]:1",
    "acme.localhost:1",
    "localhost:65536",
    "localhost:-1",
    "localhost@evil.example",
    "evil.example@localhost",
    "user:pass@localhost",
    "localhost/",
    "localhost/rest",
    "localhost?x",
    "localhost#x",
    "localhost%00",
    "localhost, evil.example",
    "localhost evil.example",
    "http://localhost",
    "l\u{f6}calhost",
    "\u{ff4c}ocalhost",
    "192.168.0.1",
    "host.docker.internal",
    "metadata.google.internal",
    "169.254.169.254",
];

#[tokio::test]
async fn s_03_a_host_that_is_not_the_gateways_is_refused() {
    let (portal, gate) = stage().await;
    for (number, host) in FOREIGN_HOSTS.iter().enumerate() {
        let wire = format!("GET /rest/profile HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let answer = refused(&gate, wire.as_bytes(), number).await;
        let found = (answer.status, answer.error());
        assert_eq!(found, (403, "GATEWAY_BROWSER_REFUSED".to_owned()), "{host:?}");
    }
    only_probes(&portal);
}

#[tokio::test]
async fn s_03_the_gateways_own_names_are_accepted_in_every_spelling() {
    let hosts = "hosts = [\"b24.office\", \"localhost:9000\", \"fd00::7\", \"tools.lan:81\"]";
    let (portal, gate) =
        stage_with(|setup| setup.gateway(hosts).listen("127.0.0.9:0").listen("[::1]:0")).await;
    let (port, second) = (gate.address.port(), tcp_doors(&gate)[1]);
    let own = [
        "localhost",
        "LOCALHOST",
        "localhost.",
        "localhost:",
        "localhost:PORT",
        "LocalHost.:PORT",
        "localhost:SECOND",
        "127.0.0.1",
        "127.0.0.1:PORT",
        "[::1]",
        "[::1]:PORT",
        "acme.localhost",
        "ACME.localhost:PORT",
        "b24.office",
        "B24.Office:8024",
        // On purpose: a published port.
        "localhost:9000",
        "acme.localhost:9000",
        "127.0.0.1:9000",
        "[fd00::7]",
        "[fd00::7]:1234",
        "tools.lan:81",
        // An address that is listened on, with its port.
        "127.0.0.9:SECOND",
    ];
    for host in own {
        let host = host.replace("PORT", &port.to_string());
        let host = host.replace("SECOND", &second.port().to_string());
        let wire = format!("GET /rest/profile HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let answer = http::send(gate.address, wire).await;
        assert_eq!(answer.status, 200, "{host}: {}", answer.text());
        let upstream = crate::support::wire::last_call(&portal);
        let expected = portal.address().to_string();
        assert_eq!(upstream.header("host"), Some(expected.as_str()), "{host}");
    }
    let foreign =
        ["tools.lan", "tools.lan:82", "127.0.0.9", "127.0.0.9:PORT", "0.0.0.0:PORT", "[::]:PORT"];
    for (number, host) in foreign.iter().enumerate() {
        let host = host.replace("PORT", &port.to_string());
        let wire = format!("GET /rest/profile?foreign HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(refused(&gate, wire.as_bytes(), number).await.status, 403, "{host}");
    }
    assert_eq!(portal.control().executions("profile"), own.len() as u64);
}

/// Every TCP address of the gateway, as its log says.
fn tcp_doors(gate: &Gate) -> Vec<SocketAddr> {
    let log = gate.log();
    let lines = log.lines().filter(|line| line.contains("gateway listening"));
    lines.map(|line| line.split("http://").nth(1).unwrap().trim().parse().unwrap()).collect()
}

#[tokio::test]
async fn s_03_another_port_of_this_machine_is_refused_with_what_would_open_it() {
    let (portal, gate) = stage().await;
    let other = if gate.address.port() == 8024 { 8025 } else { 8024 };
    for (number, host) in
        ["localhost", "LOCALHOST.", "127.0.0.1", "[::1]", "acme.localhost"].iter().enumerate()
    {
        let wire = format!("GET /rest/profile HTTP/1.1\r\nHost: {host}:{other}\r\n\r\n");
        let answer = refused(&gate, wire.as_bytes(), number).await;
        let found = (answer.status, answer.error());
        assert_eq!(found, (403, "GATEWAY_BROWSER_REFUSED".to_owned()), "{host:?}");
        let said = answer.json()["error_description"].as_str().unwrap().to_owned();
        assert!(said.contains(&format!("add \"localhost:{other}\" to gateway.hosts")), "{said}");
    }
    only_probes(&portal);
}

#[tokio::test]
async fn s_04_a_preflight_is_refused_without_a_word_that_would_allow_anything() {
    let (portal, gate) = stage().await;
    let fields = "Origin: http://evil.example\r\nAccess-Control-Request-Method: POST\r\n\
                  Access-Control-Request-Private-Network: true\r\n";
    for (number, target) in ["*", "/rest/profile", "/rest/crm.deal.add", "/"].iter().enumerate() {
        let wire = request(&format!("OPTIONS {target}"), fields, b"");
        let answer = refused(&gate, &wire, number).await;
        assert!(matches!(answer.status, 403 | 405), "{}", answer.head);
        assert!(!answer.head.to_lowercase().contains("access-control"), "{}", answer.head);
    }
    only_probes(&portal);
}

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
