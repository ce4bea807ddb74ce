//! S-20, S-21: forged pages and events. Anybody can post them; nothing of them is stored, and nobody
//! whom they name is called.

use b24gate::sandbox::{Sandbox, Seed};
use serde_json::json;

use crate::installs_support::{
    Evil, Fields, encoded, expecting, host, install_event, now, page, post_event, post_page,
    sandbox, shown, stored, with,
};
use crate::support::Gate;
use crate::support::http::{self, Answer};

/// A claim that is not true in one point. `page` and `event` are of a genuine pair of the portal.
struct Forgery {
    what: &'static str,
    page: (Fields, Fields),
    event: Fields,
}

impl Forgery {
    fn new(what: &'static str, seed: &Seed) -> Self {
        Self {
            what,
            page: page(seed, "evil-token"),
            event: install_event(seed, "evil-token", now()),
        }
    }

    fn query(mut self, name: &'static str, in_event: &'static str, value: &str) -> Self {
        self.page.0 = with(self.page.0, name, value);
        self.event = with(self.event, in_event, value);
        self
    }

    fn body(mut self, name: &'static str, in_event: &'static str, value: &str) -> Self {
        self.page.1 = with(self.page.1, name, value);
        self.event = with(self.event, in_event, value);
        self
    }

    fn access(self, token: &str) -> Self {
        self.body("AUTH_ID", "auth[access_token]", token)
    }

    fn domain(self, domain: &str) -> Self {
        self.query("DOMAIN", "auth[domain]", domain)
    }

    fn twice(mut self, name: &'static str, in_event: &'static str, value: &str) -> Self {
        self.page.1.push((name, value.to_owned()));
        self.event.push((in_event, value.to_owned()));
        self
    }
}

/// Each has tokens of its own, so that none is refused for what another one did.
fn forgeries(portal: &Sandbox, evil: &str) -> Vec<Forgery> {
    let random = || "5eed".repeat(17) + "ab";
    let of = |what| Forgery::new(what, &portal.seed());
    let endpoint = format!("http://{evil}/rest/");
    let known = portal.seed();
    let port = host(&known.portal_url);
    let dressed = |what, text: String| of(what).domain(&text);
    portal.control().switch(&json!({"token_ttl_ms": 0})).unwrap();
    let expired = of("an expired token");
    portal.control().switch(&json!({"token_ttl_ms": 3_600_000})).unwrap();
    let long = "x".repeat(5000);
    vec![
        of("a token that nobody issued").access(&random()),
        expired,
        of("the member_id of another portal").body(
            "member_id",
            "auth[member_id]",
            &"ab".repeat(16),
        ),
        of("somebody else's DOMAIN").domain(evil),
        of("somebody else's SERVER_ENDPOINT, who would confirm anything")
            .access(&("0ddba11".repeat(10)))
            .body("SERVER_ENDPOINT", "auth[server_endpoint]", &endpoint),
        of("somebody else's client_endpoint").body(
            "client_endpoint",
            "auth[client_endpoint]",
            &endpoint,
        ),
        of("another user's user_id").body("user_id", "auth[user_id]", "4242"),
        of("a refresh token that nobody issued").body(
            "REFRESH_ID",
            "auth[refresh_token]",
            &random(),
        ),
        dressed("a user name before the domain", format!("{port}@{evil}")),
        dressed("another port", format!("{}:1", port.split(':').next().unwrap())),
        dressed("another address", "169.254.169.254".to_owned()),
        dressed("a dot behind the domain", format!("{port}.")),
        dressed("letters that look like others", "\u{430}cme.bitrix24.com".to_owned()),
        of("a domain that is given twice").twice("DOMAIN", "auth[domain]", evil),
        of("an access token that is given twice").twice("AUTH_ID", "auth[access_token]", &random()),
        of("an oversized access token").access(&long),
        of("an oversized refresh token").body("REFRESH_ID", "auth[refresh_token]", &long),
        of("an oversized domain").domain(&"a.".repeat(2000)),
    ]
}

/// A gateway that takes in whoever installs the application, connected to the portal by a page.
async fn connected(portal: &Sandbox) -> (Gate, Seed) {
    let seed = portal.seed();
    let gate = expecting(&seed).app("accept_installs = true").start();
    let answer = post_page(gate.callback, &page(&seed, "app-token")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    gate.wait_for_log("connected");
    (gate, seed)
}

/// What a refusal shows, but for the random number that lets it have a style.
fn refusal(answer: &Answer) -> (u16, String) {
    let text = answer.text();
    let nonce = text.split("nonce=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
    (answer.status, text.replace(nonce, ""))
}

async fn assert_served(gate: &Gate) {
    assert_eq!(http::get(gate.address, "/rest/profile").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s_20_forged_pages_are_refused_alike_and_leave_no_trace_and_call_nobody() {
    let portal = sandbox().await;
    let evil = Evil::listen().await;
    let (gate, _) = connected(&portal).await;
    let (setup, before) = stored(gate).await;
    let gate = setup.start();
    let mut told = None;
    for Forgery { what, page, .. } in forgeries(&portal, &evil.authority) {
        let answer = post_page(gate.callback, &page).await;
        assert_eq!(answer.status, 403, "{what}: {}", answer.text());
        let first = told.get_or_insert_with(|| refusal(&answer)).clone();
        assert_eq!(refusal(&answer), first, "{what}");
        let log = gate.log();
        assert!(!log.contains(&evil.authority) && !log.contains('\u{430}'), "{what}: {log}");
    }
    assert_served(&gate).await;
    assert_eq!(stored(gate).await.1, before);
    assert_eq!(evil.visits(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s_20_forged_installation_events_leave_no_trace_and_call_nobody() {
    let portal = sandbox().await;
    let evil = Evil::listen().await;
    let (gate, _) = connected(&portal).await;
    let (setup, before) = stored(gate).await;
    let gate = setup.start();
    for Forgery { what, event, .. } in forgeries(&portal, &evil.authority) {
        let status = post_event(gate.callback, &event).await.status;
        // On a machine that is busy, what the OAuth server has to be asked about may be told later.
        assert!(matches!(status, 403 | 200), "{what}: {status}");
    }
    assert_served(&gate).await;
    assert_eq!(stored(gate).await.1, before);
    assert_eq!(evil.visits(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s_20_a_token_of_another_application_is_refused() {
    let portal = sandbox().await;
    // The OAuth server knows these tokens, and calls them another application's than ours.
    let ours = Seed { client_id: "local.ours.0".to_owned(), ..portal.seed() };
    let gate = expecting(&ours).app("accept_installs = true").start();
    let answer = post_page(gate.callback, &page(&portal.seed(), "evil-token")).await;
    assert_eq!(answer.status, 403);
    gate.wait_for_log("another application");
    post_event(gate.callback, &install_event(&portal.seed(), "evil-token", now())).await;
    assert_eq!(portal.control().exchanges(), 0, "its refresh token is not touched");
    let (_, text) = stored(gate).await;
    assert!(!text.contains("StoredCredential") && !text.contains("evil-token"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forged_claim_that_comes_again_costs_the_oauth_server_nothing() {
    let portal = sandbox().await;
    let (gate, _) = connected(&portal).await;
    let forged = Forgery::new("", &portal.seed()).access(&"5eed".repeat(17));
    let questions = || {
        let log = portal.control().log();
        log.iter().filter(|entry| entry.target.contains("app.info")).count()
    };
    assert_eq!(questions(), 1, "the genuine one");
    for _ in 0..50 {
        assert_eq!(post_page(gate.callback, &forged.page).await.status, 403);
    }
    assert_eq!(questions(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forgeries_that_differ_share_twenty_questions_and_the_rest_has_to_wait() {
    let portal = sandbox().await;
    let seed = portal.seed();
    let gate = expecting(&seed).start();
    let mut statuses = Vec::new();
    for number in 0..200 {
        let forged = Forgery::new("", &seed).access(&format!("5eed{number}"));
        statuses.push(post_page(gate.callback, &forged.page).await.status);
    }
    let refused = statuses.iter().filter(|status| **status == 403).count();
    assert!(statuses.iter().all(|status| matches!(status, 403 | 503)), "{statuses:?}");
    assert_eq!(statuses.first(), Some(&403));
    assert!(statuses.contains(&503), "two hundred in a moment are too many");
    let log = portal.control().log();
    let questions = log.iter().filter(|entry| entry.target.contains("app.info")).count();
    assert_eq!(questions, refused);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s_21_after_forged_and_real_installations_the_old_chain_still_works() {
    let portal = sandbox().await;
    let evil = Evil::listen().await;
    let (gate, first) = connected(&portal).await;
    for Forgery { page, .. } in forgeries(&portal, &evil.authority) {
        post_page(gate.callback, &page).await;
    }
    let second = portal.seed();
    // The bucket may be empty now.
    while post_page(gate.callback, &page(&second, "app-token")).await.status == 503 {
        tokio::task::yield_now().await;
    }
    let shown = shown(gate.setup(), "acme").unwrap();
    assert_eq!(shown["chains"], "active spare", "{shown:#?}");
    assert_served(&gate).await;
    portal.control().expire();
    let exchanges = portal.control().exchanges();
    assert_served(&gate).await;
    assert_eq!(portal.control().exchanges(), exchanges + 1);
    let log = gate.log();
    for token in [&first.refresh_token, &second.refresh_token] {
        assert!(!log.contains(token.as_str()));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_is_no_form_is_refused_like_any_other() {
    let portal = sandbox().await;
    let (gate, _) = connected(&portal).await;
    for body in ["", "=", "%zz&&&=&", "{\"auth\":{}}", &"&".repeat(60_000), &"a=&".repeat(15_000)] {
        let answer = http::post(gate.callback, "/install", "text/plain", body.as_bytes()).await;
        assert_eq!(answer.status, 403, "{}", body.len());
        let answer = http::post(gate.callback, "/events", "text/plain", body.as_bytes()).await;
        assert_eq!(answer.status, 403, "{}", body.len());
    }
    let too_much = encoded(&vec![("AUTH_ID", "x".repeat(70_000))]);
    let answer = http::post(gate.callback, "/install", "text/plain", too_much.as_bytes()).await;
    assert_eq!(answer.status, 413);
    assert_served(&gate).await;
}
