//! Keys as tools show them: found in every place, gone before anything reaches the portal, and
//! refused when they are nobody's.

use std::fmt::Write as _;

use b24gate::sandbox::{Entry, Options, Sandbox};

use crate::support::calls::assert_refused;
use crate::support::clients::client_key;
use crate::support::http::{self, Answer, Client};
use crate::support::wire::{calls, chunked_request, last_call, pattern, request, stage_with};
use crate::support::{Gate, Setup};

const FORM: &str = "Content-Type: application/x-www-form-urlencoded\r\n";
const JSON: &str = "Content-Type: application/json\r\n";
const PARTS: &str = "Content-Type: multipart/form-data; boundary=b\r\n";
const REFUSED: (u16, &str) = (403, "GATEWAY_KEY_REFUSED");

async fn stage(lines: &str) -> (Sandbox, Gate, String) {
    let clients = "[clients.erp]\n";
    let (portal, gate) =
        stage_with(|setup| setup.more(clients).gateway(lines).log_level("trace")).await;
    let key = client_key(&gate, "erp", &[]);
    (portal, gate, key)
}

async fn send(gate: &Gate, wire: impl AsRef<[u8]>) -> Answer {
    let mut client = Client::connect(gate.address).await;
    client.send(wire).await;
    client.answer().await.unwrap()
}

fn part(name: &str, value: &str) -> String {
    format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
}

/// Bodies that show a key, each with what of it must arrive.
fn bodies(key: &str) -> Vec<(&'static str, String, &'static str)> {
    let (mut escaped, mut unicode) = (String::new(), String::new());
    for byte in key.bytes() {
        write!(escaped, "%{byte:02X}").unwrap();
        write!(unicode, "\\u{byte:04x}").unwrap();
    }
    vec![
        (FORM, format!("auth={key}&a=keep"), "&a=keep"),
        (FORM, format!("a=keep&access_token={key}"), "a=keep&"),
        (FORM, format!("a=keep&%61uth={escaped}&auth=x&auth={key}"), "a=keep&"),
        ("", format!("+auth={key}&a=keep"), "&a=keep"),
        (JSON, format!("{{\"auth\":\"{key}\",\"a\":\"keep\"}}"), "\"a\":\"keep\"}"),
        (JSON, format!("{{\"a\":\"keep\",\"\\u0061uth\":\"{unicode}\"}}"), "{\"a\":\"keep\""),
        (JSON, format!("{{\"access_token\":\"{key}\",\"a\":\"keep\"}}"), "\"a\":\"keep\"}"),
        (PARTS, part("a", "keep") + &part("auth", key) + "--b--\r\n", "name=\"a\"\r\n\r\nkeep\r\n"),
    ]
}

fn shows(entry: &Entry, key: &str) -> bool {
    let head = entry.headers.join("\n");
    let body = entry.body.as_deref().unwrap_or_default();
    entry.target.contains(key) || head.contains(key) || body.contains(key)
}

#[tokio::test]
async fn a_key_is_known_wherever_it_stands_and_the_portal_never_sees_it() {
    let (portal, gate, key) = stage("require_key = true").await;
    for (target, fields) in [
        (format!("/rest/1/{key}/profile"), String::new()),
        (format!("/rest/1/{key}/profile?auth={key}&access_token={key}"), String::new()),
        (format!("/acme/rest/1/{key}/profile"), String::new()),
        (format!("/rest/profile?access_token={key}"), String::new()),
        ("/rest/profile".to_owned(), format!("Authorization: Bearer {key}\r\n")),
    ] {
        let answer = send(&gate, request(&format!("GET {target}"), &fields, b"")).await;
        assert_eq!(answer.status, 200, "{target}: {}", answer.text());
        assert!(!shows(&last_call(&portal), &key), "{target}");
    }
    for (label, body, kept) in bodies(&key) {
        let (line, body) = ("POST /rest/sandbox.echo", body.as_bytes());
        for wire in [request(line, label, body), chunked_request(line, label, body, 5)] {
            let answer = send(&gate, wire).await;
            assert_eq!(answer.status, 200, "{label}: {}", answer.text());
            let call = last_call(&portal);
            assert!(!shows(&call, &key), "{call:?}");
            assert_eq!(call.body_length, body.len() as u64);
            assert!(call.body.as_ref().unwrap().contains(kept), "{call:?}");
        }
    }
    assert!(!gate.log().contains(&key));
}

#[tokio::test]
async fn a_key_that_is_nobodys_is_refused_and_the_portal_hears_nothing() {
    let (portal, gate, key) = stage("").await;
    let other = key.bytes().rev().map(char::from).collect::<String>();
    let mut texts = Vec::new();
    let mut check = |answer: Answer| {
        assert_refused(&answer, REFUSED.0, REFUSED.1);
        assert!(!answer.text().contains(&other) && !answer.text().contains("erp"));
        texts.push(answer.json()["error_description"].as_str().unwrap().to_owned());
    };
    check(http::get(gate.address, &format!("/rest/1/{other}/profile")).await);
    check(http::get(gate.address, &format!("/rest/profile?auth={other}")).await);
    let bearer = format!("Authorization: Bearer {other}\r\n");
    check(send(&gate, request("GET /rest/profile", &bearer, b"")).await);
    for (label, body, _) in bodies(&other) {
        check(send(&gate, request("POST /rest/profile", label, body.as_bytes())).await);
    }
    check(send(&gate, request("POST /rest/profile", JSON, br#"{"auth":{"a":1}}"#)).await);
    texts.dedup();
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert!(calls(&portal).is_empty(), "{:?}", calls(&portal));
    assert!(!gate.log().contains(&other));

    for wire in [
        request("GET /rest/profile", "", b""),
        request("POST /rest/profile", JSON, br#"{"a":{"auth":"x"},"auth":null}"#),
        request("POST /rest/profile", JSON, b"{\"broken\""),
        request("POST /rest/profile", FORM, b"auth=&a=1"),
    ] {
        assert_eq!(send(&gate, wire).await.status, 200, "nothing is shown, so it is anonymous");
    }
}

#[tokio::test]
async fn a_connection_goes_on_behind_a_call_whose_body_showed_a_key() {
    let (portal, gate, key) = stage("require_key = true").await;
    let mut client = Client::connect(gate.address).await;
    let body = format!("a=1&auth={key}");
    let one = request("POST /rest/sandbox.echo", FORM, body.as_bytes());
    client.send([one.as_slice(), &one, &request("GET /rest/profile", "", b"")].concat()).await;
    for status in [200, 200, 403] {
        assert_eq!(client.answer().await.unwrap().status, status);
    }
    assert_eq!(calls(&portal).len(), 2);
}

#[tokio::test]
async fn a_large_body_shows_its_key_early_or_its_head_does() {
    let (portal, gate, key) = stage("replay_memory = \"64KiB\"").await;
    let filling = "f".repeat(150_000);
    let line = "POST /rest/sandbox.echo";
    let early = format!("auth={key}&a={filling}&access_token={key}&b=keep");
    let late = format!("a={filling}&auth={key}");
    for send_as in [0, 20_000] {
        let wire = |line: &str, body: &str| match send_as {
            0 => request(line, FORM, body.as_bytes()),
            size => chunked_request(line, FORM, body.as_bytes(), size),
        };
        let answer = send(&gate, wire(line, &early)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let call = last_call(&portal);
        let expected = format!(
            "{}a={filling}&{}b=keep",
            "&".repeat("auth=&".len() + key.len()),
            "&".repeat("access_token=&".len() + key.len())
        );
        assert_eq!(call.body_length, early.len() as u64);
        assert_eq!(call.body_sha256, crate::support::wire::sha256(expected.as_bytes()));

        let before = calls(&portal).len();
        for body in [&late, &format!("a={filling}")] {
            let answer = send(&gate, wire(line, body)).await;
            assert_refused(&answer, REFUSED.0, REFUSED.1);
            assert!(answer.text().contains("in the path"), "{}", answer.text());
        }
        assert_eq!(calls(&portal).len(), before);

        let keyed = format!("POST /rest/1/{key}/sandbox.echo");
        assert_eq!(send(&gate, wire(&keyed, &format!("a={filling}"))).await.status, 200);
        let link = "POST /rest/upload?auth=A&token=x";
        let answer = send(&gate, wire(link, &filling)).await;
        assert_ne!(answer.error(), REFUSED.1, "a link opens the portal by itself");
    }
    assert!(!gate.log().contains(&key));
}

#[tokio::test]
async fn a_key_in_the_body_chooses_the_portal_that_nothing_else_names() {
    let other = Sandbox::start(Options::default()).await.unwrap();
    let seed = other.seed();
    let more = format!(
        "[portals.bolt]\nwebhook_url = \"{}/rest/{}/\"\n[clients.erp]\nportals = [\"bolt\"]\n\
         [clients.any]\n",
        seed.portal_url, seed.webhook
    );
    let (portal, gate) = stage_with(|setup: Setup| setup.more(&more)).await;
    let (key, any) = (client_key(&gate, "erp", &[]), client_key(&gate, "any", &[]));
    let (line, body) = ("POST /rest/sandbox.echo", format!("auth={key}&a=1"));
    let answer = send(&gate, request(line, FORM, body.as_bytes())).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(calls(&portal).is_empty());
    let call = last_call(&other);
    assert!(!shows(&call, &key), "{call:?}");
    assert_eq!(call.header("host"), Some(seed.portal_url.trim_start_matches("http://")));

    let named = request("POST /acme/rest/sandbox.echo", FORM, body.as_bytes());
    let answer = send(&gate, named).await;
    assert_refused(&answer, 403, "GATEWAY_METHOD_FORBIDDEN");
    assert!(answer.text().contains("acme") && answer.text().contains("erp"), "{}", answer.text());
    for body in ["a=1".to_owned(), format!("auth={any}")] {
        let answer = send(&gate, request(line, FORM, body.as_bytes())).await;
        assert_refused(&answer, 404, "GATEWAY_PORTAL_UNKNOWN");
    }
    assert!(calls(&portal).is_empty());
}

#[tokio::test]
async fn a_head_that_shows_a_key_leaves_the_body_as_it_is() {
    let (portal, gate, key) = stage("").await;
    let body = [b"a=1&auth=stale&".as_slice(), &pattern(5_000)].concat();
    let line = format!("POST /rest/1/{key}/sandbox.echo");
    assert_eq!(send(&gate, request(&line, FORM, &body)).await.status, 200);
    assert_eq!(last_call(&portal).body_sha256, crate::support::wire::sha256(&body));
}
