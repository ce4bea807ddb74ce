//! The buttons of the status page, with scripts and without.

use crate::support::browser::{Browser, Element};
use crate::support::http;
use crate::world::{World, complaints};

/// The value beside a label of the portal's card. Read without a script, so that it works where
/// none runs.
fn value(browser: &Browser, label: &str) -> String {
    let label = label.to_lowercase();
    browser.wait_until(&label, || {
        let rows = browser.all("#portal-acme dl div");
        let mut texts = rows.iter().filter_map(Element::text).map(|text| text.replace('\n', " "));
        let row = texts.find(|text| text.to_lowercase().starts_with(&label))?;
        Some(row[label.len()..].trim().to_owned())
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn refresh_now_renews_the_token_and_disable_takes_the_portal_out_of_service() {
    let world = World::connected().await;
    let browser = world.browser();
    browser.goto(&world.status_page());
    assert_eq!(value(&browser, "Generation"), "1");
    browser.click("#refresh-acme");
    browser.wait_until("the next generation", || {
        (browser.text_of("#portal-acme").contains("Generation")
            && value(&browser, "Generation") == "2")
            .then_some(())
    });
    assert_eq!(world.portal.control().exchanges(), 1);

    browser.click("#switch-acme");
    browser.wait_until("disabled", || {
        (browser.text_of("#portal-acme .pill") == "disabled").then_some(())
    });
    let refused = http::get(world.gate.address, "/rest/profile").await;
    assert_ne!(refused.status, 200, "{}", refused.text());
    browser.screenshot("status-disabled");
    browser.click("#switch-acme");
    browser.wait_until("enabled", || {
        (browser.text_of("#portal-acme .pill") == "connected").then_some(())
    });
    assert_eq!(http::get(world.gate.address, "/rest/profile").await.status, 200);
    assert_eq!(complaints(&browser), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_status_page_is_whole_and_works_where_no_script_runs() {
    let world = World::connected().await;
    let browser = world.manner().without_scripts().start();
    browser.goto(&world.status_page());
    assert_eq!(value(&browser, "Generation"), "1");
    let note = browser.read("noscript p");
    assert!(note.contains("Load the page again"), "{note}");
    browser.screenshot("status-without-scripts");
    browser.click("#switch-acme");
    let pill = || browser.all("#portal-acme .pill").first().and_then(Element::text);
    browser.wait_until("disabled", || pill().filter(|pill| pill == "disabled"));
    browser.click("#switch-acme");
    browser.wait_until("enabled", || pill().filter(|pill| pill == "connected"));

    browser.click("#connect-acme");
    browser.follow();
    browser.click("#allow");
    browser
        .wait_until("the login has ended", || browser.url().contains("/oauth/done").then_some(()));
    assert_eq!(browser.read("h1"), "acme is connected");
}
