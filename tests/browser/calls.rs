//! The page of the latest calls.

use serde_json::json;

use crate::support::calls::fault;
use crate::support::http;
use crate::world::{World, complaints};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_latest_calls_are_a_click_away_and_come_by_themselves() {
    let world = World::connected().await;
    let call = async |target: &str| http::get(world.gate.address, target).await.status;
    assert_eq!(call("/rest/profile").await, 200);
    assert_eq!(call("/rest/crm.deal.list").await, 200);
    assert_eq!(call("/rest/").await, 404);
    fault(&world.portal, json!({"portal": {"mode": "reset_before_answer", "count": 1}})).await;
    assert_eq!(call("/rest/crm.deal.add").await, 502);
    let browser = world.browser();
    browser.goto(&world.status_page());
    browser.click("#calls");
    let rows = || browser.all(".calls tbody tr").len();
    browser.wait_until("four calls", || (rows() == 4).then_some(()));
    assert_eq!(browser.all(".calls .unknown").len(), 1);
    assert_eq!(call("/rest/user.current").await, 200);
    browser.wait_until("the fifth, without a click", || (rows() == 5).then_some(()));
    assert!(browser.text_of(".calls tbody tr").contains("user.current"));
    browser.screenshot("calls");
    assert_eq!(complaints(&browser), Vec::<String>::new());
}
