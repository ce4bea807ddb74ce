//! Each fault of the OAuth server does what it says, and listeners come and go.

use std::time::Duration;

use serde_json::json;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::faults::fault;
use super::{Bench, parse, send};
use crate::sandbox::Options;

async fn refresh(bench: &Bench) -> Vec<u8> {
    let seed = bench.control.seed();
    let body = format!(
        "grant_type=refresh_token&client_id={}&client_secret={}&refresh_token={}",
        seed.client_id, seed.client_secret, seed.refresh_token
    );
    let form = "Content-Type: application/x-www-form-urlencoded\r\nConnection: close";
    let length = body.len();
    let head =
        format!("POST /oauth/token/ HTTP/1.1\r\nHost: o\r\n{form}\r\nContent-Length: {length}");
    send(bench.sandbox.oauth_address(), format!("{head}\r\n\r\n{body}").as_bytes()).await
}

#[tokio::test]
async fn a_listener_that_is_down_refuses_and_comes_back() {
    let bench = Bench::with(Options::apart()).await;
    bench.control.fault(&json!({"oauth": {"mode": "down"}})).await.unwrap();
    let oauth = bench.sandbox.oauth_address();
    let error = TcpStream::connect(oauth).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
    assert_eq!(bench.bearer("/rest/profile").await.status, 200, "the portal is up");
    bench.control.clear_faults().await;
    assert_eq!(parse(&refresh(&bench).await).status, 200);
    bench.control.fault(&json!({"portal": {"mode": "down", "ms": 30}})).await.unwrap();
    assert!(TcpStream::connect(bench.sandbox.address()).await.is_err());
    tokio::time::sleep(Duration::from_millis(80)).await;
    assert_eq!(bench.bearer("/rest/profile").await.status, 200);
}

#[tokio::test]
async fn an_oauth_server_that_shares_its_address_resets_while_it_is_down() {
    let bench = Bench::start().await;
    bench.control.fault(&json!({"oauth": {"mode": "down"}})).await.unwrap();
    assert_eq!(refresh(&bench).await, b"");
    assert_eq!(bench.bearer("/rest/profile").await.status, 200);
}

#[tokio::test]
async fn faults_of_the_oauth_server_have_their_status_and_commit_nothing() {
    let bench = Bench::start().await;
    for (mode, status, begins) in [
        (json!({"mode": "invalid_grant"}), 400, "{\"error\":\"invalid_grant\""),
        (json!({"mode": "expired_token"}), 401, "{\"error\":\"expired_token\""),
        (json!({"mode": "payment_required"}), 401, "{\"error\":\"PAYMENT_REQUIRED\""),
        (json!({"mode": "not_installed"}), 401, "{\"error\":\"NOT_INSTALLED\""),
        (json!({"mode": "invalid_client"}), 400, "{\"error\":\"invalid_client\""),
        (json!({"mode": "wrong_client"}), 200, "{\"error\":\"wrong_client\""),
        (json!({"mode": "html"}), 200, "<!DOCTYPE html>"),
        (json!({"mode": "empty_json"}), 200, "{}"),
        (json!({"mode": "truncated"}), 200, "{\"access_token\":"),
        (json!({"mode": "post_refused"}), 405, "<html>"),
        (json!({"mode": "status", "status": 503, "body": "later"}), 503, "later"),
    ] {
        fault(&bench, "oauth", mode.clone()).await;
        let reply = parse(&refresh(&bench).await);
        assert_eq!(reply.status, status, "{mode}");
        assert!(reply.body.starts_with(begins.as_bytes()), "{mode}: {reply:?}");
    }
    assert_eq!(bench.control.exchanges(), 0);
    let busy = json!({"mode": "status", "status": 429, "headers": {"Retry-After": "3"}});
    fault(&bench, "oauth", busy).await;
    assert!(parse(&refresh(&bench).await).has("Retry-After: 3"));
    fault(&bench, "oauth", json!({"mode": "empty_json", "commit": true, "count": 1})).await;
    refresh(&bench).await;
    assert_eq!(bench.control.exchanges(), 1);
    assert_eq!(parse(&refresh(&bench).await).status, 200, "the count is used up");
}

#[tokio::test]
async fn an_answer_of_the_oauth_server_can_be_lost_slow_or_not_to_be_trusted() {
    let bench = Bench::start().await;
    fault(&bench, "oauth", json!({"mode": "reset_after_commit"})).await;
    assert_eq!((refresh(&bench).await.len(), bench.control.exchanges()), (0, 1));
    fault(&bench, "oauth", json!({"mode": "hang", "ms": 20})).await;
    assert_eq!((refresh(&bench).await.len(), bench.control.exchanges()), (0, 1));
    fault(&bench, "oauth", json!({"mode": "slow", "ms": 40})).await;
    let begun = Instant::now();
    assert_eq!(parse(&refresh(&bench).await).status, 200);
    assert!(begun.elapsed() >= Duration::from_millis(40));
    fault(&bench, "oauth", json!({"mode": "no_refresh_token"})).await;
    let pair = parse(&refresh(&bench).await).json();
    assert!(pair.get("refresh_token").is_none() && pair["access_token"].is_string());
    fault(&bench, "oauth", json!({"mode": "other_member"})).await;
    assert_ne!(parse(&refresh(&bench).await).json()["member_id"], bench.seed.member_id);
}

#[tokio::test]
async fn a_refresh_token_that_is_kept_stays_good() {
    let bench = Bench::start().await;
    fault(&bench, "oauth", json!({"mode": "same_refresh_token"})).await;
    let seed = &bench.seed;
    let query = format!(
        "/oauth/token/?grant_type=refresh_token&client_id={}&client_secret={}&refresh_token={}",
        seed.client_id, seed.client_secret, seed.refresh_token
    );
    let pair = bench.get(&query).await.json();
    assert_eq!(pair["refresh_token"], seed.refresh_token);
    assert_ne!(pair["access_token"], seed.access_token);
    assert_eq!(bench.get(&query).await.status, 200);
}
