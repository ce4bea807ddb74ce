//! From "Connect" to a status page that says so.

use crate::support::http;
use crate::world::{World, complaints};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn connect_leads_through_the_portal_to_a_status_page_that_says_so_by_itself() {
    let world = World::start(false).await;
    let browser = world.browser();
    browser.goto(&world.status_page());
    let card = || browser.text_of("#portal-acme");
    assert!(card().contains("nobody"), "{}", card());
    browser.screenshot("status-not-connected");
    // What only this very page has: it is not loaded again.
    browser.script("window.seen = 'before'", &[]);

    browser.click("#connect-acme");
    browser.follow();
    browser.click("#allow");
    browser
        .wait_until("the login has ended", || browser.url().contains("/oauth/done").then_some(()));
    let done = browser.url();
    assert!(done.starts_with(&world.public_url), "{done}");
    assert!(!done.contains("code="), "no code stays where a browser keeps it: {done}");
    let said = browser.read("h1");
    assert_eq!(said, "acme is connected");
    browser.screenshot("login-done");
    browser.close();

    browser.wait_until("the status page shows the user", || {
        card().contains("Ada Lovelace").then_some(())
    });
    browser.wait_until("and the state", || {
        (browser.text_of("#portal-acme .pill") == "connected").then_some(())
    });
    assert_eq!(browser.script("return window.seen", &[]), "before");
    browser.screenshot("status-connected");
    assert_eq!(complaints(&browser), Vec::<String>::new());
    assert_eq!(http::get(world.gate.address, "/rest/profile").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_user_who_refuses_leaves_everything_as_it_was() {
    let world = World::start(false).await;
    let browser = world.browser();
    browser.goto(&world.status_page());
    browser.click("#connect-acme");
    browser.follow();
    browser.click("#refuse");
    browser
        .wait_until("the portal's own page", || (browser.text_of("h1") == "Refused").then_some(()));
    assert_eq!(world.portal.control().exchanges(), 0);
    browser.close();
    browser.goto(&world.status_page());
    assert!(browser.text_of("#portal-acme").contains("nobody"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_link_that_is_opened_in_another_browser_connects_nobody() {
    let world = World::start(false).await;
    let (victim, other) = (world.browser(), world.browser());
    other.goto(&world.status_page());
    other.click("#connect-acme");
    other.follow();
    // The address with the state, in the hands of somebody else.
    let authorize = other.wait_until("the portal asks", || {
        let url = other.url();
        url.contains("/oauth/authorize/").then_some(url)
    });
    victim.goto(&authorize);
    victim.click("#allow");
    victim.wait_until("it is not taken", || {
        victim.text_of("body").contains("another browser").then_some(())
    });
    assert_eq!(world.portal.control().exchanges(), 0);
}
