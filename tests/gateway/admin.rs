//! The operator's listener: who may ask, what is told, and what is done.

mod api;
mod page;
mod password;
mod token;
mod wall;

use std::fmt::Write as _;

use crate::support::Gate;
use crate::support::http::{self, Answer};

/// A request to the operator's listener, on a connection of its own. Its Host is the listener's
/// unless `fields` have one.
pub(crate) async fn ask(gate: &Gate, line: &str, fields: &[&str], body: &str) -> Answer {
    let mut request = format!("{line} HTTP/1.1\r\n");
    if !fields.iter().any(|field| field.starts_with("Host:")) {
        write!(request, "Host: localhost:{}\r\n", gate.admin.port()).unwrap();
    }
    for field in fields {
        write!(request, "{field}\r\n").unwrap();
    }
    if !body.is_empty() || line.starts_with("POST") {
        write!(request, "Content-Length: {}\r\n", body.len()).unwrap();
    }
    http::send(gate.admin, request + "\r\n" + body).await
}

/// A GET that must go well.
pub(crate) async fn get(gate: &Gate, path: &str) -> Answer {
    let answer = ask(gate, &format!("GET {path}"), &[], "").await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer
}

/// The page as a browser gets it.
pub(crate) async fn page(gate: &Gate, path: &str) -> Answer {
    ask(gate, &format!("GET {path}"), &["Accept: text/html,*/*"], "").await
}

/// What a request that changes something must carry, as a field.
pub(crate) async fn csrf(gate: &Gate) -> String {
    let session = get(gate, "/api/v1/session").await.json();
    format!("X-CSRF-Token: {}", session["csrf"].as_str().unwrap())
}

/// A change by the API, with all that it needs.
pub(crate) async fn change(gate: &Gate, line: &str, body: &str) -> Answer {
    let token = csrf(gate).await;
    ask(gate, line, &[&token, "Content-Type: application/json"], body).await
}

/// A button of the page.
pub(crate) async fn press(gate: &Gate, deed: &str, more: &str) -> Answer {
    let token = csrf(gate).await;
    let body = format!("csrf={}{more}", token.split_once(": ").unwrap().1);
    let kind = "Content-Type: application/x-www-form-urlencoded";
    let line = format!("POST /portals/acme/{deed}");
    ask(gate, &line, &[kind, "Accept: text/html,*/*"], &body).await
}
