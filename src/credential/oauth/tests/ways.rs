//! Codes, persons, installations, and the answers of old portals.

use super::*;

fn redirect(status: u16, location: &str) -> Line {
    Line::Raw(format!(
        "HTTP/1.1 {status} X\r\nLocation: {location}\r\nContent-Length: 6\r\n\r\n<html>"
    ))
}

/// An application of an old portal.
fn old(server: &Server) -> App {
    let redirect_uri = Some("https://x/?a=b".to_owned());
    App { scope: Some("crm,task".to_owned()), redirect_uri, ..server.app() }
}

#[tokio::test]
async fn a_code_is_exchanged_in_the_body_and_once() {
    let server = Server::start([Line::Answer(200, pair(2))]).await;
    let app = App { scope: Some("crm".to_owned()), ..server.app() };
    let code = Secret::new("C/canary");
    let grant = client(TOTAL).exchange_code(&app, &code).await.unwrap().grant().unwrap();
    assert!(grant.access.matches("A-canary-2") && grant.refresh.matches("R-canary-2"));
    let seen = server.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].verb.as_str(), seen[0].target.as_str()), ("POST", "/oauth/token/"));
    assert_eq!(
        seen[0].body,
        "grant_type=authorization_code&client_id=local.5f&client_secret=S%26canary\
         &code=C%2Fcanary&scope=crm"
    );
}

#[tokio::test]
async fn a_server_that_refuses_post_gets_the_code_with_get() {
    let server =
        Server::start([Line::Answer(405, String::new()), Line::Answer(200, pair(2))]).await;
    let oauth = client(TOTAL);
    let code = Secret::new("C");
    oauth.exchange_code(&server.app(), &code).await.unwrap().grant().unwrap();
    refresh(&oauth, &server.app(), "R").await.unwrap();
    let verbs: Vec<_> = server.seen().into_iter().map(|seen| seen.verb).collect();
    assert_eq!(verbs, ["POST", "GET", "GET"]);
    assert!(server.seen()[1].target.contains("grant_type=authorization_code"));
}

#[tokio::test]
async fn an_old_portal_is_asked_with_get_from_the_start() {
    let server = Server::start([Line::Answer(200, pair(2))]).await;
    let app = old(&server);
    refresh(&client(TOTAL), &app, "R+1").await.unwrap();
    client(TOTAL).exchange_code(&app, &Secret::new("C")).await.unwrap();
    let common = "client_id=local.5f&client_secret=S%26canary";
    let rest = "scope=crm%2Ctask&redirect_uri=https%3A%2F%2Fx%2F%3Fa%3Db";
    let targets: Vec<_> = server.seen().into_iter().map(|it| (it.verb, it.target)).collect();
    let get = |what: &str, secret: &str| {
        let target = format!("/oauth/token/?grant_type={what}&{common}&{secret}&{rest}");
        ("GET".to_owned(), target)
    };
    assert_eq!(
        targets,
        [get("refresh_token", "refresh_token=R%2B1"), get("authorization_code", "code=C")]
    );
}

#[test]
fn only_a_server_that_is_not_the_vendors_and_has_a_redirect_uri_is_old() {
    for (host, redirect_uri, expected) in [
        ("my.example.com", true, true),
        ("my.example.com", false, false),
        ("oauth.bitrix.info", true, false),
        ("oauth.bitrix24.tech", true, false),
        ("bitrix24.tech", true, false),
        ("notbitrix24.tech", true, true),
        ("oauth.bitrix.info.example.com", true, true),
    ] {
        let app = App {
            name: "main".to_owned(),
            client_id: "local.5f".to_owned(),
            client_secret: Secret::new("S"),
            oauth_server: Endpoint { tls: true, host: host.to_owned(), port: 443 },
            scope: None,
            redirect_uri: redirect_uri.then(|| "https://x/".to_owned()),
            accept_installs: false,
        };
        assert_eq!(wants_get(&app), expected, "{host} {redirect_uri}");
    }
}

#[tokio::test]
async fn a_redirect_that_carries_the_pair_is_an_answer_and_is_not_followed() {
    let elsewhere = Server::start([Line::Silent]).await;
    let to = elsewhere.endpoint();
    let server = Server::start([Line::Silent]).await;
    for location in [
        format!("{to}/?access_token=A-canary&refresh_token=R%2Dcanary&expires_in=3600&domain=x"),
        format!("{to}/#access_token=A-canary&refresh_token=R-canary&expires_in=3600"),
    ] {
        server.then(redirect(302, &location));
        let raw = client(TOTAL).exchange(&old(&server), &Secret::new("R")).await.unwrap();
        assert!(!format!("{raw:?}").contains("canary"));
        // As it is read from the journal after a crash.
        let kept = RawAnswer::from_bytes(&raw.to_bytes()).unwrap();
        for raw in [raw, kept] {
            let grant = raw.grant().unwrap();
            assert!(grant.access.matches("A-canary") && grant.refresh.matches("R-canary"));
            assert!(grant.good_until.is_some());
            assert_eq!((grant.member_id, grant.user_id, grant.client_endpoint), (None, None, None));
        }
    }
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn a_redirect_that_carries_an_error_is_judged_by_its_code_and_one_with_nothing_is_a_failure()
{
    let server = Server::start([Line::Silent]).await;
    for (location, kind, code) in [
        ("https://x/?error=invalid_grant&error_description=x", FailureKind::Dead, "invalid_grant"),
        ("https://x/#error=wrong_client", FailureKind::Configuration, "wrong_client"),
        ("https://x/?error=odd", FailureKind::Transient, "odd"),
        ("https://x/?access_token=A", FailureKind::Transient, "http_302"),
        ("https://x/", FailureKind::Transient, "http_302"),
    ] {
        server.then(redirect(302, location));
        let failure = refresh(&client(TOTAL), &old(&server), "R").await.unwrap_err();
        assert_eq!((failure.kind, failure.code.as_str()), (kind, code), "{location}");
        assert!(!failure.sent, "{location}");
    }
}

#[tokio::test]
async fn a_person_is_asked_for_where_the_portal_lives_and_with_the_token_in_the_body() {
    let user = r#"{"result":{"ID":"7","NAME":"Ada","LAST_NAME":"Lovelace"}}"#.to_owned();
    let portal = Server::start([Line::Answer(200, user.clone())]).await;
    let oauth = client(TOTAL);
    let connector = Connector::new(None).unwrap();
    let access = Secret::new("A/canary");
    let person = oauth.person(&connector, &portal.endpoint(), &access).await.unwrap();
    assert_eq!(person, Person { user_id: 7, name: "Ada Lovelace".to_owned() });
    let seen = portal.seen();
    assert_eq!((seen[0].verb.as_str(), seen[0].target.as_str()), ("POST", "/rest/user.current"));
    assert_eq!((seen[0].body.as_str(), seen.len()), ("auth=A%2Fcanary", 1));
    for (status, code) in
        [(401, "insufficient_scope"), (403, "ACCESS_DENIED"), (404, "ERROR_METHOD_NOT_FOUND")]
    {
        let refusal = Line::Answer(status, format!(r#"{{"error":"{code}"}}"#));
        let portal = Server::start([refusal, Line::Answer(200, user.clone())]).await;
        let person = oauth.person(&connector, &portal.endpoint(), &access).await.unwrap();
        assert_eq!(person.name, "Ada Lovelace");
        assert_eq!(portal.seen()[1].target, "/rest/profile", "{code}");
    }
    for (status, body) in [
        (401, r#"{"error":"expired_token"}"#),
        (200, r#"{"result":[]}"#),
        (200, r#"{"result":{"NAME":"Ada"}}"#),
        (302, ""),
    ] {
        let portal = Server::start([Line::Answer(status, body.to_owned())]).await;
        oauth.person(&connector, &portal.endpoint(), &access).await.unwrap_err();
        assert_eq!(portal.seen().len(), 1, "{body}");
    }
    let private = connector.public_only();
    let refused = oauth.person(&private, &portal.endpoint(), &access).await.unwrap_err();
    assert_eq!((refused.code.as_str(), refused.sent), ("private_address", false));
    assert!(refused.to_string().contains("private network"), "{refused}");
}

#[tokio::test]
async fn whether_an_installation_is_finished_is_read_in_every_spelling() {
    let server = Server::start([Line::Silent]).await;
    for (text, expected) in [
        ("true", Some(true)),
        ("\"true\"", Some(true)),
        ("\"Y\"", Some(true)),
        ("1", Some(true)),
        ("\"1\"", Some(true)),
        ("false", Some(false)),
        ("\"N\"", Some(false)),
        ("\"\"", Some(false)),
        ("0", Some(false)),
        ("null", None),
        ("\"perhaps\"", None),
        ("[]", None),
    ] {
        let body = format!(r#"{{"result":{{"client_id":"x","install":{{"installed":{text}}}}}}}"#);
        server.then(Line::Answer(200, body));
        let info = client(TOTAL).app_info(&server.app(), &Secret::new("A")).await.unwrap();
        assert_eq!(info.installed, expected, "{text}");
    }
    server.then(Line::Answer(200, r#"{"result":{"client_id":"x"}}"#.to_owned()));
    let info = client(TOTAL).app_info(&server.app(), &Secret::new("A")).await.unwrap();
    assert_eq!(info.installed, None);
}
