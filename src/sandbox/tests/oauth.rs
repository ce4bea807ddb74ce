//! The OAuth server.

use serde_json::json;

use super::{Bench, Reply, call};
use crate::sandbox::{Options, Rotation, Seed};

async fn refresh(bench: &Bench, seed: &Seed) -> Reply {
    bench.form("/oauth/token/", &body(seed, &seed.refresh_token)).await
}

fn body(seed: &Seed, refresh_token: &str) -> String {
    format!(
        "grant_type=refresh_token&client_id={}&client_secret={}&refresh_token={refresh_token}",
        seed.client_id, seed.client_secret
    )
}

#[tokio::test]
async fn a_refresh_gives_a_new_pair_of_the_true_shape() {
    let bench = Bench::start().await;
    let reply = refresh(&bench, &bench.seed).await;
    assert_eq!(reply.status, 200);
    assert!(reply.has("Cache-Control: no-store"));
    let pair = reply.json();
    assert_eq!(pair["access_token"].as_str().unwrap().len(), 70);
    assert_eq!((&pair["expires_in"], &pair["user_id"]), (&json!(3600), &json!(1)));
    assert_eq!(pair["member_id"], bench.seed.member_id);
    assert_eq!(pair["client_endpoint"], format!("http://{}/rest/", bench.sandbox.address()));
    assert_eq!(bench.control.exchanges(), 1);
    let token = pair["access_token"].as_str().unwrap();
    assert_eq!(bench.get(&format!("/rest/profile?auth={token}")).await.status, 200);
    assert_eq!(bench.bearer("/rest/profile").await.error(), "expired_token", "the old one died");
    let query = body(&bench.seed, pair["refresh_token"].as_str().unwrap());
    assert_eq!(bench.get(&format!("/oauth/token/?{query}")).await.status, 200, "GET works, too");
}

#[tokio::test]
async fn a_refresh_token_works_once_unless_rotation_is_lenient() {
    let bench = Bench::start().await;
    refresh(&bench, &bench.seed).await;
    let again = refresh(&bench, &bench.seed).await;
    assert_eq!((again.status, again.error().as_str()), (400, "invalid_grant"));
    assert_eq!(bench.control.exchanges(), 1);
    let options = Options { rotation: Rotation::Lenient, ..Options::default() };
    let lenient = Bench::with(options).await;
    refresh(&lenient, &lenient.seed).await;
    assert_eq!(refresh(&lenient, &lenient.seed).await.status, 200);
}

#[tokio::test]
async fn the_old_access_token_lives_on_when_its_switch_is_off() {
    let bench = Bench::start().await;
    bench.control.switch(&json!({"old_access_dies": false})).unwrap();
    refresh(&bench, &bench.seed).await;
    assert_eq!(bench.bearer("/rest/profile").await.status, 200);
}

#[tokio::test]
async fn every_mistake_has_its_status() {
    let bench = Bench::start().await;
    let good = body(&bench.seed, &bench.seed.refresh_token);
    for (query, status, code) in [
        (good.replace(&bench.seed.client_id, "x"), 200, "wrong_client"),
        (good.replace(&bench.seed.client_secret, "x"), 400, "invalid_client"),
        (good.replace(&bench.seed.refresh_token, "x"), 400, "invalid_grant"),
        (good.replace("grant_type=refresh_token", ""), 400, "invalid_request"),
        (good.replace("grant_type=refresh_token", "grant_type=x"), 400, "unsupported_grant_type"),
    ] {
        let reply = bench.form("/oauth/token/", &query).await;
        assert_eq!((reply.status, reply.error().as_str()), (status, code));
    }
    bench.control.kill_chain();
    assert_eq!(refresh(&bench, &bench.seed).await.error(), "invalid_grant");
    assert_eq!(bench.control.exchanges(), 0);
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
async fn app_info_of_the_oauth_host_names_client_and_installation() {
    let bench = Bench::with(Options::apart()).await;
    let target = format!("/rest/app.info?auth={}", bench.seed.access_token);
    let reply = call(bench.sandbox.oauth_address(), "GET", &target, &[], b"").await;
    let info = reply.result();
    assert_eq!(info["client_id"], bench.seed.client_id);
    assert_eq!(info["install"]["member_id"], bench.seed.member_id);
    assert_eq!(info["install"]["client_endpoint"], bench.seed.token_response["client_endpoint"]);
    let bad = call(bench.sandbox.oauth_address(), "GET", "/rest/app.info?auth=x", &[], b"").await;
    assert_eq!(bad.error(), "invalid_client");
}

#[tokio::test]
async fn many_portals_live_at_one_address() {
    let bench = Bench::start().await;
    let other = bench.control.seed_for("ffffffffffffffffffffffffffffffff", 7);
    let reply = refresh(&bench, &other).await.json();
    assert_eq!(reply["member_id"], other.member_id);
    assert_eq!(reply["user_id"], 7);
    assert_eq!(bench.bearer("/rest/profile").await.status, 200, "chains are independent");
}
