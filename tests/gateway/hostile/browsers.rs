//! S-01 to S-05 and S-12: no web page gets through, on any verb, and no proxy in front of one.

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
            "Origin: http://localhost:3000\r\nReferer: http://evil.example/",
            "Origin: http://localhost:3000\r\nSec-Fetch-Mode: navigate",
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
    let (portal, gate) = stage_with(|setup| setup.gateway("hosts = [\"b24.office\"]")).await;
    for host in [
        "localhost",
        "LOCALHOST",
        "localhost.",
        "localhost:8024",
        "LocalHost.:8024",
        "127.0.0.1",
        "127.0.0.1:8024",
        "[::1]",
        "[::1]:8024",
        "acme.localhost",
        "ACME.localhost:8024",
        "b24.office",
        "B24.Office:8024",
    ] {
        let wire = format!("GET /rest/profile HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let answer = http::send(gate.address, wire).await;
        assert_eq!(answer.status, 200, "{host}: {}", answer.text());
        let upstream = crate::support::wire::last_call(&portal);
        let expected = portal.address().to_string();
        assert_eq!(upstream.header("host"), Some(expected.as_str()), "{host}");
    }
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
