//! Events on the wire.

use serde_json::{Value as Json, json};

use super::Bench;
use super::handler::{Handler, Told, field};
use crate::sandbox::value::Value;

/// Sends an event and gives what the app was told.
async fn told(bench: &Bench, mut order: Json) -> Told {
    let app = Handler::start().await;
    order["url"] = json!(app.url("/events"));
    let answer = bench.control.event(&order).await.unwrap();
    assert_eq!(answer["status"], 201);
    app.told()
}

fn names(form: &Value, block: &str) -> Vec<String> {
    form.get(block).unwrap().entries().iter().map(|(name, _)| name.clone()).collect()
}

#[tokio::test]
async fn an_event_is_a_form_with_encoded_brackets_in_which_all_is_text() {
    let bench = Bench::start().await;
    let order =
        json!({"event": "OnCrmDealAdd", "data": {"FIELDS": {"ID": 7}}, "ts": 1_766_047_124});
    let told = told(&bench, order).await;
    assert!(told.head.contains("content-type: application/x-www-form-urlencoded"));
    assert!(told.head.contains("user-agent: Bitrix24 Webhook Engine"), "{}", told.head);
    let begin = "event=ONCRMDEALADD&event_handler_id=185&data%5BFIELDS%5D%5BID%5D=7&ts=1766047124\
                 &auth%5Baccess_token%5D=";
    assert!(told.body.starts_with(begin), "{}", told.body);
    let expected = "access_token expires expires_in scope domain server_endpoint status \
                    client_endpoint member_id user_id application_token";
    assert_eq!(names(&told.form(), "auth").join(" "), expected);
    assert_eq!(field(&told.form(), &["auth", "expires_in"]).as_deref(), Some("3600"));
}

#[tokio::test]
async fn only_the_events_that_carry_tokens_do() {
    let bench = Bench::start().await;
    for (event, access, refresh, proof) in [
        ("ONAPPINSTALL", true, true, true),
        ("ONAPPUPDATE", true, true, true),
        ("ONSUBSCRIPTIONRENEW", true, true, true),
        ("ONAPPTEST", true, true, true),
        ("ONOFFLINEEVENT", true, true, true),
        ("ONCRMDEALUPDATE", true, false, true),
        ("ONAPPUNINSTALL", false, false, true),
        ("ONAPPPAYMENT", false, false, false),
        ("ONAPPMETHODCONFIRM", false, false, true),
    ] {
        let form = told(&bench, json!({"event": event})).await.form();
        let auth = names(&form, "auth");
        let has = |name: &str| auth.iter().any(|known| known == name);
        let seen = (has("access_token"), has("refresh_token"), has("application_token"));
        assert_eq!(seen, (access, refresh, proof), "{event}");
        assert_eq!(has("user_id"), access, "{event}");
    }
    let form = told(&bench, json!({"event": "ONCRMDEALUPDATE", "without_user": true})).await.form();
    assert_eq!(field(&form, &["auth", "access_token"]), None, "a robot's doing");
}

#[tokio::test]
async fn each_event_of_the_apps_life_tells_what_it_is_about() {
    let bench = Bench::start().await;
    for (event, data) in [
        ("ONAPPINSTALL", "VERSION ACTIVE INSTALLED LANGUAGE_ID"),
        ("ONAPPUPDATE", "VERSION PREVIOUS_VERSION LANGUAGE_ID"),
        ("ONAPPUNINSTALL", "LANGUAGE_ID CLEAN"),
        ("ONAPPPAYMENT", "CODE VERSION STATUS PAYMENT_EXPIRED DAYS LANGUAGE_ID"),
        ("ONAPPMETHODCONFIRM", "TOKEN METHOD CONFIRMED LANGUAGE_ID"),
    ] {
        let form = told(&bench, json!({"event": event})).await.form();
        assert_eq!(names(&form, "data").join(" "), data, "{event}");
    }
    let form = told(&bench, json!({"event": "ONAPPMETHODCONFIRM"})).await.form();
    let token = field(&form, &["data", "TOKEN"]).unwrap();
    assert_eq!(bench.get(&format!("/rest/profile?auth={token}")).await.status, 200);
}

#[tokio::test]
async fn the_tokens_of_an_event_are_the_acting_users_and_work() {
    let bench = Bench::start().await;
    let form = told(&bench, json!({"event": "ONAPPINSTALL", "user_id": 2})).await.form();
    let token = field(&form, &["auth", "access_token"]).unwrap();
    let user = bench.get(&format!("/rest/profile?auth={token}")).await.result();
    assert_eq!(user["ID"], "2");
    let body = format!(
        "grant_type=refresh_token&client_id={}&client_secret={}&refresh_token={}",
        bench.seed.client_id,
        bench.seed.client_secret,
        field(&form, &["auth", "refresh_token"]).unwrap()
    );
    assert_eq!(bench.form("/oauth/token/", &body).await.json()["user_id"], 2);
    let proof = bench.control.application_token(&bench.seed.member_id);
    assert_eq!(field(&form, &["auth", "application_token"]), Some(proof));
}

#[tokio::test]
async fn fields_of_an_event_can_be_forged_and_left_out() {
    let bench = Bench::start().await;
    let order = json!({
        "event": "ONAPPINSTALL", "auth": {"domain": "evil.test", "member_id": null},
        "data": {"VERSION": null},
    });
    let form = told(&bench, order).await.form();
    assert_eq!(field(&form, &["auth", "domain"]).as_deref(), Some("evil.test"));
    assert_eq!(field(&form, &["auth", "member_id"]), None);
    assert_eq!(field(&form, &["data", "VERSION"]), None);
    assert!(bench.control.event(&json!({"event": "X"})).await.is_err(), "no address");
    assert!(bench.control.event(&json!({"url": "http://127.0.0.1:9"})).await.is_err(), "no event");
}

#[tokio::test]
async fn an_uninstallation_is_told_with_the_proof_of_the_time_before() {
    let (bench, app) = (Bench::start().await, Handler::start().await);
    let proof = bench.control.application_token(&bench.seed.member_id);
    let order = json!({"url": app.url("/events"), "clean": true, "ts": 5});
    let answer = bench.control.uninstall(&order).await.unwrap();
    assert_eq!(answer["event"]["status"], 201);
    let form = app.told().form();
    assert_eq!(field(&form, &["event"]).as_deref(), Some("ONAPPUNINSTALL"));
    assert_eq!(field(&form, &["data", "CLEAN"]).as_deref(), Some("1"));
    assert_eq!(field(&form, &["ts"]).as_deref(), Some("5"));
    assert_eq!(field(&form, &["auth", "application_token"]), Some(proof));
    assert_eq!(bench.bearer("/rest/profile").await.status, 401);
}
