//! The pages that a user's browser sees: authorization, and its way back.

use serde_json::json;

use super::Bench;

fn location(head: &str) -> &str {
    head.lines().find_map(|line| line.strip_prefix("Location: ")).unwrap()
}

#[tokio::test]
async fn the_browser_comes_back_with_a_code_that_works_once() {
    let bench = Bench::start().await;
    bench.control.switch(&json!({"redirect_uri": "http://127.0.0.1:9/cb?x=1"})).unwrap();
    let target = format!("/oauth/authorize/?client_id={}&state=s%20t", bench.seed.client_id);
    let reply = bench.get(&target).await;
    let location = reply.head.lines().find_map(|line| line.strip_prefix("Location: ")).unwrap();
    assert_eq!(reply.status, 302);
    assert!(location.starts_with("http://127.0.0.1:9/cb?x=1&code="));
    assert!(location.contains("&state=s%20t&"));
    let code = location.split("code=").nth(1).unwrap().split('&').next().unwrap();
    let body = format!(
        "grant_type=authorization_code&client_id={}&client_secret={}&code={code}",
        bench.seed.client_id, bench.seed.client_secret
    );
    assert_eq!(bench.form("/oauth/token/", &body).await.status, 200);
    assert_eq!(bench.form("/oauth/token/", &body).await.error(), "invalid_grant");
    assert_eq!(bench.get("/oauth/authorize/?client_id=x").await.status, 200, "a page, no redirect");
}

#[tokio::test]
async fn a_user_who_is_asked_can_refuse_and_nothing_comes_back() {
    let bench = Bench::start().await;
    let changes = json!({"redirect_uri": "http://127.0.0.1:9/cb", "authorize_page": true});
    bench.control.switch(&changes).unwrap();
    let target = format!("/oauth/authorize/?client_id={}&state=s", bench.seed.client_id);
    let page = bench.get(&target).await;
    let text = String::from_utf8(page.body).unwrap();
    assert_eq!((page.status, text.matches("<button").count()), (200, 2));
    assert!(text.contains("Ada Lovelace"), "{text}");
    let refused = bench.form(&target, "answer=refuse").await;
    assert_eq!(refused.status, 200);
    assert!(!refused.head.contains("Location"), "{}", refused.head);
    let allowed = bench.form(&target, "answer=allow").await;
    assert_eq!(allowed.status, 302);
    let back = location(&allowed.head);
    for part in ["code=", "state=s", "domain=", "member_id=", "scope=crm%2C", "server_domain="] {
        assert!(back.contains(part), "{part} in {back}");
    }
}

#[tokio::test]
async fn the_requests_own_redirect_uri_counts_on_old_portals_only() {
    let bench = Bench::start().await;
    let target = format!(
        "/oauth/authorize/?client_id={}&redirect_uri=http%3A%2F%2F127.0.0.1%3A9%2Fown",
        bench.seed.client_id
    );
    assert_eq!(bench.get(&target).await.status, 200, "not heard");
    bench.control.switch(&json!({"redirect_uri_from_request": true})).unwrap();
    assert!(location(&bench.get(&target).await.head).starts_with("http://127.0.0.1:9/own?code="));
    bench.control.switch(&json!({"redirect_uri": "http://127.0.0.1:9/set"})).unwrap();
    assert!(location(&bench.get(&target).await.head).starts_with("http://127.0.0.1:9/set?code="));
}

#[tokio::test]
async fn an_app_without_an_address_gets_a_short_code_to_type_in() {
    let bench = Bench::start().await;
    let target = format!("/oauth/authorize/?client_id={}", bench.seed.client_id);
    let page = String::from_utf8(bench.get(&target).await.body).unwrap();
    let code = page.split("id=\"code\">").nth(1).unwrap().split('<').next().unwrap();
    assert!(code.len() == 6 && code.bytes().all(|byte| byte.is_ascii_digit()), "{code}");
    assert_eq!(bench.form("/oauth/token/", &exchange(&bench, code)).await.status, 200);
}

#[tokio::test]
async fn the_way_back_has_no_fixed_order() {
    let bench = Bench::start().await;
    let changes = json!({"redirect_uri": "http://127.0.0.1:9/cb", "shuffle_redirect": true});
    bench.control.switch(&changes).unwrap();
    let target = format!("/oauth/authorize/?client_id={}&state=s", bench.seed.client_id);
    let mut orders = std::collections::BTreeSet::new();
    for _ in 0..64 {
        let head = bench.get(&target).await.head;
        let query = location(&head).split('?').nth(1).unwrap();
        let names: Vec<_> = query.split('&').map(|pair| pair.split('=').next().unwrap()).collect();
        assert_eq!(names.len(), 6);
        orders.insert(names.join(" "));
    }
    assert!(orders.len() > 1, "{orders:?}");
}

#[tokio::test]
async fn the_code_is_of_the_user_whose_browser_it_is() {
    let bench = Bench::start().await;
    let changes = json!({"redirect_uri": "http://127.0.0.1:9/cb", "browser_user": 7});
    bench.control.switch(&changes).unwrap();
    let target = format!("/oauth/authorize/?client_id={}", bench.seed.client_id);
    let head = bench.get(&target).await.head;
    let code = location(&head).split("code=").nth(1).unwrap().split('&').next().unwrap().to_owned();
    let pair = bench.form("/oauth/token/", &exchange(&bench, &code)).await.json();
    assert_eq!(pair["user_id"], 7);
    let other = bench.control.code_for("ffffffffffffffffffffffffffffffff", 9);
    let pair = bench.form("/oauth/token/", &exchange(&bench, &other)).await.json();
    assert_eq!((&pair["user_id"], &pair["member_id"]), (&json!(9), &json!("f".repeat(32))));
}

#[tokio::test]
async fn a_code_that_is_no_more_than_a_signature_works_twice() {
    let bench = Bench::start().await;
    bench.control.switch(&json!({"codes_work_once": false})).unwrap();
    let body = exchange(&bench, &bench.control.code());
    assert_eq!(bench.form("/oauth/token/", &body).await.status, 200);
    assert_eq!(bench.form("/oauth/token/", &body).await.status, 200);
}

fn exchange(bench: &Bench, code: &str) -> String {
    format!(
        "grant_type=authorization_code&client_id={}&client_secret={}&code={code}",
        bench.seed.client_id, bench.seed.client_secret
    )
}
