//! The app's page, and what installing and uninstalling does to tokens.

use serde_json::json;

use super::handler::{Handler, field};
use super::{Bench, call};
use crate::sandbox::Options;

#[tokio::test]
async fn an_install_posts_what_a_browser_posts() {
    let (bench, app) = (Bench::start().await, Handler::start().await);
    let url = app.url("/install?own=1");
    let answer = bench.control.install(&json!({"url": url, "user_id": 3})).await.unwrap();
    assert_eq!((&answer["status"], &answer["body"]), (&json!(201), &json!("there")));
    assert_eq!(answer["headers"]["x-app"], "yes");
    let told = app.told();
    assert!(told.head.starts_with("POST /install?own=1&DOMAIN="), "{}", told.head);
    assert!(told.head.contains("content-type: application/x-www-form-urlencoded"));
    let (query, form) = (told.query(), told.form());
    let domain = bench.sandbox.address().to_string();
    assert_eq!(field(&query, &["DOMAIN"]), Some(domain));
    assert_eq!(field(&query, &["PROTOCOL"]).as_deref(), Some("0"));
    assert!(field(&query, &["LANG"]).is_some() && field(&query, &["APP_SID"]).is_some());
    let names: Vec<_> = form.entries().iter().map(|(name, _)| name.as_str()).collect();
    let expected = "AUTH_ID AUTH_EXPIRES REFRESH_ID SERVER_ENDPOINT APPLICATION_TOKEN \
                    APPLICATION_SCOPE member_id status PLACEMENT PLACEMENT_OPTIONS";
    assert_eq!(names.join(" "), expected);
    assert_eq!(field(&form, &["AUTH_EXPIRES"]).as_deref(), Some("3600"));
    assert_eq!(field(&form, &["member_id"]), Some(bench.seed.member_id.clone()));
    let token = field(&form, &["AUTH_ID"]).unwrap();
    let user = bench.get(&format!("/rest/profile?auth={token}")).await.result();
    assert_eq!(user["ID"], "3", "the token is that of whoever opened the page");
}

#[tokio::test]
async fn fields_of_an_install_can_be_forged_and_left_out() {
    let (bench, app) = (Bench::start().await, Handler::start().await);
    bench.control.switch(&json!({"page_application_token": false})).unwrap();
    let order = json!({
        "url": app.url("/"), "member_id": "f".repeat(32),
        "query": {"DOMAIN": "evil.test", "LANG": null},
        "form": {"AUTH_ID": "forged", "status": null}, "headers": {"origin": "http://evil.test"},
    });
    bench.control.install(&order).await.unwrap();
    let told = app.told();
    let (query, form) = (told.query(), told.form());
    assert_eq!(field(&query, &["DOMAIN"]).as_deref(), Some("evil.test"));
    assert_eq!(field(&form, &["AUTH_ID"]).as_deref(), Some("forged"));
    assert_eq!(field(&form, &["member_id"]), Some("f".repeat(32)));
    assert!(told.head.contains("origin: http://evil.test"), "{}", told.head);
    for (form, name) in [(&query, "LANG"), (&form, "status"), (&form, "APPLICATION_TOKEN")] {
        assert_eq!(field(form, &[name]), None, "{name}");
    }
    let misspelt = bench.control.install(&json!({"urll": "x"})).await.unwrap_err();
    assert!(misspelt.contains("urll"), "{misspelt}");
    assert!(bench.control.install(&json!({})).await.is_err(), "there is nobody to post to");
}

#[tokio::test]
async fn the_page_around_an_app_posts_its_form_into_a_frame() {
    let bench = Bench::start().await;
    let target = "/sandbox/app?url=http%3A%2F%2F127.0.0.1%3A9%2Fin%3Fa%3D%22b&user_id=2";
    let page = bench.get(target).await;
    let text = String::from_utf8(page.body).unwrap();
    assert_eq!(page.status, 200);
    assert!(text.contains("action=\"http://127.0.0.1:9/in?a=&quot;b&amp;DOMAIN=127.0.0.1%3A"));
    assert!(text.contains("data-origin=\"http://127.0.0.1:9\""), "{text}");
    assert!(text.contains("Grace Hopper") && text.contains("name=\"AUTH_ID\" value=\""));
    assert_eq!(bench.get("/sandbox/app").await.status, 400, "no app has this address");
    bench.control.switch(&json!({"handler_url": "http://127.0.0.1:9/set"})).unwrap();
    let text = String::from_utf8(bench.get("/sandbox/app").await.body).unwrap();
    assert!(text.contains("action=\"http://127.0.0.1:9/set?DOMAIN="), "{text}");
    let library = bench.get("/api/v1/").await;
    assert!(library.has("Content-Type: application/javascript; charset=utf-8"));
}

#[tokio::test]
async fn an_installation_with_a_wizard_is_complete_when_the_page_says_so() {
    let (bench, app) = (Bench::with(Options::apart()).await, Handler::start().await);
    let installed = async || {
        let target = format!("/rest/app.info?auth={}", bench.seed.access_token);
        let reply = call(bench.sandbox.oauth_address(), "GET", &target, &[], b"").await;
        reply.result()["install"]["installed"].clone()
    };
    assert_eq!(installed().await, true, "an app without a wizard");
    bench.control.switch(&json!({"installed": false})).unwrap();
    assert_eq!(installed().await, false);
    bench.control.install(&json!({"url": app.url("/")})).await.unwrap();
    let sid = field(&app.told().query(), &["APP_SID"]).unwrap();
    assert_eq!(bench.json("/sandbox/app/finish", "{\"app_sid\":\"other\"}").await.status, 400);
    assert_eq!(installed().await, false);
    let finish = format!("{{\"app_sid\":\"{sid}\"}}");
    assert_eq!(bench.json("/sandbox/app/finish", &finish).await.status, 200);
    assert_eq!(installed().await, true);
    bench.control.reinstall(&json!({})).unwrap();
    let seed = bench.control.seed();
    let target = format!("/rest/app.info?auth={}", seed.access_token);
    let info = call(bench.sandbox.oauth_address(), "GET", &target, &[], b"").await.result();
    assert_eq!(info["install"]["installed"], false, "the wizard begins anew");
}

#[tokio::test]
async fn an_uninstallation_ends_all_tokens_of_its_portal_and_no_others() {
    let bench = Bench::start().await;
    let other = bench.control.seed_for("ffffffffffffffffffffffffffffffff", 1);
    let code = bench.control.code();
    bench.control.uninstall(&json!({})).await.unwrap();
    let live = bench.control.state()["live_access_tokens"].as_array().unwrap().len();
    assert_eq!(live, 1, "the other portal's");
    let refused = bench.bearer("/rest/profile").await;
    assert_eq!((refused.status, refused.error().as_str()), (401, "APPLICATION_NOT_FOUND"));
    let refresh = |token: &str| {
        format!(
            "grant_type=refresh_token&client_id={}&client_secret={}&refresh_token={token}",
            bench.seed.client_id, bench.seed.client_secret
        )
    };
    let reply = bench.form("/oauth/token/", &refresh(&bench.seed.refresh_token)).await;
    assert_eq!((reply.status, reply.error().as_str()), (401, "NOT_INSTALLED"));
    bench.control.switch(&json!({"uninstalled_refresh_code": "invalid_grant"})).unwrap();
    let reply = bench.form("/oauth/token/", &refresh(&bench.seed.refresh_token)).await;
    assert_eq!((reply.status, reply.error().as_str()), (400, "invalid_grant"));
    let refused = refresh("").replace("refresh_token&", "authorization_code&");
    let reply = bench
        .form("/oauth/token/", &refused.replace("refresh_token=", &format!("code={code}")))
        .await;
    assert_eq!(reply.error(), "invalid_grant");
    let target = format!("/oauth/authorize/?client_id={}", bench.seed.client_id);
    let page = String::from_utf8(bench.get(&target).await.body).unwrap();
    assert!(page.contains("Application not found"), "{page}");
    let good = bench.get(&format!("/rest/profile?auth={}", other.access_token)).await;
    assert_eq!(good.status, 200);
    assert_eq!(bench.form("/oauth/token/", &refresh(&other.refresh_token)).await.status, 200);
}

#[tokio::test]
async fn a_new_installation_has_a_new_application_token_and_none_of_the_old_tokens() {
    let bench = Bench::start().await;
    let member = bench.seed.member_id.clone();
    let before = bench.control.application_token(&member);
    assert_eq!(bench.control.application_token(&member), before, "constant until then");
    bench.control.uninstall(&json!({})).await.unwrap();
    let renewed = bench.control.reinstall(&json!({})).unwrap();
    let after = bench.control.application_token(&member);
    assert_eq!(renewed["application_token"], after);
    assert_ne!(before, after);
    assert_eq!(bench.bearer("/rest/profile").await.error(), "invalid_token");
    let fresh = bench.control.seed();
    let good = bench.get(&format!("/rest/profile?auth={}", fresh.access_token)).await;
    assert_eq!(good.status, 200);
}
