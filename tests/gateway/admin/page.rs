//! The status page, as a browser without a script gets it.

use serde_json::json;

use super::{ask, get, page, press};
use crate::support::calls::{fault, portal, profile};
use crate::support::{Gate, Setup};

/// The text of a page, with the slashes that it escapes.
fn text(answer: &crate::support::http::Answer) -> String {
    answer.text().replace("&#x2f;", "/")
}

#[tokio::test]
async fn the_page_is_whole_without_a_script() {
    let portal = portal().await;
    let seed = portal.seed();
    let gate = Gate::connected(&Setup::new(&portal), &seed);
    assert_eq!(profile(&gate).await.status, 200);
    let answer = page(&gate, "/").await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(answer.field("content-type"), Some("text/html; charset=utf-8"));
    let shown = text(&answer);
    let version = env!("CARGO_PKG_VERSION");
    let call = format!("curl http://{}/rest/", gate.address);
    for said in [
        version,
        "up ",
        ">ready<",
        "<h3>acme</h3>",
        &seed.portal_url,
        ">connected<",
        "<dt>User</dt><dd>no. 1</dd>",
        "<dt>Token expires</dt><dd><time ",
        "data-at=\"",
        "<dt>Last refresh</dt>",
        "<dt>Last error</dt>",
        "<dt>Generation</dt><dd>1</dd>",
        "<dt>Spare chains</dt><dd>0</dd>",
        "<dt>Requests</dt><dd>1</dd>",
        ">Connect</button>",
        "name=\"replace\"",
        ">Refresh now</button>",
        ">Disable</button>",
        ">Remove acme</button>",
        "Recent events",
        &call,
    ] {
        assert!(shown.contains(said), "{said} is missing in {shown}");
    }
}

#[tokio::test]
async fn the_page_loads_nothing_from_elsewhere_and_runs_nothing_of_its_own() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    let answer = page(&gate, "/").await;
    let policy = answer.field("content-security-policy").unwrap();
    for rule in [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    ] {
        assert!(policy.contains(rule), "{rule} in {policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    // Without a referrer a browser says of its own forms that they come from nowhere.
    assert_eq!(answer.field("referrer-policy"), Some("same-origin"));
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    let shown = text(&answer);
    for inline in ["<style", " style=", "onclick=", "javascript:", "src=\"http", "href=\"//"] {
        assert!(!shown.contains(inline), "{inline} in {shown}");
    }
    assert_eq!(shown.matches("<script").count(), 1, "{shown}");
    for (path, kind) in [
        ("/page.css", "text/css; charset=utf-8"),
        ("/page.js", "text/javascript; charset=utf-8"),
        ("/icon.svg", "image/svg+xml"),
    ] {
        assert!(shown.contains(&format!("\"{path}\"")), "{path} in {shown}");
        let part = get(&gate, path).await;
        assert_eq!(part.field("content-type"), Some(kind));
        assert!(!part.text().contains("//fonts") && !part.text().contains("@import"), "{path}");
    }
}

#[tokio::test]
async fn a_fragment_is_what_changes_of_the_page() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    let fragment = page(&gate, "/?fragment").await.text();
    assert!(fragment.trim_start().starts_with("<div id=\"status\""), "{fragment}");
    assert!(fragment.contains("<h3>acme</h3>"), "{fragment}");
    for whole in ["<html", "<head>", "<script", "<link"] {
        assert!(!fragment.contains(whole), "{whole} in {fragment}");
    }
}

#[tokio::test]
async fn whoever_does_not_read_html_gets_plain_text() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    for fields in [&[][..], &["Accept: */*"], &["Accept: text/plain"]] {
        let answer = ask(&gate, "GET /", fields, "").await;
        assert_eq!(answer.field("content-type"), Some("text/plain; charset=utf-8"));
        assert!(answer.text().contains("  state       connected\n"), "{}", answer.text());
    }
}

#[tokio::test]
async fn a_button_does_what_it_says_and_leads_back_to_the_page() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    for (deed, then) in [
        ("refresh", "<dt>Generation</dt><dd>2</dd>"),
        ("disable", ">disabled<"),
        ("enable", ">connected<"),
        ("remove", ">not connected<"),
    ] {
        let answer = press(&gate, deed, "").await;
        assert_eq!((answer.status, answer.field("location")), (303, Some("/")), "{deed}");
        let shown = page(&gate, "/").await.text();
        assert!(shown.contains(then), "{deed}: {then} is missing in {shown}");
        if deed == "disable" {
            assert!(shown.contains(">Enable</button>"), "{shown}");
            assert!(shown.contains("until you enable it"), "{shown}");
        }
    }
    let shown = page(&gate, "/").await.text();
    assert!(shown.contains("<strong>acme</strong> removed"), "{shown}");
}

#[tokio::test]
async fn connect_leads_to_the_link_by_a_page_of_our_own() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    for more in ["", "&replace=1"] {
        let answer = press(&gate, "connect", more).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let shown = text(&answer);
        let link = shown.split("href=\"http").nth(1).unwrap().split('"').next().unwrap();
        assert!(link.starts_with("://localhost:8026/oauth/start?ticket="), "{shown}");
        let leads = format!("http-equiv=\"refresh\" content=\"0; url=http{link}\"");
        assert!(shown.contains(&leads), "{shown}");
    }
}

#[tokio::test]
async fn a_button_that_cannot_do_it_says_why_on_a_page() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    portal.control().expire();
    fault(&portal, json!({"oauth": {"mode": "invalid_grant"}})).await;
    let answer = press(&gate, "refresh", "").await;
    assert_eq!(answer.status, 409, "{}", answer.text());
    assert_eq!(answer.field("content-type"), Some("text/html; charset=utf-8"));
    let said = answer.text();
    assert!(said.contains("invalid_grant") && said.contains("Back to the status page"), "{said}");
    let shown = page(&gate, "/").await.text();
    for said in [">dead<", "invalid_grant", "Connect it again", ">not ready<", "acme: dead"] {
        assert!(shown.contains(said), "{said} is missing in {shown}");
    }
    let stale = ask(
        &gate,
        "POST /portals/acme/refresh",
        &["Content-Type: application/x-www-form-urlencoded", "Accept: text/html"],
        "csrf=0",
    )
    .await;
    assert_eq!(stale.status, 403);
    assert!(stale.text().contains("load the page again"), "{}", stale.text());
}
