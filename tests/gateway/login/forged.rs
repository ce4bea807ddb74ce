//! S-06: callbacks that somebody else made. None of them makes an OAuth call, and the true one works
//! afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use b24gate::control::Reply;
use b24gate::sandbox::Sandbox;
use serde_json::json;
use tokio::net::TcpListener;

use super::browser::Browser;
use super::{PUBLIC, begin, outcome, parameter, sent_back, setup};
use crate::support::Gate;
use crate::support::calls::{fault, portal, shown, switch, token_requests};

/// Everything that the OAuth server was asked.
fn questions(portal: &Sandbox) -> usize {
    let log = portal.control().log();
    let asks = |target: &str| target.starts_with("/oauth/token") || target.contains("app.info");
    log.iter().filter(|entry| asks(&entry.target)).count()
}

/// A listener that counts who comes.
async fn evil() -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let visits = Arc::new(AtomicUsize::new(0));
    let counter = visits.clone();
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    (address, visits)
}

async fn refused(browser: &mut Browser, url: &str) -> String {
    let page = browser.open(url).await.answer;
    assert_eq!(page.status, 400, "{url}: {}", page.text());
    assert_eq!(page.field("cache-control"), Some("no-store"));
    page.text()
}

async fn assert_connects(gate: &Gate, browser: &mut Browser, callback: &str) {
    let page = browser.open(callback).await.answer;
    assert!(page.text().contains("acme is connected"), "{}", page.text());
    assert_eq!(shown(gate, "state").as_deref(), Some("connected"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s_06_a_callback_without_its_state_asks_nobody() {
    let portal = portal().await;
    let gate = setup(&portal).start();
    let (login, mut browser, callback) = sent_back(&gate).await;
    let (code, state) = (parameter(&callback, "code"), parameter(&callback, "state"));
    let wrong = "0123456789abcdef0123456789abcdef";
    let page = format!("{PUBLIC}/oauth/callback");
    for query in [
        format!("code={code}"),
        format!("code={code}&state="),
        format!("code={code}&state={wrong}"),
        format!("code={code}&state={}", state.to_uppercase()),
        format!("code={code}&state={state}0"),
        format!("state={state}"),
        format!("code=&state={state}"),
        // Whoever reads the first and whoever reads the last would disagree.
        format!("code={code}&state={wrong}&state={state}"),
        format!("code={code}&state={state}&state={wrong}"),
        format!("code={code}&state={state}&state={state}"),
        format!("code=evil&code={code}&state={state}"),
        format!("code={code}&code=evil&state={state}"),
        format!("code={code}&st%61te={wrong}&state={state}"),
        format!("code[]={code}&state={state}"),
        String::new(),
    ] {
        refused(&mut browser, &format!("{page}?{query}")).await;
        assert_eq!(questions(&portal), 0, "{query}");
        assert_eq!(outcome(&gate, &login).await, Reply::UnderWay, "{query}");
    }
    assert_connects(&gate, &mut browser, &callback).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s_06_a_state_in_another_browser_asks_nobody_and_is_not_used_up() {
    let portal = portal().await;
    let gate = setup(&portal).start();
    let (_, mut browser, callback) = sent_back(&gate).await;
    let mut without = Browser::new(&gate);
    let (_, mut other, _) = sent_back(&gate).await;
    // The right name with another value.
    let mut forged = browser.clone();
    forged.cookies.values_mut().for_each(|cookie| cookie.value = "0".repeat(32));
    for stranger in [&mut without, &mut other, &mut forged] {
        let text = refused(stranger, &callback).await;
        assert!(text.contains("another browser"), "{text}");
        assert_eq!(questions(&portal), 0);
    }
    assert_connects(&gate, &mut browser, &callback).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s_06_the_servers_that_a_callback_names_are_never_called() {
    let portal = portal().await;
    let gate = setup(&portal).start();
    let (evil, visits) = evil().await;
    let (_, mut browser, callback) = sent_back(&gate).await;
    let (code, state) = (parameter(&callback, "code"), parameter(&callback, "state"));
    let forged = format!(
        "{PUBLIC}/oauth/callback?server_domain={evil}&domain={evil}&member_id={}&code={code}&\
         scope=crm&client_endpoint=http://{evil}/rest/&server_endpoint=http://{evil}/rest/&\
         state={state}",
        "f".repeat(32)
    );
    assert_connects(&gate, &mut browser, &forged).await;
    assert_eq!(token_requests(&portal).len(), 1, "the configured server was asked");
    assert_eq!(visits.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s_06_two_callbacks_at_once_make_one_exchange() {
    let portal = portal().await;
    let gate = setup(&portal).start();
    let (_, browser, callback) = sent_back(&gate).await;
    fault(&portal, json!({"oauth": {"mode": "slow", "ms": 300, "count": 1}})).await;
    let open = || {
        let (mut browser, callback) = (browser.clone(), callback.clone());
        tokio::spawn(async move { browser.get(&callback).await.status })
    };
    let both: Vec<_> = (0..8).map(|_| open()).collect();
    let mut statuses = Vec::new();
    for one in both {
        statuses.push(one.await.unwrap());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [303, 400, 400, 400, 400, 400, 400, 400]);
    assert_eq!(token_requests(&portal).len(), 1);
    assert_eq!(shown(&gate, "state").as_deref(), Some("connected"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s_06_a_code_that_is_too_old_or_was_made_up_ends_the_login_with_the_reason() {
    let portal = portal().await;
    let gate = setup(&portal).start();
    let (login, mut browser, callback) = sent_back(&gate).await;
    fault(&portal, json!({"oauth": {"mode": "expired_token", "count": 1}})).await;
    let page = browser.open(&callback).await.answer;
    assert!(page.text().contains("30 seconds"), "{}", page.text());
    let Reply::NotConnected(text) = outcome(&gate, &login).await else { panic!("connected") };
    assert!(text.contains("expired_token"), "{text}");

    let (_, mut browser, callback) = sent_back(&gate).await;
    let made_up = callback.replace(&parameter(&callback, "code"), "made-up");
    let page = browser.open(&made_up).await.answer;
    assert!(page.text().contains("invalid_grant"), "{}", page.text());
    // Used up all the same: a code is tried once.
    refused(&mut browser, &callback).await;
    assert_eq!(token_requests(&portal).len(), 2);
    assert_eq!(shown(&gate, "state").as_deref(), Some("not connected"));

    let mut browser = Browser::new(&gate);
    let page = browser.open(&begin(&gate).await.link).await.answer;
    assert!(page.text().contains("acme is connected"), "{}", page.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s_06_a_pair_of_another_portal_is_not_kept() {
    let portal = portal().await;
    let gate = setup(&portal).start();
    let (evil, visits) = evil().await;
    // By the place that the OAuth server names, while nothing else is known of the portal.
    let (_, mut browser, callback) = sent_back(&gate).await;
    switch(&portal, json!({"portal_url": format!("http://{evil}")}));
    let page = browser.open(&callback).await.answer;
    assert!(page.text().contains("another portal"), "{}", page.text());
    assert_eq!(shown(&gate, "state").as_deref(), Some("not connected"));
    assert_eq!(shown(&gate, "generation"), None, "nothing is stored");
    switch(&portal, json!({"portal_url": null}));

    // By its stable key, once that is known.
    let (_, mut browser, callback) = sent_back(&gate).await;
    assert_connects(&gate, &mut browser, &callback).await;
    let (login, mut browser, callback) = sent_back(&gate).await;
    fault(&portal, json!({"oauth": {"mode": "other_member", "count": 1}})).await;
    let page = browser.open(&callback).await.answer;
    assert!(page.text().contains("another portal"), "{}", page.text());
    assert!(matches!(outcome(&gate, &login).await, Reply::NotConnected(_)));
    assert_eq!(shown(&gate, "generation").as_deref(), Some("1"));
    assert_eq!(visits.load(Ordering::Relaxed), 0);
}
