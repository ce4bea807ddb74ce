//! F-37: a portal that was renamed answers with a redirect, and only the OAuth server can say
//! whether that is true.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use b24gate::sandbox::{Options, Sandbox};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::support::{Gate, http};

async fn portal() -> Sandbox {
    Sandbox::start(Options::apart()).await.unwrap()
}

/// Questions to the OAuth server about whose a token is.
fn questions(portal: &Sandbox) -> usize {
    let log = portal.control().log();
    log.iter().filter(|entry| entry.target.contains("app.info")).count()
}

#[tokio::test]
async fn f_37_a_renamed_portal_is_followed_and_remembered_once_the_oauth_server_confirms_it() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    assert_eq!(http::get(gate.address, "/rest/profile").await.status, 200);
    portal.control().switch(&json!({"renamed": true})).unwrap();

    let body = b"fields[TITLE]=Moved";
    let form = "application/x-www-form-urlencoded";
    let answer = http::post(gate.address, "/rest/crm.deal.add?id=move-1", form, body).await;
    assert_eq!((answer.status, answer.field("x-b24-replayed")), (200, Some("moved")));
    assert_eq!(answer.field("location"), None);
    let executions = portal.control().marked_executions();
    assert_eq!(executions.get("crm.deal.add id=move-1"), Some(&1));

    let next = http::get(gate.address, "/rest/profile").await;
    assert_eq!((next.status, next.field("x-b24-replayed")), (200, None), "straight to the new one");
    gate.wait_for_log("the portal has moved");

    let (status, log) = {
        let setup = gate.setup().clone();
        let (status, log) = gate.stop();
        assert!(status.success(), "{log}");
        let again = setup.start();
        let answer = http::get(again.address, "/rest/profile").await;
        assert_eq!(answer.field("x-b24-replayed"), None, "the move survives a restart");
        (answer.status, again.log())
    };
    assert_eq!(status, 200, "{log}");
    assert!(log.contains("change its url in the configuration"), "{log}");
}

#[tokio::test]
async fn calls_that_meet_the_redirect_together_share_one_question() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    portal.control().switch(&json!({"renamed": true})).unwrap();
    let mut callers = JoinSet::new();
    for _ in 0..50 {
        let address = gate.address;
        callers.spawn(async move { http::get(address, "/rest/profile").await.status });
    }
    assert_eq!(callers.join_all().await, vec![200; 50]);
    assert_eq!(questions(&portal), 1);
}

#[tokio::test]
async fn s_25_a_redirect_that_is_not_confirmed_gets_no_connection_and_one_question() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    let evil = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let location = format!("http://{}/rest/profile", evil.local_addr().unwrap());
    let visits = Arc::new(AtomicUsize::new(0));
    let counter = visits.clone();
    tokio::spawn(async move {
        while evil.accept().await.is_ok() {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    let fault = json!({"portal": {"mode": "redirect", "location": location}});
    portal.control().fault(&fault).await.unwrap();
    for _ in 0..5 {
        let answer = http::get(gate.address, "/rest/profile").await;
        assert_eq!((answer.status, answer.error().as_str()), (502, "GATEWAY_PORTAL_REDIRECT"));
        assert_eq!(answer.executed(), "no");
        assert_eq!(answer.field("location"), None);
    }
    assert_eq!(visits.load(Ordering::Relaxed), 0);
    assert_eq!(questions(&portal), 1, "an evil portal cannot make the gateway flood anybody");
}

#[tokio::test]
async fn the_licence_page_of_a_self_hosted_portal_is_a_502_and_asks_nobody() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    let location = format!("{}/bitrix/coupon_activation.php", portal.seed().portal_url);
    let fault = json!({"portal": {"mode": "redirect", "location": location}});
    portal.control().fault(&fault).await.unwrap();
    let answer = http::get(gate.address, "/rest/profile").await;
    assert_eq!((answer.status, answer.error().as_str()), (502, "GATEWAY_PORTAL_REDIRECT"));
    assert_eq!(questions(&portal), 0);
}
