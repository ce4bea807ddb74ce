use super::*;
use crate::connect::Form;
use crate::secret::Secret;

const MEMBER: &str = "0123456789abcdef0123456789abcdef";
const OTHER: &str = "f123456789abcdef0123456789abcdef";

fn app(client_id: &str, server: &str) -> Arc<App> {
    Arc::new(App {
        name: "main".to_owned(),
        client_id: client_id.to_owned(),
        client_secret: Secret::new("S"),
        oauth_server: Endpoint::of_url(server).unwrap(),
        scope: None,
        redirect_uri: None,
        accept_installs: true,
    })
}

fn claim(more: &str) -> Claim {
    let body = format!(
        "auth[access_token]=A&auth[refresh_token]=R&auth[member_id]={MEMBER}&\
         auth[domain]=acme.bitrix24.com&auth[user_id]=7{more}"
    );
    Claim::of_event(&Form::parse(body.as_bytes()), 0).unwrap()
}

fn info() -> AppInfo {
    AppInfo {
        client_id: "local.ours".to_owned(),
        member_id: Some(MEMBER.to_owned()),
        client_endpoint: Some("https://acme.bitrix24.com/rest/".to_owned()),
        domain: Some("acme.bitrix24.com".to_owned()),
        user_id: Some(7),
        expires: None,
        installed: Some(true),
    }
}

const SERVER: &str = "https://oauth.example";

fn judged(claim: &Claim, info: AppInfo) -> Result<Verified, &'static str> {
    let apps = [app("local.ours", SERVER), app("local.theirs", "https://other.example")];
    judge(claim, &apps, &apps[0], info)
}

#[test]
fn what_the_oauth_server_confirms_in_every_point_is_believed() {
    let verified = judged(&claim(""), info()).unwrap();
    assert_eq!((verified.member_id.as_str(), verified.user_id), (MEMBER, Some(7)));
    assert_eq!(verified.app.client_id, "local.ours");
    assert_eq!(verified.client_endpoint, "https://acme.bitrix24.com/rest/");
    assert_eq!(verified.installed, Some(true));
    judged(&claim("&auth[client_endpoint]=https://acme.bitrix24.com/rest/"), info()).unwrap();
}

#[test]
fn what_it_does_not_confirm_in_one_point_is_refused() {
    let text = |text: &str| Some(text.to_owned());
    for (what, info) in [
        ("another application", AppInfo { client_id: "local.evil".to_owned(), ..info() }),
        ("one of another server", AppInfo { client_id: "local.theirs".to_owned(), ..info() }),
        ("another portal", AppInfo { member_id: text(OTHER), ..info() }),
        ("no portal", AppInfo { member_id: None, ..info() }),
        ("another user", AppInfo { user_id: Some(8), ..info() }),
        ("no user", AppInfo { user_id: None, ..info() }),
        ("elsewhere", AppInfo { client_endpoint: text("https://evil.example/rest/"), ..info() }),
        ("nowhere", AppInfo { client_endpoint: None, ..info() }),
        (
            "another port",
            AppInfo { client_endpoint: text("https://acme.bitrix24.com:1/"), ..info() },
        ),
        (
            "a user name",
            AppInfo { client_endpoint: text("https://a@acme.bitrix24.com/"), ..info() },
        ),
        ("no URL", AppInfo { client_endpoint: text("acme.bitrix24.com"), ..info() }),
        (
            "a blank",
            AppInfo { client_endpoint: text("https://acme.bitrix24.com/ rest/"), ..info() },
        ),
    ] {
        judged(&claim(""), info).map(|_| ()).expect_err(what);
    }
    let evil = claim("&auth[client_endpoint]=https://evil.example/rest/");
    judged(&evil, info()).map(|_| ()).expect_err("an address that is not confirmed");
}

#[test]
fn a_portal_arrives_from_a_public_name_and_in_development_from_this_machine() {
    let verified = |server: &str, url: &str| Verified {
        app: app("local.ours", server),
        member_id: MEMBER.to_owned(),
        user_id: None,
        client_endpoint: url.to_owned(),
        endpoint: Endpoint::of_url(url).unwrap(),
        installed: None,
    };
    let (public, local) = ("https://acme.bitrix24.com/rest/", "http://127.0.0.1:8080/rest/");
    assert!(verified(SERVER, public).may_arrive());
    assert!(!verified(SERVER, local).may_arrive());
    assert!(!verified(SERVER, "http://acme.bitrix24.com/rest/").may_arrive());
    assert!(verified("http://127.0.0.1:9", local).may_arrive());
    assert!(verified("http://127.0.0.1:9", public).may_arrive());
    assert!(!verified("http://127.0.0.1:9", "http://10.0.0.1/rest/").may_arrive());
}

#[test]
fn a_servers_word_about_a_token_is_final_and_its_troubles_are_not() {
    let failure = |kind, code: &str, sent| RefreshFailure {
        kind,
        code: code.to_owned(),
        retry_after: None,
        sent,
    };
    for (kind, code, sent, passing) in [
        (FailureKind::Configuration, "invalid_client", false, false),
        (FailureKind::Dead, "expired_token", false, false),
        (FailureKind::Transient, "invalid_token", false, false),
        (FailureKind::Transient, "NO_AUTH_FOUND", false, false),
        (FailureKind::Transient, "QUERY_LIMIT_EXCEEDED", false, true),
        (FailureKind::Transient, "connect", false, true),
        (FailureKind::Transient, "timeout", true, true),
        (FailureKind::Transient, "http_429", false, true),
        (FailureKind::Transient, "http_502", true, true),
    ] {
        assert_eq!(is_passing(&failure(kind, code, sent)), passing, "{code}");
    }
}
