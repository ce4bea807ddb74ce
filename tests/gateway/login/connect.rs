//! Logins that are what they should be.

use std::time::Duration;

use b24gate::control::Reply;
use b24gate::sandbox::Sandbox;
use serde_json::json;

use super::browser::Browser;
use super::{PUBLIC, ask, begin, outcome, parameter, sent_back, setup};
use crate::support::calls::{fault, portal, profile, shown, switch, token_requests, until};
use crate::support::http::{self, Client};
use crate::support::{Gate, PATIENCE, Setup};

fn assert_plain_page(answer: &http::Answer) {
    assert_eq!(answer.field("referrer-policy"), Some("no-referrer"));
    assert_eq!(answer.field("cache-control"), Some("no-store"));
    assert_eq!(answer.field("x-frame-options"), Some("DENY"));
    let policy = answer.field("content-security-policy").unwrap();
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_logs_in_and_the_portal_is_connected() {
    let portal = portal().await;
    let gate = setup(&portal).start();
    assert_eq!(profile(&gate).await.error(), "GATEWAY_PORTAL_NOT_CONNECTED");
    let login = begin(&gate).await;
    assert!(login.link.starts_with(&format!("{PUBLIC}/oauth/start?ticket=")), "{}", login.link);
    assert_eq!(outcome(&gate, &login).await, Reply::UnderWay);

    let mut browser = Browser::new(&gate);
    let start = browser.get(&login.link).await;
    assert_eq!(start.status, 303);
    assert_plain_page(&start);
    let cookie = start.field("set-cookie").unwrap();
    assert!(cookie.starts_with("b24gate_login_"), "{cookie}");
    assert!(cookie.ends_with("; HttpOnly; SameSite=Lax; Path=/; Max-Age=600; Secure"), "{cookie}");
    let seed = portal.seed();
    let authorize = start.field("location").unwrap();
    let page = format!("{}/oauth/authorize/?client_id={}&", seed.portal_url, seed.client_id);
    assert!(authorize.starts_with(&page), "{authorize}");
    assert_eq!(parameter(authorize, "state").len(), 32, "128 bits");
    assert!(!authorize.contains("redirect_uri") && !authorize.contains("scope"), "{authorize}");

    let done = browser.open(authorize).await;
    assert_eq!(done.answer.status, 200, "{}", done.answer.text());
    assert!(done.answer.text().contains("acme is connected"), "{}", done.answer.text());
    assert_plain_page(&done.answer);
    let [_, callback, last] = done.trail.as_slice() else { panic!("{:?}", done.trail) };
    assert!(callback.contains("code=") && !last.contains("code="), "{last}");
    let Reply::Connected(text) = outcome(&gate, &login).await else { panic!("not connected") };
    let user = format!("connected with the rights of user {}, generation 1", seed.user_id);
    assert_eq!(text, user);

    assert_eq!(profile(&gate).await.status, 200);
    let [exchange] = &token_requests(&portal)[..] else { panic!("one exchange") };
    assert_eq!(exchange.target, "/oauth/token/", "no secret in an address");
    until("the user's name is known", || {
        shown(&gate, "user").is_some_and(|user| user.starts_with(&format!("{}, ", seed.user_id)))
    })
    .await;
    let again = gate.kill().start();
    assert_eq!(profile(&again).await.status, 200);
    assert!(shown(&again, "user").unwrap().contains(", "), "the name survives a restart");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_63_a_callback_that_comes_again_is_told_so_and_exchanges_nothing() {
    let portal = portal().await;
    let gate = setup(&portal).start();
    let (login, mut browser, callback) = sent_back(&gate).await;
    assert_eq!(browser.open(&callback).await.answer.status, 200);
    // The back button, twice, and the link that began it.
    for url in [&callback, &callback, &login.link] {
        let page = browser.open(url).await.answer;
        assert_eq!(page.status, 400, "{url}");
        assert!(page.text().contains("used already"), "{}", page.text());
        assert_plain_page(&page);
    }
    assert!(matches!(outcome(&gate, &login).await, Reply::Connected(_)));
    assert_eq!(portal.control().exchanges(), 1);
    assert_eq!(profile(&gate).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s_07_no_log_line_holds_a_code_a_state_a_ticket_or_a_query() {
    let portal = portal().await;
    let gate = setup(&portal).log_level("trace").start();
    let (login, mut browser, callback) = sent_back(&gate).await;
    let cookies: Vec<_> = browser.cookies.values().map(|cookie| cookie.value.clone()).collect();
    let forged = format!("{PUBLIC}/oauth/callback?code=forged-code&state=forged-state");
    assert_eq!(browser.open(&forged).await.answer.status, 400);
    assert_eq!(browser.open(&callback).await.answer.status, 200);
    assert!(matches!(outcome(&gate, &login).await, Reply::Connected(_)));
    let secrets = [
        parameter(&callback, "code"),
        parameter(&callback, "state"),
        parameter(&login.link, "ticket"),
        cookies[0].clone(),
        "forged-".to_owned(),
        "code=".to_owned(),
        "&state=".to_owned(),
        "ticket=".to_owned(),
    ];
    let log = gate.kill_for_log();
    assert!(log.contains("login finished"), "{log}");
    for secret in secrets {
        assert!(!log.contains(&secret), "{secret}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_that_hangs_up_does_not_cut_the_exchange_short() {
    let portal = portal().await;
    let gate = setup(&portal).start();
    let (login, browser, callback) = sent_back(&gate).await;
    fault(&portal, json!({"oauth": {"mode": "slow", "ms": 1_000, "count": 1}})).await;
    let mut client = Client::connect(browser.address(&callback)).await;
    client.send(browser.request(&callback)).await;
    until("the exchange has begun", || !token_requests(&portal).is_empty()).await;
    drop(client);
    // What is stored is shown a moment before the login has ended.
    until("connected", || shown(&gate, "state").as_deref() == Some("connected")).await;
    let ended = async {
        while outcome(&gate, &login).await == Reply::UnderWay {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, ended).await.unwrap();
    assert!(matches!(outcome(&gate, &login).await, Reply::Connected(_)));
    assert_eq!(portal.control().exchanges(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_logins_in_one_browser_do_not_get_in_each_others_way() {
    let portal = portal().await;
    let gate = setup(&portal).start();
    let (first, second) = (begin(&gate).await, begin(&gate).await);
    let mut browser = Browser::new(&gate);
    let one = browser.follow_until(&first.link, "/oauth/callback").await;
    let two = browser.follow_until(&second.link, "/oauth/callback").await;
    for callback in [one, two] {
        assert_eq!(browser.open(&callback).await.answer.status, 200);
    }
    assert!(matches!(outcome(&gate, &first).await, Reply::Connected(_)));
    let Reply::Connected(text) = outcome(&gate, &second).await else { panic!("not connected") };
    assert!(text.contains("waits as a spare"), "{text}");
}

/// What a login of another user says, when the portal is connected as the first.
async fn login_of_another_user(portal: &Sandbox, gate: &Gate, replace: bool) -> Reply {
    gate.setup().import(&portal.seed());
    switch(portal, json!({"browser_user": 5}));
    let request =
        b24gate::control::Request::Connect { portal: "acme".to_owned(), paste: false, replace };
    let Reply::Login { id, link, .. } = ask(gate, request).await else { panic!("not begun") };
    let page = Browser::new(gate).open(&link).await;
    assert_eq!(page.answer.status, 200, "how it ended is told on a page");
    ask(gate, b24gate::control::Request::LoginOutcome { id }).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_user_takes_over_only_when_that_is_meant() {
    let portal = portal().await;
    let gate = setup(&portal).start();
    let Reply::NotConnected(text) = login_of_another_user(&portal, &gate, false).await else {
        panic!("taken")
    };
    assert!(text.contains("this pair is user 5's") && text.contains("--replace"), "{text}");
    assert_ne!(shown(&gate, "user").unwrap().split(',').next(), Some("5"));

    let gate = setup(&portal).start();
    let Reply::Connected(text) = login_of_another_user(&portal, &gate, true).await else {
        panic!("not taken")
    };
    assert!(text.contains("rights of user 5"), "{text}");
    assert_eq!(shown(&gate, "user").unwrap().split(',').next(), Some("5"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_portals_application_names_its_redirect_and_its_scope() {
    let portal = portal().await;
    let lines = "redirect_uri = \"https://gate.example/oauth/callback\"\nscope = \"crm,user\"";
    let gate = setup(&portal).app(lines).start();
    let start = Browser::new(&gate).get(&begin(&gate).await.link).await;
    let authorize = start.field("location").unwrap();
    let told = "&response_type=code&\
                redirect_uri=https%3A%2F%2Fgate.example%2Foauth%2Fcallback&scope=crm%2Cuser";
    assert!(authorize.ends_with(told), "{authorize}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_this_machine_alone_the_cookie_needs_no_tls() {
    let portal = portal().await;
    let gate = Setup::new(&portal).start();
    let login = begin(&gate).await;
    assert!(login.link.starts_with("http://localhost:8026/"), "{}", login.link);
    let ticket = &login.link[login.link.find("/oauth/start").unwrap()..];
    let start = http::get(gate.callback, ticket).await;
    assert!(start.field("set-cookie").unwrap().ends_with("Max-Age=600"), "{}", start.head);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_callback_listener_answers_nothing_else() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    for path in
        ["/", "/rest/profile", "/acme/rest/profile", "/metrics", "/readyz", "/api/v1/portals"]
    {
        assert_eq!(http::get(gate.callback, path).await.status, 404, "{path}");
    }
    for (verb, path, allowed) in [
        ("POST", "/oauth/start?ticket=x", "GET"),
        ("HEAD", "/oauth/start?ticket=x", "GET"),
        ("POST", "/oauth/done?id=x", "GET"),
        ("PUT", "/oauth/callback", "GET, POST"),
        ("GET", "/install", "POST"),
        ("DELETE", "/install", "POST"),
        ("GET", "/events", "POST"),
    ] {
        let mut client = Client::connect(gate.callback).await;
        let length = if verb == "POST" { "Content-Length: 0\r\n" } else { "" };
        client.send(format!("{verb} {path} HTTP/1.1\r\nHost: localhost\r\n{length}\r\n")).await;
        let answer = client.answer_to(verb == "HEAD").await.unwrap();
        assert_eq!((answer.status, answer.field("allow")), (405, Some(allowed)), "{verb} {path}");
    }
    assert_eq!(http::get(gate.callback, "/oauth/done?id=x").await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_takes_the_login_and_the_page_of_a_local_application() {
    let portal = portal().await;
    switch(&portal, json!({"redirect_uri": format!("{PUBLIC}/install")}));
    let setup = setup(&portal);
    switch(&portal, json!({"redirect_uri": format!("{PUBLIC}/install")}));
    let gate = setup.start();
    let page = Browser::new(&gate).open(&begin(&gate).await.link).await;
    assert!(page.answer.text().contains("acme is connected"), "{}", page.answer.text());
    // A form at the callback's address is an installation, and this one is forged.
    let form = "application/x-www-form-urlencoded";
    let bodies = ["/oauth/callback", "/install"].map(|path| {
        http::post(gate.callback, path, form, b"AUTH_ID=a&REFRESH_ID=r&member_id=m&status=L")
    });
    let [one, other] = bodies;
    let (one, other) = (one.await, other.await);
    assert_eq!((one.status, other.status), (403, 403), "{}", one.text());
    assert!(one.text().contains("Not taken") && other.text().contains("Not taken"));
    assert_eq!(one.field("x-frame-options"), None, "people read it in the portal's frame");
}
