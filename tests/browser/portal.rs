//! The simulated portal's own pages: a test of the gateway is worth as much as they are.

use b24gate::sandbox::{Options, Sandbox};
use serde_json::json;

use crate::listener::Listener;
use crate::support::browser::{Browser, Manner};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_who_allows_it_comes_back_to_the_app_with_a_code() {
    let app = Listener::start("<h1>back</h1>").await;
    let portal = Sandbox::start(Options::default()).await.unwrap();
    let back = format!("http://{}/callback", app.address);
    let switches = json!({"authorize_page": true, "redirect_uri": back});
    portal.control().switch(&switches).unwrap();
    let seed = portal.seed();
    let authorize =
        format!("{}/oauth/authorize/?client_id={}&state=s1", seed.portal_url, seed.client_id);

    let browser = Browser::start();
    browser.goto(&authorize);
    browser.screenshot("portal-authorize");
    browser.click("#refuse");
    browser.wait_until("refused", || (browser.text_of("h1") == "Refused").then_some(()));
    assert!(app.asked("/callback").is_empty(), "nothing comes back");

    browser.goto(&authorize);
    browser.click("#allow");
    browser.wait_until("back at the app", || (browser.text_of("h1") == "back").then_some(()));
    assert!(browser.url().starts_with(&format!("{back}?code=")), "{}", browser.url());
    let asked = app.asked("/callback");
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(asked[0].0.starts_with("GET ") && asked[0].0.contains("&state=s1&"), "{asked:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_portal_posts_its_form_into_a_frame_and_hears_that_the_installation_is_finished() {
    let page = "<!doctype html><p id=\"here\">installing</p>\
                <script src=\"http://api.bitrix24.com/api/v1/\"></script>\
                <script>BX24.init(() => BX24.installFinish())</script>";
    let app = Listener::start(page).await;
    let portal = Sandbox::start(Options::default()).await.unwrap();
    portal.control().switch(&json!({"installed": false})).unwrap();
    let seed = portal.seed();

    let browser = Manner::default().map("api.bitrix24.com", portal.address()).start();
    let url = format!("http%3A%2F%2F{}%2Finstall", app.address);
    browser.goto(&format!("{}/sandbox/app?url={url}&user_id=2", seed.portal_url));
    browser.wait_until("finished", || (browser.text_of("#state") == "finished").then_some(()));
    browser.enter(&browser.find("#app"));
    assert_eq!(browser.read("#here"), "installing");
    browser.leave();
    browser.screenshot("portal-app");

    let asked = app.asked("/install");
    assert_eq!(asked.len(), 1, "{asked:?}");
    let (line, body) = &asked[0];
    assert!(line.starts_with("POST /install?DOMAIN=127.0.0.1%3A"), "{line}");
    for field in ["AUTH_ID=", "REFRESH_ID=", "APPLICATION_TOKEN=", "member_id=", "PLACEMENT="] {
        assert!(body.contains(field), "{field} in {body}");
    }
    let installs = &portal.control().state()["installs"];
    assert_eq!(installs[&seed.member_id]["finished"], true, "{installs}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_is_not_in_the_portals_frame_gets_no_library() {
    let page = "<!doctype html><script src=\"http://api.bitrix24.com/api/v1/\"></script>";
    let app = Listener::start(page).await;
    let portal = Sandbox::start(Options::default()).await.unwrap();
    let browser = Manner::default().map("api.bitrix24.com", portal.address()).start();
    browser.goto(&format!("http://{}/", app.address));
    assert_eq!(browser.script("return typeof BX24", &[]), "undefined");
    let said = browser.console().join("\n");
    assert!(said.contains("Unable to initialize Bitrix24 JS library!"), "{said}");
}
