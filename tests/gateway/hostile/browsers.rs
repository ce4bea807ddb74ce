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
