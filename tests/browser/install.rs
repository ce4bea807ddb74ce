//! The application's page in the portal's frame, and in nobody else's.

use serde_json::json;

use crate::listener::Listener;
use crate::support::browser::Browser;
use crate::support::http;
use crate::world::{World, complaints};

async fn installs_itself(secure: bool, screenshot: &str) {
    let world = World::start(secure).await;
    let browser = world.browser();
    browser.goto(&format!("{}/sandbox/app", world.seed.portal_url));
    browser.wait_until("installFinish was called", || {
        (browser.text_of("#state") == "finished").then_some(())
    });
    browser.enter(&browser.find("#app"));
    assert_eq!(browser.read("h1"), "Portal acme");
    assert!(browser.read("p").contains("connected"));
    browser.leave();
    browser.screenshot(screenshot);
    assert_eq!(complaints(&browser), Vec::<String>::new());
    let installs = &world.portal.control().state()["installs"];
    assert_eq!(installs[&world.seed.member_id]["finished"], true);
    assert_eq!(http::get(world.gate.address, "/rest/profile").await.status, 200);

    // Every opening posts the form again.
    browser.goto(&format!("{}/sandbox/app", world.seed.portal_url));
    browser.enter(&browser.find("#app"));
    assert!(browser.read("p").contains("connected"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_application_that_is_opened_in_its_portal_installs_itself() {
    installs_itself(false, "installed").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_portal_behind_tls_can_frame_a_gateway_on_this_machine() {
    installs_itself(true, "installed-tls").await;
}

/// The browser says that it obeys the policy, and shows a page of its own in the frame.
fn assert_not_framed(browser: &Browser) {
    let mut said = String::new();
    browser.wait_until("the browser refuses", || {
        said.push_str(&browser.console().join("\n"));
        said.contains("frame-ancestors").then_some(())
    });
    browser.enter(&browser.find("#in"));
    let place = || browser.script("return location.href", &[]);
    browser.wait_until("a page of its own", || {
        (place() == "chrome-error://chromewebdata/").then_some(())
    });
    browser.leave();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_portal_of_the_internet_reaches_a_gateway_on_this_machine_if_the_user_permits_it() {
    let world = World::start(true).await;
    let browser = world.manner().far_away(world.front.address).start();
    browser.goto(&format!("{}/sandbox/", world.seed.portal_url));
    // Chromium asks before a page of the internet may reach this machine, and waits for the answer.
    browser.permit("loopback-network");
    browser.goto(&format!("{}/sandbox/app", world.seed.portal_url));
    browser.wait_until("installFinish was called", || {
        (browser.text_of("#state") == "finished").then_some(())
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn another_origin_cannot_frame_what_an_installation_answers() {
    let world = World::start(false).await;
    // Everything is genuine but the page around it.
    let seed = world.portal.seed();
    let domain = seed.portal_url.split("://").nth(1).unwrap().replace(':', "%3A");
    let fields = [
        ("AUTH_ID", seed.access_token.as_str()),
        ("AUTH_EXPIRES", "3600"),
        ("REFRESH_ID", seed.refresh_token.as_str()),
        ("member_id", seed.member_id.as_str()),
        ("status", "L"),
        ("PLACEMENT", "DEFAULT"),
    ];
    let field = |(name, value): (&str, &str)| {
        format!("<input type=\"hidden\" name=\"{name}\" value=\"{value}\">")
    };
    let page = format!(
        "<!doctype html><form id=\"form\" method=\"post\" target=\"in\" \
         action=\"{}/install?DOMAIN={domain}&PROTOCOL=0&APP_SID=1\">{}</form>\
         <iframe name=\"in\" id=\"in\"></iframe>\
         <script>document.getElementById(\"form\").submit()</script>",
        world.public_url,
        fields.map(field).concat()
    );
    let evil = Listener::start(&page).await;
    let browser = world.browser();
    browser.goto(&format!("http://{}/", evil.address));
    assert_not_framed(&browser);
    // It was the answer to an installation that was not shown, and no refusal of it.
    assert_eq!(http::get(world.gate.address, "/rest/profile").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_page_of_the_operator_can_be_framed() {
    let world = World::start(false).await;
    let page = format!("<!doctype html><iframe id=\"in\" src=\"{}\">", world.status_page());
    let evil = Listener::start(&page).await;
    let browser = world.browser();
    browser.goto(&format!("http://{}/", evil.address));
    assert_not_framed(&browser);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_forged_form_is_answered_with_a_page_that_runs_nothing() {
    let world = World::start(false).await;
    let order = json!({"form": {"AUTH_ID": "0".repeat(70)}});
    let answer = world.portal.control().install(&order).await.unwrap();
    assert_eq!(answer["status"], 403);
    let policy = answer["headers"]["content-security-policy"].as_str().unwrap();
    assert!(policy.contains("default-src 'none'") && !policy.contains("script-src"), "{policy}");
}
