//! Installations: a page that a browser posts makes a portal's credential, and a portal that nobody
//! configured.

use b24gate::sandbox::Sandbox;
use serde_json::json;

use crate::installs_support::{
    event, expecting, host, install_event, now, open_to_all, page, post_event, post_page, sandbox,
    shown, with,
};
use crate::support::{Gate, http};

const MEMBER: &str = "c0ffee00c0ffee00c0ffee00c0ffee00";

async fn profile(gate: &Gate) -> u16 {
    http::get(gate.address, "/rest/profile").await.status
}

/// A call that names its portal in a field.
fn to(portal: &str) -> String {
    format!("GET /rest/profile HTTP/1.1\r\nHost: localhost\r\nX-B24-Portal: {portal}\r\n\r\n")
}

/// Exchanges of refresh tokens so far.
fn exchanges(portal: &Sandbox) -> u64 {
    portal.control().exchanges()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_installation_connects_the_portal_with_a_chain_that_only_the_gateway_knows() {
    let portal = sandbox().await;
    let seed = portal.seed();
    let gate = expecting(&seed).start();
    assert_eq!(profile(&gate).await, 403, "not connected");

    let answer = post_page(gate.callback, &page(&seed, "app-token")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.text().contains("acme is connected as user"), "{}", answer.text());
    let policy = answer.field("content-security-policy").unwrap();
    assert!(policy.contains(&format!("frame-ancestors {}", seed.portal_url)), "{policy}");
    assert_eq!(exchanges(&portal), 1, "the pair that the browser saw is exchanged at once");
    assert_eq!(profile(&gate).await, 200);
    for token in [&seed.access_token, &seed.refresh_token] {
        assert!(!answer.text().contains(token.as_str()) && !gate.log().contains(token.as_str()));
    }

    let setup = gate.kill();
    let gate = setup.start();
    assert_eq!(profile(&gate).await, 200);
    assert_eq!(exchanges(&portal), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_further_opening_of_the_page_leaves_the_credential_to_the_user_who_connected_it() {
    let portal = sandbox().await;
    let first = portal.seed();
    let gate = expecting(&first).start();
    post_page(gate.callback, &page(&first, "app-token")).await;

    let same = portal.seed();
    let answer = post_page(gate.callback, &page(&same, "app-token")).await;
    assert!(answer.text().contains("was connected as user"), "{}", answer.text());
    assert_eq!(shown(gate.setup(), "acme").unwrap()["chains"], "active spare");

    let other = portal.control().seed_for(&first.member_id, first.user_id + 1);
    let answer = post_page(gate.callback, &page(&other, "evil-token")).await;
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("and not as you; nothing has changed"), "{}", answer.text());
    let after = shown(gate.setup(), "acme").unwrap();
    assert_eq!(after["chains"], "active spare");
    let user = first.user_id.to_string();
    assert_eq!(after["user"].split(',').next(), Some(user.as_str()));
    // Nor has that user's application_token become the portal's.
    let uninstall = event("ONAPPUNINSTALL", &first, "evil-token", now() + 5);
    assert_eq!(post_event(gate.callback, &uninstall).await.status, 403);
    assert_eq!(profile(&gate).await, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_without_a_refresh_token_changes_nothing() {
    let portal = sandbox().await;
    let seed = portal.seed();
    let gate = expecting(&seed).start();
    let (query, body) = page(&portal.seed(), "app-token");
    let bare = (query, with(body, "REFRESH_ID", ""));
    assert_eq!(post_page(gate.callback, &bare).await.status, 403, "nobody knows this portal");
    post_page(gate.callback, &page(&seed, "app-token")).await;
    let answer = post_page(gate.callback, &bare).await;
    assert_eq!(answer.status, 200);
    assert!(answer.text().contains("nothing has changed"), "{}", answer.text());
    assert_eq!(exchanges(&portal), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_portal_that_nobody_configured_arrives_and_is_served_under_its_domain() {
    let portal = sandbox().await;
    let seed = portal.control().seed_for(MEMBER, 7);
    let gate = open_to_all(&seed).start();
    let answer = post_page(gate.callback, &page(&seed, "app-token")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());

    let domain = host(&seed.portal_url);
    let served = async |gate: &Gate| {
        let by_path = http::get(gate.address, &format!("/{domain}/rest/profile")).await;
        assert_eq!(by_path.status, 200, "{}", by_path.text());
        let request = to(&domain);
        let by_header = http::send(gate.address, request).await;
        assert_eq!(by_header.status, 200, "{}", by_header.text());
        let shown = shown(gate.setup(), &domain).unwrap();
        assert_eq!((shown["kind"].as_str(), shown["member_id"].as_str()), ("arrived", MEMBER));
    };
    served(&gate).await;
    let (status, log) = {
        let setup = gate.setup().clone();
        let (status, log) = gate.stop();
        served(&setup.start()).await;
        (status, log)
    };
    assert!(status.success(), "{log}");
    assert_eq!(exchanges(&portal), 1, "nothing of that needed another exchange");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_portal_that_arrived_under_a_name_is_found_by_it_in_every_way() {
    let portal = sandbox().await;
    // A name that nobody has, so that nobody is called: the answer tells which portal was meant.
    let seed = portal.control().seed_at(MEMBER, 7, "https://acme.invalid");
    let gate = open_to_all(&seed).start();
    let answer = post_page(gate.callback, &page(&seed, "app-token")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let policy = answer.field("content-security-policy").unwrap();
    assert!(policy.contains("frame-ancestors https://acme.invalid"), "{policy}");
    let by_path = "GET /acme.invalid/rest/profile HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned();
    let by_host = |host| format!("GET /rest/profile HTTP/1.1\r\nHost: {host}\r\n\r\n");
    for (request, error) in [
        (by_path, "GATEWAY_PORTAL_UNREACHABLE"),
        (to("acme.invalid"), "GATEWAY_PORTAL_UNREACHABLE"),
        (by_host("acme.invalid"), "GATEWAY_PORTAL_UNREACHABLE"),
        (by_host("localhost"), "GATEWAY_PORTAL_NOT_CONNECTED"),
    ] {
        let answer = http::send(gate.address, &request).await;
        assert_eq!(answer.error(), error, "{request}: {}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_portal_whose_application_accepts_no_installations_does_not_arrive() {
    let portal = sandbox().await;
    let seed = portal.control().seed_for(MEMBER, 7);
    let setup = expecting(&seed).only_portal("url = \"http://127.0.0.1:9\"");
    let gate = setup.start();
    assert_eq!(post_page(gate.callback, &page(&seed, "app-token")).await.status, 403);
    let event = install_event(&seed, "app-token", now());
    assert_eq!(post_event(gate.callback, &event).await.status, 403);
    assert!(shown(gate.setup(), &host(&seed.portal_url)).is_none());
    assert_eq!(portal.control().log().len(), 0, "nobody was asked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_portal_that_came_for_nothing_goes_again() {
    let portal = sandbox().await;
    let seed = portal.control().seed_for(MEMBER, 7);
    let gate = open_to_all(&seed).start();
    let (query, body) = page(&seed, "app-token");
    let bogus = (query, with(body, "REFRESH_ID", &"ab".repeat(35)));
    assert_eq!(post_page(gate.callback, &bogus).await.status, 403);
    assert!(shown(gate.setup(), &host(&seed.portal_url)).is_none());
    let again = portal.control().seed_for(MEMBER, 7);
    assert_eq!(post_page(gate.callback, &page(&again, "app-token")).await.status, 200);
    assert!(shown(gate.setup(), &host(&seed.portal_url)).is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renamed_portal_that_is_installed_again_is_the_same_portal_at_its_new_place() {
    let portal = sandbox().await;
    let seed = portal.control().seed_for(MEMBER, 7);
    let gate = open_to_all(&seed).start();
    post_page(gate.callback, &page(&seed, "app-token")).await;
    portal.control().switch(&json!({"renamed": true})).unwrap();
    let moved = portal.control().seed_for(MEMBER, 7);
    assert_ne!(moved.portal_url, seed.portal_url);
    let answer = post_page(gate.callback, &page(&moved, "app-token")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());

    let (old, new) = (host(&seed.portal_url), host(&moved.portal_url));
    for domain in [&old, &new] {
        let request = to(domain);
        let answer = http::send(gate.address, request).await;
        let moved = answer.field("x-b24-replayed");
        assert_eq!((answer.status, moved), (200, None), "{domain}: straight to the new place");
    }
    assert_eq!(shown(gate.setup(), &old).unwrap()["url"], moved.portal_url);
    assert!(shown(gate.setup(), &new).is_none(), "no second portal");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s_26_another_portal_under_a_known_domain_gets_nothing_and_the_log_says_what_to_do() {
    let portal = sandbox().await;
    let seed = portal.seed();
    let gate = expecting(&seed).start();
    post_page(gate.callback, &page(&seed, "app-token")).await;
    let squatter = portal.control().seed_for(MEMBER, 7);
    assert_eq!(post_page(gate.callback, &page(&squatter, "app-token")).await.status, 403);
    gate.wait_for_log("b24gate portal remove");
    assert_eq!(profile(&gate).await, 200);
    assert_eq!(exchanges(&portal), 1);
}
