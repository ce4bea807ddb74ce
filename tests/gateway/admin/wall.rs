//! No web page but our own, and no change without its token.

use super::{ask, change, csrf, get};
use crate::support::Gate;
use crate::support::calls::{portal, profile};
use crate::support::http;

/// Everything that tells something.
const READ: [&str; 9] = [
    "/",
    "/?fragment",
    "/page.js",
    "/metrics",
    "/readyz",
    "/api/v1/session",
    "/api/v1/portals",
    "/api/v1/portals/acme/ledger",
    "/api/v1/openapi.json",
];

/// Everything that changes something.
const CHANGE: [&str; 11] = [
    "POST /api/v1/portals/acme/connect",
    "POST /api/v1/portals/acme/refresh",
    "POST /api/v1/portals/acme/disable",
    "POST /api/v1/portals/acme/enable",
    "POST /api/v1/portals/acme/remove",
    "DELETE /api/v1/portals/acme",
    "POST /portals/acme/connect",
    "POST /portals/acme/refresh",
    "POST /portals/acme/disable",
    "POST /portals/acme/enable",
    "POST /portals/acme/remove",
];

const FORM: &str = "Content-Type: application/x-www-form-urlencoded";

/// A 403 that tells nothing.
fn assert_walled(answer: &http::Answer, of: &str) {
    assert_eq!(answer.status, 403, "{of}: {}", answer.text());
    let told = answer.text();
    for word in ["acme", "csrf\"", "generation"] {
        assert!(!told.contains(word), "{of}: {word} in {told}");
    }
    assert!(answer.field("access-control-allow-origin").is_none(), "{of}");
}

#[tokio::test]
async fn a_page_of_somebody_else_reads_nothing_and_changes_nothing() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    let port = gate.admin.port();
    let token = csrf(&gate).await;
    let form = format!("csrf={}", token.split_once(": ").unwrap().1);
    let foreign = [
        "Origin: null".to_owned(),
        "Origin: http://evil.example".to_owned(),
        "Origin: http://localhost".to_owned(),
        format!("Origin: http://localhost:{}", gate.address.port()),
        format!("Origin: http://127.0.0.1:{port}"),
        format!("Origin: https://localhost:{port}"),
        format!("Origin: http://localhost:{port}\r\nOrigin: http://localhost:{port}"),
        format!("Origin: http://localhost:{port}.evil.example"),
        "Sec-Fetch-Site: cross-site".to_owned(),
        "Sec-Fetch-Site: same-site".to_owned(),
        "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\nSec-Fetch-Dest: image".to_owned(),
        "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe"
            .to_owned(),
    ];
    for fields in &foreign {
        for path in READ {
            let answer = ask(&gate, &format!("GET {path}"), &[fields], "").await;
            assert_walled(&answer, &format!("{path} with {fields}"));
        }
        for line in CHANGE {
            let answer = ask(&gate, line, &[fields, &token, FORM], &form).await;
            assert_walled(&answer, &format!("{line} with {fields}"));
        }
    }
    assert_unchanged(&gate, &portal).await;
}

#[tokio::test]
async fn a_page_that_gives_its_own_name_our_address_reads_nothing() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    let port = gate.admin.port();
    for host in [
        format!("evil.example:{port}"),
        format!("localhost.evil.example:{port}"),
        format!("127.0.0.1.nip.io:{port}"),
        format!("0.0.0.0:{port}"),
        "localhost:evil".to_owned(),
        format!("localhost:{port}\r\nHost: localhost:{port}"),
        String::new(),
    ] {
        for path in READ {
            let host = format!("Host: {host}");
            let answer = ask(&gate, &format!("GET {path}"), &[&host], "").await;
            assert_walled(&answer, &format!("{path} with {host}"));
        }
    }
    let elsewhere = "GET http://evil.example/api/v1/session";
    assert_walled(&ask(&gate, elsewhere, &[], "").await, elsewhere);
    let nowhere = http::send(gate.admin, "GET /api/v1/session HTTP/1.0\r\n\r\n").await;
    assert_walled(&nowhere, "HTTP/1.0 without a Host");
    for host in ["localhost", "127.0.0.1", "[::1]:8025"] {
        let answer = ask(&gate, "GET /api/v1/portals", &[&format!("Host: {host}")], "").await;
        assert_eq!(answer.status, 200, "{host}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_link_somewhere_else_opens_the_front_page_and_nothing_more() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    let followed = [
        "Sec-Fetch-Site: cross-site",
        "Sec-Fetch-Mode: navigate",
        "Sec-Fetch-Dest: document",
        "Accept: text/html",
    ];
    let opened = ask(&gate, "GET /", &followed, "").await;
    assert_eq!(opened.status, 200, "{}", opened.text());
    assert_eq!(opened.field("x-frame-options"), Some("DENY"));
    assert_eq!(opened.field("cross-origin-opener-policy"), Some("same-origin"));
    for path in READ.iter().filter(|path| !path.starts_with("/?") && **path != "/") {
        assert_eq!(ask(&gate, &format!("GET {path}"), &followed, "").await.status, 403, "{path}");
    }
}

#[tokio::test]
async fn our_own_page_and_programs_are_let_in() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    let own = format!("Origin: http://localhost:{}", gate.admin.port());
    let token = csrf(&gate).await;
    for fields in [
        &["Sec-Fetch-Site: same-origin"][..],
        &["Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate"],
        &[&own],
        &[],
    ] {
        for path in READ {
            let answer = ask(&gate, &format!("GET {path}"), fields, "").await;
            assert_eq!(answer.status, 200, "{path} with {fields:?}: {}", answer.text());
        }
        let line = "POST /api/v1/portals/acme/enable";
        let answer = ask(&gate, line, &[fields, &[&token]].concat(), "").await;
        assert_eq!(answer.status, 200, "{fields:?}: {}", answer.text());
    }
}

#[tokio::test]
async fn nothing_is_changed_without_the_token_of_this_process() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    let wrong = "0".repeat(64);
    let header = format!("X-CSRF-Token: {wrong}");
    let body = format!("csrf={wrong}");
    let right = csrf(&gate).await.replace("X-CSRF-Token: ", "");
    for line in CHANGE {
        let api = line.contains("/api/");
        let halves = [&right[..32], &right[1..]];
        let mut bodies = vec![String::new(), body.clone()];
        bodies.extend(halves.map(|half| format!("csrf={half}")));
        bodies.push(format!("csrf={right}&csrf={right}"));
        if api {
            bodies.push(format!("csrf={right}"));
        }
        for body in bodies {
            let mut fields = vec![FORM];
            if body.contains(&wrong) {
                fields.push(&header);
            }
            let answer = ask(&gate, line, &fields, &body).await;
            assert_eq!(answer.status, 403, "{line} {body}: {}", answer.text());
        }
        // Not in the address either, where logs and histories keep it.
        let address = format!("{line}?csrf={right}");
        assert_eq!(ask(&gate, &address, &[FORM], "").await.status, 403, "{line}");
    }
    assert_unchanged(&gate, &portal).await;
}

#[tokio::test]
async fn reading_changes_nothing() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    let token = csrf(&gate).await;
    for line in CHANGE.iter().filter(|line| line.starts_with("POST")) {
        for verb in ["GET", "HEAD"] {
            let line = line.replace("POST", verb);
            let mut client = http::Client::connect(gate.admin).await;
            let head = format!("{line} HTTP/1.1\r\nHost: localhost\r\n{token}\r\n\r\n");
            client.send(head).await;
            let answer = client.answer_to(verb == "HEAD").await.unwrap();
            assert_eq!((answer.status, answer.field("allow")), (405, Some("POST")), "{line}");
        }
    }
    assert_unchanged(&gate, &portal).await;
}

async fn assert_unchanged(gate: &Gate, portal: &b24gate::sandbox::Sandbox) {
    let view = get(gate, "/api/v1/portals/acme").await.json();
    assert_eq!((&view["state"], &view["generation"]), (&"connected".into(), &1.into()), "{view}");
    assert_eq!(view["disabled"], false);
    assert_eq!(portal.control().exchanges(), 0);
    assert!(!gate.log().contains("login begun"));
    assert_eq!(profile(gate).await.status, 200);
    // The wall is why: the same with all that it needs goes through.
    let answer = change(gate, "POST /api/v1/portals/acme/disable", "").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(profile(gate).await.status, 403);
}
