//! The OAuth server.

use serde_json::json;

use super::{Bench, Reply, call};
use crate::sandbox::{Options, Rotation, Seed, text};

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
async fn app_info_of_the_oauth_host_names_client_and_installation() {
    let bench = Bench::with(Options::apart()).await;
    bench.control.switch(&json!({"token_ttl_ms": 86_400_000})).unwrap();
    let target = format!("/rest/app.info?auth={}", bench.seed.access_token);
    let reply = call(bench.sandbox.oauth_address(), "GET", &target, &[], b"").await;
    let info = reply.result();
    assert_eq!(info["client_id"], bench.seed.client_id);
    assert_eq!(info["install"]["member_id"], bench.seed.member_id);
    assert_eq!(info["install"]["client_endpoint"], bench.seed.token_response["client_endpoint"]);
    let later = |hours: u64| text::iso8601(text::unix_seconds() + hours * 3_600);
    let expires = info["expires"].as_str().unwrap();
    assert!(*expires > *later(0) && *expires < *later(2), "this token's own: {expires}");
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

#[tokio::test]
async fn app_info_names_the_owner_of_the_token_and_the_owners_own_portal() {
    let bench = Bench::with(Options::apart()).await;
    let port = bench.sandbox.address().port();
    let other = bench.control.seed_at(
        "ffffffffffffffffffffffffffffffff",
        3,
        &format!("http://localhost:{port}/"),
    );
    let target = format!("/rest/app.info?auth={}", other.access_token);
    let info = call(bench.sandbox.oauth_address(), "GET", &target, &[], b"").await.result();
    assert_eq!(info["user_id"], 3);
    assert_eq!(info["install"]["member_id"], other.member_id);
    assert_eq!(info["install"]["domain"], format!("localhost:{port}"));
    assert_eq!(info["install"]["client_endpoint"], format!("http://localhost:{port}/rest/"));
    assert_eq!(other.portal_url, format!("http://localhost:{port}"));
    let renewed = refresh(&bench, &other).await.json();
    assert_eq!(renewed["client_endpoint"], format!("http://localhost:{port}/rest/"));
    let first = format!("/rest/app.info?auth={}", bench.seed.access_token);
    let info = call(bench.sandbox.oauth_address(), "GET", &first, &[], b"").await.result();
    assert_eq!(
        (&info["user_id"], &info["install"]["domain"]),
        (&json!(1), &json!(bench.sandbox.address().to_string()))
    );
}

#[tokio::test]
async fn a_token_is_good_at_its_own_portal_only_where_portals_have_names_of_their_own() {
    let bench = Bench::start().await;
    let other = bench.control.seed_at("ffffffffffffffffffffffffffffffff", 3, "http://other.test");
    let ask = async |token: &str| {
        let head = format!(
            "GET /rest/profile?auth={token} HTTP/1.1\r\nHost: other.test\r\nConnection: close\r\n\r\n"
        );
        super::parse(&super::send(bench.sandbox.address(), head.as_bytes()).await)
    };
    assert_eq!(ask(&other.access_token).await.status, 200);
    assert_eq!(ask(&bench.seed.access_token).await.error(), "invalid_token");
}

#[tokio::test]
async fn users_have_names_of_their_own() {
    let bench = Bench::start().await;
    let other = bench.control.seed_for(&bench.seed.member_id, 2);
    let name = async |token: &str| {
        let user = bench.get(&format!("/rest/user.current?auth={token}")).await.result();
        let profile = bench.get(&format!("/rest/profile?auth={token}")).await.result();
        assert_eq!((&user["ID"], &user["LAST_NAME"]), (&profile["ID"], &profile["LAST_NAME"]));
        (user["NAME"].as_str().unwrap().to_owned(), profile["ADMIN"] == true)
    };
    assert_eq!(name(&bench.seed.access_token).await, ("Ada".to_owned(), true));
    assert_eq!(name(&other.access_token).await, ("Grace".to_owned(), false));
}
