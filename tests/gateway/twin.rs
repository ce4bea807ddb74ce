//! A request that carries the id of one that runs, or has just ended, gets that one's answer.

mod endings;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::Semaphore;

use crate::support::http::{self, Answer, Client};
use crate::support::script::{Line, Script, ok};
use crate::support::wire::{request, until};
use crate::support::{Gate, Setup};

/// As b24jssdk writes it.
const ADD: &str = "POST /rest/crm.deal.add?bx24_request_id=01890a5d-ac96&bx24_sdk_ver=1.0";
const JSON: &str = "Content-Type: application/json\r\n";
const BODY: &[u8] = br#"{"fields":{"TITLE":"x"}}"#;

/// What the portal answers to the request of this number, counted from 0.
type Answers = fn(usize) -> Vec<u8>;

/// A portal that answers as it is told, and each request only when it is let.
struct Held {
    script: Script,
    lets: Arc<Semaphore>,
}

impl Held {
    async fn new(answers: Answers) -> Self {
        Self::with(|setup| setup, answers).await
    }

    async fn with(change: impl FnOnce(Setup) -> Setup, answers: Answers) -> Self {
        let lets = Arc::new(Semaphore::new(0));
        let (waited, count) = (lets.clone(), Arc::new(Semaphore::new(0)));
        let serve = move |mut line: Line| {
            let (lets, count) = (waited.clone(), count.clone());
            async move {
                while let Some(head) = line.head().await {
                    let number = count.available_permits();
                    count.add_permits(1);
                    line.body(length(&head)).await;
                    lets.acquire().await.unwrap().forget();
                    let answer = answers(number);
                    if answer.is_empty() {
                        return line.reset();
                    }
                    line.write(&answer).await;
                    if !framed(&answer) {
                        return;
                    }
                }
            }
        };
        Self { script: Script::play_with(change, serve).await, lets }
    }

    /// A portal that answers at once.
    async fn prompt(answers: Answers) -> Self {
        let held = Self::new(answers).await;
        held.let_go(1000);
        held
    }

    fn gate(&self) -> &Gate {
        &self.script.gate
    }

    fn address(&self) -> SocketAddr {
        self.script.gate.address
    }

    fn let_go(&self, count: usize) {
        self.lets.add_permits(count);
    }

    async fn arrived(&self, count: usize) {
        until("requests at the portal", || self.script.requests() >= count).await;
    }

    /// Waits until so many requests have begun to wait for another.
    async fn waiting(&self, count: usize) {
        let what = "waiting for the answer to the same request";
        until("requests that wait", || self.gate().log().matches(what).count() >= count).await;
    }
}

fn length(head: &str) -> usize {
    let field =
        |line: &str| line.to_lowercase().strip_prefix("content-length: ").map(str::to_owned);
    head.lines().find_map(field).map_or(0, |length| length.parse().unwrap())
}

/// Whether the answer ends before its connection does.
fn framed(answer: &[u8]) -> bool {
    let head = String::from_utf8_lossy(answer);
    let head = head.split("\r\n\r\n").next().unwrap();
    ["Content-Length", "chunked", " 204 "].iter().any(|word| head.contains(word))
}

fn numbered(number: usize) -> Vec<u8> {
    ok(&format!("{{\"result\":{number}}}")).into_bytes()
}

fn add() -> Vec<u8> {
    request(ADD, JSON, BODY)
}

async fn begin(address: SocketAddr) -> Client {
    let mut client = Client::connect(address).await;
    client.send(add()).await;
    client
}

async fn end(mut client: Client) -> Answer {
    client.answer().await.expect("an answer")
}

fn is_repeated(answer: &Answer) -> bool {
    answer.field("x-b24-replayed") == Some("request_id")
}

#[tokio::test]
async fn a_client_that_gives_up_and_asks_again_gets_the_answer_of_its_first_request() {
    let portal = Held::new(numbered).await;
    let impatient = begin(portal.address()).await;
    portal.arrived(1).await;
    drop(impatient);
    let again = begin(portal.address()).await;
    portal.waiting(1).await;
    portal.let_go(2);
    let answer = end(again).await;
    assert_eq!((answer.status, answer.text().as_str()), (200, r#"{"result":0}"#));
    assert!(is_repeated(&answer));
    assert_eq!(portal.script.requests(), 1);
}

#[tokio::test]
async fn ten_equal_requests_at_once_are_one_for_the_portal() {
    let portal = Held::new(numbered).await;
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(begin(portal.address()).await);
    }
    portal.waiting(9).await;
    portal.let_go(10);
    let mut repeated = 0;
    for client in clients {
        let answer = end(client).await;
        assert_eq!(answer.text(), r#"{"result":0}"#);
        repeated += usize::from(is_repeated(&answer));
    }
    assert_eq!((repeated, portal.script.requests()), (9, 1));
}

#[tokio::test]
async fn a_repetition_has_the_portals_fields_and_a_frame_of_its_own() {
    let portal = Held::prompt(|number| {
        let text = format!(
            "HTTP/1.1 400 Bad Request\r\nX-Bitrix-Rest-Time: {number}\r\n\
             Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\
             Connection: close\r\n\r\n3\r\n{{\"e\r\n9\r\nrror\":\"E\"\r\n1\r\n}}\r\n0\r\n\r\n"
        );
        text.into_bytes()
    })
    .await;
    let first = http::send(portal.address(), add()).await;
    assert_eq!(first.field("x-b24-replayed"), None);
    let mut client = Client::connect(portal.address()).await;
    client.send(add()).await;
    // Its body is taken off the connection, and what comes behind it is a request.
    client.send(request("GET /rest/profile", "", b"")).await;
    let again = client.answer().await.unwrap();
    assert_eq!((again.status, &again.body), (400, &first.body));
    assert_eq!(again.head.lines().next(), first.head.lines().next());
    for name in ["x-bitrix-rest-time", "content-type", "x-content-type-options", "cache-control"] {
        assert!(first.field(name).is_some(), "{name}");
        assert_eq!(again.field(name), first.field(name), "{name}");
    }
    assert_eq!(again.field("content-length"), Some("13"));
    assert_eq!(again.field("connection"), None);
    assert_eq!(
        again.field("server-timing"),
        Some("queue;dur=0.0, refresh;dur=0.0, portal;dur=0.0")
    );
    assert!(is_repeated(&again));
    assert_eq!(client.answer().await.unwrap().field("x-bitrix-rest-time"), Some("1"));

    client.send(request(ADD, &format!("{JSON}Connection: close\r\n"), BODY)).await;
    let last = client.answer().await.unwrap();
    assert_eq!((last.field("connection"), is_repeated(&last)), (Some("close"), true));
    assert!(client.is_closed().await);
    assert_eq!(portal.script.requests(), 2);
    let page = http::get(portal.gate().admin, "/metrics").await.text();
    assert!(page.contains("b24gate_replays_total{reason=\"request_id\"} 2"), "{page}");
}

#[tokio::test]
async fn another_id_body_method_verb_parameter_or_packing_is_another_request() {
    let portal = Held::prompt(numbered).await;
    let id = "bx24_request_id=1";
    let key = "Idempotency-Key: 1\r\n";
    let long = format!("POST /rest/a?bx24_request_id={}", "1".repeat(129));
    let different = [
        request(&format!("POST /rest/a?{id}"), "", b"x=1"),
        request(&format!("POST /rest/a?{id}"), "", b"x=2"),
        request(&format!("POST /rest/a?{id}1"), "", b"x=1"),
        request(&format!("POST /rest/a?{id}&y=1"), "", b"x=1"),
        request(&format!("POST /rest/b?{id}"), "", b"x=1"),
        request(&format!("POST /rest/api/a?{id}"), "", b"x=1"),
        request(&format!("POST /rest/a.xml?{id}"), "", b"x=1"),
        request(&format!("GET /rest/a?{id}"), "", b"x=1"),
        request(&format!("POST /rest/a?{id}"), "Accept-Encoding: gzip\r\n", b"x=1"),
        request(&format!("POST /rest/a?{id}"), "Content-Type: text/plain\r\n", b"x=1"),
        request(&format!("POST /rest/a?{id}"), key, b"x=1"),
        request("POST /rest/a", key, b"x=1"),
        request("POST /rest/a", key, b"x=2"),
    ];
    for wire in &different {
        assert!(!is_repeated(&http::send(portal.address(), wire).await));
    }
    assert_eq!(portal.script.requests(), different.len());
    for wire in &different {
        assert!(is_repeated(&http::send(portal.address(), wire).await));
    }
    assert_eq!(portal.script.requests(), different.len());
    // A credential of the client's own makes no difference, nor do fields that change with each try.
    let fields = "X-Request-ID: other\r\nAuthorization: Bearer x\r\n";
    let again = request(&format!("POST /rest/1/key/a?auth=z&{id}"), fields, b"x=1");
    assert!(is_repeated(&http::send(portal.address(), again).await));

    let none = [
        request("POST /rest/a", "", b"x=1"),
        request("POST /rest/a?bx24_request_id=", "", b"x=1"),
        request(&long, "", b"x=1"),
        request("POST /rest/a", "Idempotency-Key: 1\r\nIdempotency-Key: 1\r\n", b"x=1"),
        request("POST /rest/a", "Idempotency-Key: a b\r\n", b"x=1"),
    ];
    for wire in none.iter().chain(&none) {
        assert!(!is_repeated(&http::send(portal.address(), wire).await));
    }
    assert_eq!(portal.script.requests(), different.len() + 2 * none.len());
}

#[tokio::test]
async fn heads_files_links_and_streamed_bodies_are_not_joined() {
    let setup = |setup: Setup| setup.gateway("replay_memory = \"1KiB\"");
    let portal = Held::with(setup, numbered).await;
    portal.let_go(1000);
    let id = "bx24_request_id=1";
    let large = vec![b'x'; 200 * 1024];
    for wire in [
        request(&format!("GET /rest/disk.file.download?{id}"), "", b""),
        request(&format!("GET /rest/download.json?token=disk%7Cx&auth=A&{id}"), "", b""),
        request(&format!("GET /rest/disk.file.get?token=disk%7Cx&auth=A&{id}"), "", b""),
        request(&format!("POST /rest/a?{id}"), "", &large),
    ] {
        let before = portal.script.requests();
        for _ in 0..2 {
            let answer = http::send(portal.address(), &wire).await;
            assert_eq!((answer.status, is_repeated(&answer)), (200, false));
        }
        assert_eq!(portal.script.requests(), before + 2);
    }
    let before = portal.script.requests();
    let mut client = Client::connect(portal.address()).await;
    for _ in 0..2 {
        client.send(request(&format!("HEAD /rest/a?{id}"), "", b"")).await;
        assert!(!is_repeated(&client.answer_to(true).await.unwrap()));
    }
    // The portal of this test writes a body, so its connection is not used again.
    assert_eq!(portal.script.requests(), before + 2);
}

#[tokio::test]
async fn an_answer_is_repeated_however_it_came() {
    fn answer(number: usize) -> Vec<u8> {
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
        let packed = "\x1f\u{8}packed";
        let text = match number {
            0 => format!("{head}Content-Length: 15\r\n\r\n{{\"result\":true}}"),
            1 => format!(
                "{head}Transfer-Encoding: chunked\r\n\r\nf\r\n{{\"result\":true}}\r\n0\r\n\r\n"
            ),
            2 => format!("{head}\r\n{{\"result\":true}}"),
            3 => format!("{head}Content-Encoding: gzip\r\nContent-Length: 8\r\n\r\n{packed}"),
            4 => "HTTP/1.1 204 No Content\r\n\r\n".to_owned(),
            5 => format!("{head}Content-Length: 0\r\n\r\n"),
            6 => {
                "HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: 11\r\n\r\n<response/>"
                    .to_owned()
            }
            _ => panic!("it ran twice"),
        };
        text.into_bytes()
    }
    let portal = Held::prompt(answer).await;
    for number in 0..7 {
        let suffix = if number == 6 { ".xml" } else { "" };
        let line = format!("POST /rest/a{suffix}?bx24_request_id={number}");
        let wire = request(&line, "Accept-Encoding: gzip\r\n", b"x=1");
        let first = http::send(portal.address(), &wire).await;
        assert!(first.whole && !is_repeated(&first), "{number}");
        let old = String::from_utf8(wire.clone()).unwrap().replace("HTTP/1.1", "HTTP/1.0");
        for wire in [wire, old.into_bytes()] {
            let again = http::send(portal.address(), wire).await;
            assert!(again.whole && is_repeated(&again), "{number}: {}", again.head);
            assert_eq!((again.status, &again.body), (first.status, &first.body), "{number}");
            assert_eq!(again.field("content-encoding"), first.field("content-encoding"));
            assert_eq!(again.field("transfer-encoding"), None, "{number}");
        }
    }
    assert_eq!(portal.script.requests(), 7);
}

#[tokio::test]
async fn a_key_of_the_clients_own_goes_on_to_the_portal() {
    let script = Script::play(|mut line| async move {
        while let Some(head) = line.head().await {
            let found = head.lines().any(|line| line == "Idempotency-Key: k-1");
            line.write(ok(&format!("{{\"result\":{found}}}"))).await;
        }
    })
    .await;
    let wire = request("GET /rest/a", "Idempotency-Key: k-1\r\n", b"");
    assert_eq!(http::send(script.gate.address, wire).await.text(), r#"{"result":true}"#);
}
