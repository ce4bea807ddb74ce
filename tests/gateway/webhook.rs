//! A portal that an incoming webhook opens: calls go through it, and nobody sees it.

use b24gate::config::Config;
use b24gate::sandbox::Sandbox;
use b24gate::store::{Registry as _, SqliteStore, StateDirectory};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::support::calls::{
    assert_refused, calls_of, fault, portal, profile, token_requests, until,
};
use crate::support::http::{self, Answer, Client};
use crate::support::script::{Line, Script, ok};
use crate::support::{Setup, hex};

/// What stands in the path behind `/rest/`.
const WEBHOOK: &str = "1/S-canary-3f9a";
const SECRET: &str = "S-canary-3f9a";

fn setup(portal: &Sandbox) -> Setup {
    let seed = portal.seed();
    let url = format!("{}/rest/{}/", seed.portal_url, seed.webhook);
    Setup::of(&seed).only_portal(&format!("webhook_url = \"{url}\"")).log_level("trace")
}

fn secret(portal: &Sandbox) -> String {
    portal.seed().webhook.split_once('/').unwrap().1.to_owned()
}

/// A scripted portal that is opened by [`WEBHOOK`].
async fn scripted<F>(serve: impl Fn(Line) -> F + Send + 'static) -> Script
where
    F: Future<Output = ()> + Send + 'static,
{
    let with_webhook = |setup: Setup| {
        let text = setup.text();
        let url = text.split("[portals.acme]\nurl = \"").nth(1).unwrap();
        let url = url.split('"').next().unwrap();
        setup.only_portal(&format!("webhook_url = \"{url}/rest/{WEBHOOK}/\"")).log_level("trace")
    };
    Script::play_unconnected(with_webhook, serve).await
}

/// A portal that answers everything with `answer`, in pieces of `piece` bytes.
async fn repeating(answer: String, piece: usize) -> Script {
    scripted(move |mut line| {
        let answer = answer.clone();
        async move {
            while line.head().await.is_some() {
                for part in answer.as_bytes().chunks(piece) {
                    line.write(part).await;
                    tokio::task::yield_now().await;
                }
                if !answer.contains("Content-Length") && !answer.contains("chunked") {
                    return;
                }
            }
        }
    })
    .await
}

fn holds_secret(answer: &Answer, secret: &str) -> bool {
    answer.head.contains(secret) || answer.text().contains(secret)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_in_any_shape_goes_through_the_webhook_and_carries_nothing_else() {
    let portal = portal().await;
    let gate = setup(&portal).start();
    let webhook = portal.seed().webhook;
    for (target, seen) in [
        ("/rest/profile", format!("/rest/{webhook}/profile")),
        ("/rest/profile.json?a=1", format!("/rest/{webhook}/profile.json?a=1")),
        ("/rest/profile.xml/", format!("/rest/{webhook}/profile.xml")),
        ("/rest/9/old/profile?auth=x&a=1", format!("/rest/{webhook}/profile?a=1")),
        ("/acme/rest/profile?access_token=x", format!("/rest/{webhook}/profile")),
        ("/rest//profile?aplogin=2&ap=y&sessid=z", format!("/rest/{webhook}/profile")),
        ("/rest/api/tasks.task.get", format!("/rest/api/{webhook}/tasks.task.get")),
        ("/rest/api/9/old/tasks.task.get", format!("/rest/api/{webhook}/tasks.task.get")),
    ] {
        portal.control().clear_log();
        let request = format!(
            "GET {target} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer x\r\n\
             Cookie: a=b\r\nAccept-Encoding: gzip\r\n\r\n"
        );
        let answer = http::send(gate.address, request).await;
        assert!(![401, 403, 404].contains(&answer.status) || target.contains("/api/"), "{target}");
        let log = portal.control().log();
        let [call] = log.as_slice() else { panic!("{target}: {log:?}") };
        assert_eq!(call.target, seen, "{target}");
        for field in ["authorization", "cookie", "accept-encoding"] {
            assert_eq!(call.header(field), None, "{target}");
        }
    }
    assert_eq!(profile(&gate).await.json()["result"]["ID"].as_str(), Some("1"));
    assert_eq!(token_requests(&portal).len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clients_own_credential_in_a_body_is_not_seen_by_the_portal() {
    let portal = portal().await;
    let gate = setup(&portal).gateway("replay_memory = \"64KiB\"").start();
    let field = |name: &str, value: &str| {
        format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    for filling in [10, 300_000] {
        let filling = "x".repeat(filling);
        let form = format!("auth=C-own&a={filling}&aplogin=2&ap=C-own");
        let json = format!("{{\"a\":\"{filling}\",\"auth\":\"C-own\",\"access_token\":2}}");
        let parts = [field("auth", "C-own"), field("a", &filling), field("ap", "C-own")].concat();
        for (kind, body, hidden) in [
            (
                "application/x-www-form-urlencoded",
                form,
                vec![("auth=C-own", "&"), ("aplogin=2", "&"), ("ap=C-own", "&")],
            ),
            (
                "application/json",
                json,
                vec![(",\"auth\":\"C-own\"", " "), (",\"access_token\":2", " ")],
            ),
            (
                "multipart/form-data; boundary=B",
                parts + "--B--\r\n",
                vec![
                    ("Content-Disposition: form-data; name=\"auth\"", "X"),
                    ("Content-Disposition: form-data; name=\"ap\"", "X"),
                    ("C-own", "X"),
                ],
            ),
        ] {
            let answer =
                http::post(gate.address, "/rest/sandbox.echo", kind, body.as_bytes()).await;
            assert_eq!(answer.status, 200, "{kind}: {}", answer.text());
            let expected = hidden.into_iter().fold(body, |body, (own, filler)| {
                assert!(body.contains(own));
                body.replace(own, &filler.repeat(own.len()))
            });
            let seen = &answer.json()["result"];
            let sha256 = hex(&Sha256::digest(&expected));
            assert_eq!(seen["body_sha256"], Value::from(sha256), "{kind}: {}", seen["body"]);
            assert_eq!(seen["params"], json!({"a": filling}), "{kind}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_are_waited_for_as_with_a_token() {
    let portal = portal().await;
    let gate = setup(&portal).start();
    for (mode, reason) in [
        ("query_limit", "query_limit"),
        ("operating_limit", "operation_time"),
        ("connection_error", "connection_error"),
    ] {
        fault(&portal, json!({"portal": {"mode": mode, "count": 1}})).await;
        let answer = profile(&gate).await;
        assert_eq!((answer.status, answer.field("x-b24-replayed")), (200, Some(reason)));
    }
    let calls = calls_of(&portal, "profile");
    assert_eq!(calls.len(), 6);
    assert!(calls.iter().all(|call| call.target == calls[0].target), "{calls:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_webhook_is_dead_until_a_call_succeeds_and_is_never_renewed() {
    let portal = portal().await;
    let gate = setup(&portal).start();
    for code in ["INVALID_CREDENTIALS", "authorization_error"] {
        fault(&portal, json!({"portal": {"mode": "error", "code": code, "count": 1}})).await;
        let answer = profile(&gate).await;
        assert_eq!((answer.status, answer.error().as_str()), (401, code));
        let page = http::get(gate.admin, "/readyz").await.text();
        assert!(page.contains("dead") && page.contains(code), "{page}");
        assert_eq!(profile(&gate).await.status, 200);
        assert_eq!(http::get(gate.admin, "/readyz").await.status, 200);
    }
    fault(&portal, json!({"portal": {"mode": "error", "code": "NO_AUTH_FOUND", "count": 1}})).await;
    assert_eq!(profile(&gate).await.status, 401);
    assert_eq!(http::get(gate.admin, "/readyz").await.status, 200, "that says nothing of it");
    assert_eq!(token_requests(&portal).len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_webhook_that_is_refused_like_a_token_is_told_without_the_word() {
    let portal = portal().await;
    let gate = setup(&portal).start();
    for code in ["expired_token", "invalid_token"] {
        fault(&portal, json!({"portal": {"mode": "error", "code": code, "count": 1}})).await;
        let answer = profile(&gate).await;
        assert_refused(&answer, 403, "GATEWAY_PORTAL_NOT_CONNECTED");
        let text = answer.text();
        assert!(text.contains("acme") && text.contains("webhook"), "{text}");
        assert!(!holds_secret(&answer, &secret(&portal)));
    }
    assert_eq!(calls_of(&portal, "profile").len(), 2, "nothing was tried again");
    assert_eq!(token_requests(&portal).len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redirect_of_a_webhook_cannot_be_confirmed() {
    let portal = portal().await;
    let gate = setup(&portal).start();
    fault(&portal, json!({"portal": {"mode": "redirect", "count": 1}})).await;
    let answer = profile(&gate).await;
    assert_refused(&answer, 502, "GATEWAY_PORTAL_REDIRECT");
    assert!(!holds_secret(&answer, &secret(&portal)));
    assert_eq!(calls_of(&portal, "profile").len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_repeats_the_path_shows_stars_however_it_is_cut_and_framed() {
    let page = format!("<p>/rest/{WEBHOOK}/profile was not found. {}</p>", SECRET.repeat(3));
    let hidden = page.replace(SECRET, "*************");
    let chunks: String = page.as_bytes().chunks(5).fold(String::new(), |text, chunk| {
        let chunk = std::str::from_utf8(chunk).unwrap();
        text + &format!("{:x}\r\n{chunk}\r\n", chunk.len())
    }) + "0\r\n\r\n";
    let field = format!("X-Was: /rest/{WEBHOOK}/profile");
    for (head, body) in [
        (format!("404 Not Found\r\n{field}\r\nContent-Length: {}", page.len()), page.clone()),
        (format!("502 Bad Gateway\r\n{field}\r\nTransfer-Encoding: chunked"), chunks),
        (format!("400 Bad Request\r\n{field}\r\nConnection: close"), page.clone()),
    ] {
        for piece in [1, 7, 1_000] {
            let answer = format!("HTTP/1.1 {head}\r\nContent-Type: text/html\r\n\r\n{body}");
            let script = repeating(answer, piece).await;
            let answer = profile(&script.gate).await;
            assert!(answer.whole, "{head}");
            assert_eq!(answer.text(), hidden, "{head} in pieces of {piece}");
            assert_eq!(answer.field("x-was"), Some("/rest/1/*************/profile"));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_in_an_ordinary_200_shows_stars_and_a_result_passes_as_it_is() {
    for (body, shown) in [
        (format!("{{\"error\":\"X\",\"at\":\"{SECRET}\"}}"), true),
        (format!("{{\"result\":\"{SECRET}\"}}"), false),
    ] {
        let script = repeating(ok(&body), 1_000).await;
        let answer = profile(&script.gate).await;
        assert_eq!(answer.status, 200);
        assert_eq!(holds_secret(&answer, SECRET), !shown, "{}", answer.text());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_error_that_cannot_be_looked_into_is_not_handed_on() {
    let answer = "HTTP/1.1 500 X\r\nContent-Encoding: br\r\nContent-Length: 4\r\n\r\nabcd";
    let script = repeating(answer.to_owned(), 1_000).await;
    let answer = profile(&script.gate).await;
    assert_eq!((answer.status, answer.error().as_str()), (502, "GATEWAY_PORTAL_BROKEN"));
    assert_eq!(answer.executed(), "unknown");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_portal_is_refused_before_anything_is_sent() {
    let portal = portal().await;
    let setup = setup(&portal);
    setup.write();
    for (at, said) in [
        (0, ["the operator has disabled it", "b24gate portal enable acme"]),
        (1, ["the application was uninstalled from this portal", "install it again"]),
    ] {
        let config = Config::load(Some(&setup.config())).unwrap();
        let state = StateDirectory::open(&setup.state()).unwrap();
        let store = SqliteStore::open(&state, &config.store).await.unwrap();
        store.set_disabled("acme", at == 0).await.unwrap();
        if at == 1 {
            store.note_uninstall("acme", 1_800_000_000).await.unwrap();
        }
        store.close().await;
        drop(state);

        let gate = setup.start();
        portal.control().clear_log();
        let link = "/rest/download?auth=A&token=T";
        for target in ["/rest/profile", "/rest/1/x/profile", "/rest/api/tasks.task.get", link] {
            let answer = http::get(gate.address, target).await;
            assert_refused(&answer, 403, "GATEWAY_PORTAL_NOT_CONNECTED");
            let text = answer.text();
            for said in ["acme", &format!("http://{}/", gate.admin)].iter().chain(&said) {
                assert!(text.contains(said), "{said} is missing in {text}");
            }
        }
        // A body is not waited for.
        let mut client = Client::connect(gate.address).await;
        client.send("POST /rest/profile HTTP/1.1\r\nHost: a.localhost\r\n").await;
        client.send("X-B24-Portal: acme\r\nContent-Length: 10\r\n\r\n").await;
        assert_refused(&client.answer().await.unwrap(), 403, "GATEWAY_PORTAL_NOT_CONNECTED");
        assert_eq!(portal.control().log().len(), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_webhook_comes_out_nowhere() {
    let portal = portal().await;
    let setup = setup(&portal).gateway("max_wait = \"1s\"");
    let gate = setup.start();
    let secret = secret(&portal);
    let mut outputs: Vec<(String, String)> = Vec::new();
    let keep = |outputs: &mut Vec<(String, String)>, from: &str, answer: &Answer| {
        outputs.push((from.to_owned(), format!("{}{}", answer.head, answer.text())));
    };
    for mode in [
        json!({"mode": "expired_once"}),
        json!({"mode": "error", "code": "INVALID_CREDENTIALS", "count": 1}),
        json!({"mode": "query_limit"}),
        json!({"mode": "html", "count": 1}),
        json!({"mode": "html", "status": 200, "count": 1}),
        json!({"mode": "redirect", "count": 1}),
        json!({"mode": "reset_before_answer", "count": 1}),
        json!({"mode": "garbage", "count": 1}),
        json!({"mode": "cut_body", "after": 20, "count": 1}),
        json!({"mode": "down"}),
    ] {
        fault(&portal, json!({"portal": mode})).await;
        keep(&mut outputs, &mode.to_string(), &profile(&gate).await);
        for page in ["/", "/readyz", "/metrics", "/api/v1/portals", "/api/v1/portals/acme"] {
            keep(&mut outputs, page, &http::get(gate.admin, page).await);
        }
        portal.control().clear_faults().await;
    }
    for target in ["/rest/profile", "/rest/profile.xml", "/rest/no.such", "/rest/api/a.b", "/rest/"]
    {
        keep(&mut outputs, target, &http::get(gate.address, target).await);
    }
    for arguments in [&["portal", "list"][..], &["portal", "show", "acme"], &["check"]] {
        let output = setup.command(arguments, "");
        let said = [output.stdout, output.stderr].concat();
        outputs.push((arguments.join(" "), String::from_utf8_lossy(&said).into_owned()));
    }
    gate.signal("HUP");
    until("a reload", || gate.log().contains("configuration reloaded")).await;
    outputs.push(("the log".to_owned(), gate.log()));
    assert!(gate.log().contains("TRACE") || gate.log().contains("DEBUG"));
    assert!(calls_of(&portal, "profile").iter().all(|call| call.target.contains(&secret)));
    for (from, text) in outputs {
        assert!(!text.contains(&secret), "{from} shows the webhook: {text}");
    }
}
