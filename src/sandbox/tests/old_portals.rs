//! Old portals, which are their own OAuth server.

use serde_json::json;

use super::Bench;

fn query(bench: &Bench) -> String {
    format!(
        "grant_type=refresh_token&client_id={}&client_secret={}&refresh_token={}",
        bench.seed.client_id, bench.seed.client_secret, bench.seed.refresh_token
    )
}

#[tokio::test]
async fn an_old_portal_wants_to_know_the_redirect_uri_and_the_scope() {
    let bench = Bench::start().await;
    bench.control.switch(&json!({"oauth_wants_redirect_uri": true})).unwrap();
    let back = "redirect_uri=http%3A%2F%2F127.0.0.1%3A9%2Fcb";
    for (more, status) in [
        (String::new(), 400),
        (format!("&{back}"), 400),
        ("&scope=crm".to_owned(), 400),
        (format!("&{back}&scope=crm"), 200),
    ] {
        let reply = bench.get(&format!("/oauth/token/?{}{more}", query(&bench))).await;
        assert_eq!(reply.status, status, "{more}");
        assert_eq!(reply.body.starts_with(b"<html>"), status == 400, "{more}");
    }
    assert_eq!(bench.control.exchanges(), 1);
}

#[tokio::test]
async fn an_old_portal_can_answer_with_the_tokens_in_a_redirect() {
    let bench = Bench::start().await;
    bench.control.switch(&json!({"oauth_answer": "redirect"})).unwrap();
    let back = "redirect_uri=http%3A%2F%2F127.0.0.1%3A9%2Fcb%3Fx%3D1";
    let reply = bench.get(&format!("/oauth/token/?{}&{back}", query(&bench))).await;
    assert_eq!(reply.status, 302);
    let location = reply.head.lines().find_map(|line| line.strip_prefix("Location: ")).unwrap();
    assert!(location.starts_with("http://127.0.0.1:9/cb?x=1&access_token="), "{location}");
    for part in ["&refresh_token=", "&expires_in=3600", "&member_id=", "&domain="] {
        assert!(location.contains(part), "{part} in {location}");
    }
    let token = location.split("access_token=").nth(1).unwrap().split('&').next().unwrap();
    assert_eq!(bench.get(&format!("/rest/profile?auth={token}")).await.status, 200);
}
