//! Answers with status 200 that hold no pair, half a pair, or somebody else's: the caller is told to
//! come back, and what is presented next is the old refresh token. A pair that is whole is taken,
//! though the answer around it is not.

use std::collections::{HashMap, VecDeque};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use b24gate::sandbox::{Sandbox, Seed};
use b24gate::store::Seat;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::support::calls::{assert_refused, portal, profile, retry_after, shown};
use crate::support::http::{self, Answer};
use crate::support::{Gate, Setup};

/// A token endpoint that has bytes ready for each refresh token, one answer after the other.
#[derive(Debug)]
struct Endpoint {
    address: SocketAddr,
    desk: Arc<Mutex<Desk>>,
    _serving: JoinSet<()>,
}

#[derive(Debug, Default)]
struct Desk {
    ready: HashMap<String, VecDeque<Vec<u8>>>,
    presented: Vec<String>,
}

impl Endpoint {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let desk = Arc::new(Mutex::new(Desk::default()));
        let mut serving = JoinSet::new();
        let shared = desk.clone();
        serving.spawn(async move {
            let mut clients = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                clients.spawn(serve(stream, shared.clone()));
            }
        });
        Self { address, desk, _serving: serving }
    }

    /// What whoever presents this refresh token gets, in this order.
    fn prepare(&self, refresh: &str, answers: impl IntoIterator<Item = Vec<u8>>) {
        let answers = answers.into_iter().collect();
        self.desk.lock().unwrap().ready.insert(refresh.to_owned(), answers);
    }

    /// How often a refresh token was presented.
    fn count(&self, refresh: &str) -> usize {
        self.desk.lock().unwrap().presented.iter().filter(|it| *it == refresh).count()
    }

    fn setup(&self, portal: &Sandbox) -> Setup {
        let mut seed = portal.seed();
        seed.oauth_url = format!("http://{}", self.address);
        Setup::of(&seed)
    }
}

/// Reads one exchange and writes what is ready for its refresh token.
async fn serve(mut stream: TcpStream, desk: Arc<Mutex<Desk>>) {
    let mut seen = Vec::new();
    let refresh = loop {
        let text = String::from_utf8_lossy(&seen);
        let body = text.split_once("\r\n\r\n").map(|(_, body)| body);
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
        if let (Some(body), Some(length)) = (body, length)
            && body.len() >= length.parse().unwrap()
        {
            let mut fields = form_urlencoded::parse(body.as_bytes());
            break fields.find(|(name, _)| name == "refresh_token").unwrap().1.into_owned();
        }
        if stream.read_buf(&mut seen).await.unwrap_or(0) == 0 {
            return;
        }
    };
    let answer = {
        let mut desk = desk.lock().unwrap();
        desk.presented.push(refresh.clone());
        desk.ready.get_mut(&refresh).and_then(VecDeque::pop_front).unwrap_or_default()
    };
    // The gateway may have had enough before the end.
    drop(stream.write_all(&answer).await);
}

/// An answer with status 200 that says of itself to be `length` bytes long.
fn of_length(length: usize, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), body].concat()
}

/// A whole answer with status 200.
fn whole(body: impl AsRef<[u8]>) -> Vec<u8> {
    of_length(body.as_ref().len(), body.as_ref())
}

/// An answer that ends before it should.
fn cut(body: &str) -> Vec<u8> {
    of_length(2_000, body.as_bytes())
}

/// The same in the other framing, without its last chunk.
fn cut_in_chunks(body: &str) -> Vec<u8> {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    format!("{head}{:x}\r\n{body}\r\n", body.len()).into_bytes()
}

fn pair(seed: &Seed) -> Vec<u8> {
    whole(seed.token_response.to_string())
}

/// Whole answers from which no pair can be taken.
fn nonsense() -> Vec<Vec<u8>> {
    let good = r#""access_token":"A-1","refresh_token":"R-1""#;
    let long = "x".repeat(5_000);
    let deep = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
    [
        "",
        " ",
        "{}",
        "[]",
        "null",
        "true",
        "0",
        "\"text\"",
        "{",
        "}",
        "nul",
        "NaN",
        "<!DOCTYPE html><html><body>Sign in</body></html>",
        "access_token=A-1&refresh_token=R-1",
        "{'access_token':'A-1','refresh_token':'R-1'}",
        "{access_token:\"A-1\",refresh_token:\"R-1\"}",
        r#"{"access_token":"A-1"}"#,
        r#"{"refresh_token":"R-1"}"#,
        r#"{"access_token":"A-1","refresh_token":null}"#,
        r#"{"access_token":"A-1","refresh_token":""}"#,
        r#"{"access_token":"A-1","refresh_token":7}"#,
        r#"{"access_token":"A-1","refresh_token":["R-1"]}"#,
        r#"{"access_token":true,"refresh_token":"R-1"}"#,
        r#"{"access_token":{"token":"A-1"},"refresh_token":"R-1"}"#,
        r#"{"access_token":"A 1","refresh_token":"R-1"}"#,
        r#"{"access_token":"A-1\r\nX: y","refresh_token":"R-1"}"#,
        r#"{"access_token":"A-1","refresh_token":"R\u0000"}"#,
        r#"{"access_token":"A-1","refresh_token":"R-1","refresh_token":""}"#,
        "{\"access_token\":\"A\0\",\"refresh_token\":\"R-1\"}",
        "\u{feff}",
        "\u{feff}{}",
        "\0\0\0\0",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into_iter()
    .chain([
        format!("[{{{good}}}]").into_bytes(),
        format!("{{{good}}}{{{good}}}").into_bytes(),
        format!("{{{good}}}<br />").into_bytes(),
        format!("{{{good},}}").into_bytes(),
        format!(r#"{{"result":{{{good}}}}}"#).into_bytes(),
        format!(r#"{{"error":{{}},{good}}}"#).into_bytes(),
        format!(r#"{{"access_token":"{long}","refresh_token":"R-1"}}"#).into_bytes(),
        format!(r#"{{{good},"x":{}}}"#, deep(10_000)).into_bytes(),
        deep(30_000).into_bytes(),
        format!(r#"{{{good},"x":"{}"}}"#, "x".repeat(65 * 1024)).into_bytes(),
        [br#"{"access_token":"A-1","refresh_token":"R-"#.as_slice(), b"\xff\xfe\"}"].concat(),
        b"\x1f\x8b\x08\0\0\0\0\0".to_vec(),
    ])
    .collect()
}

/// Answers from which no pair can be taken, with what to call them.
fn malformed() -> Vec<(String, Vec<u8>)> {
    let mut answers = Vec::new();
    for body in nonsense() {
        let name = String::from_utf8_lossy(body.get(..80).unwrap_or(&body)).into_owned();
        answers.push((name, whole(body)));
    }
    for begun in [
        "",
        "{",
        r#"{"acc"#,
        r#"{"access_token":"#,
        r#"{"access_token":"A-"#,
        r#"{"access_token":"A-1","#,
        r#"{"access_token":"A-1","refresh_token""#,
        r#"{"access_token":"A-1","refresh_token":"#,
        r#"{"access_token":"A-1","refresh_token":"R-"#,
        r#"{"refresh_token":"R-1","access_token":"A-"#,
    ] {
        answers.push((format!("{begun} cut"), cut(begun)));
        answers.push((format!("{begun} cut in chunks"), cut_in_chunks(begun)));
        answers.push((format!("{begun} whole"), whole(begun)));
    }
    answers.push(("nothing".to_owned(), Vec::new()));
    answers.push(("not HTTP".to_owned(), b"\x16\x03\x01\x02\0".to_vec()));
    answers.push(("half a head".to_owned(), b"HTTP/1.1 200 OK\r\nContent-Le".to_vec()));
    answers
}

/// A gateway with a portal `p<number>` for every pair. No two portals may have one address, so each
/// has one of its own, which leads to the same place.
async fn connect(endpoint: &Endpoint, portal: &Sandbox, seeds: &[Seed]) -> (Gate, JoinSet<()>) {
    let mut doors = JoinSet::new();
    let mut sections = String::new();
    for number in 0..seeds.len() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (door, inside) = (listener.local_addr().unwrap(), portal.address());
        write!(sections, "[portals.p{number}]\nurl = \"http://{door}\"\n").unwrap();
        doors.spawn(async move {
            let mut visits = JoinSet::new();
            while let Ok((mut outer, _)) = listener.accept().await {
                visits.spawn(async move {
                    let mut inner = TcpStream::connect(inside).await.unwrap();
                    drop(copy_bidirectional(&mut outer, &mut inner).await);
                });
            }
        });
    }
    let setup = endpoint.setup(portal).more(&sections);
    let names: Vec<_> = (0..seeds.len()).map(|number| format!("p{number}")).collect();
    let pairs: Vec<_> = names.iter().map(String::as_str).zip(seeds).collect();
    setup.keep(&pairs, Seat::Active { keep_old: false }).await;
    (setup.start(), doors)
}

/// A call of every portal, all at once.
async fn call_all(gate: &Gate, portals: usize) -> Vec<Answer> {
    let calls: Vec<_> = (0..portals)
        .map(|number| {
            let address = gate.address;
            tokio::spawn(
                async move { http::get(address, &format!("/p{number}/rest/profile")).await },
            )
        })
        .collect();
    let mut answers = Vec::new();
    for call in calls {
        answers.push(call.await.unwrap());
    }
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_12_after_an_answer_that_makes_no_sense_the_old_refresh_token_is_presented_again() {
    let (portal, endpoint) = (portal().await, Endpoint::start().await);
    let answers = malformed();
    assert!(answers.len() >= 30);
    let seeds: Vec<_> = answers.iter().map(|_| portal.seed()).collect();
    portal.control().expire();
    for (seed, (_, answer)) in seeds.iter().zip(&answers) {
        endpoint.prepare(&seed.refresh_token, [answer.clone(), pair(&portal.seed())]);
    }
    let (gate, _doors) = connect(&endpoint, &portal, &seeds).await;

    let mut wait = 0;
    for (answer, (name, _)) in call_all(&gate, seeds.len()).await.iter().zip(&answers) {
        assert_eq!(answer.status, 503, "{name}: {}", answer.text());
        assert_refused(answer, 503, "GATEWAY_REFRESH_UNAVAILABLE");
        wait = wait.max(retry_after(answer));
    }
    assert!(!gate.log().contains("panic"), "{}", gate.log());
    tokio::time::sleep(Duration::from_secs(wait)).await;
    for (answer, (name, _)) in call_all(&gate, seeds.len()).await.iter().zip(&answers) {
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
    }
    for (seed, (name, _)) in seeds.iter().zip(&answers) {
        assert_eq!(endpoint.count(&seed.refresh_token), 2, "{name}: the same one again");
    }
    assert_eq!(endpoint.count("R-1"), 0, "no refresh token out of such an answer is used");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_12_a_pair_that_came_whole_in_an_answer_that_did_not_is_taken_and_stored() {
    let (portal, endpoint) = (portal().await, Endpoint::start().await);
    // The bytes after the pair that still came.
    let ends = ["", ",", r#","expires_in":36"#, r#","expires_in":3600,"scope":"ap"#];
    let cuts: Vec<_> =
        ends.iter().flat_map(|end| [(*end, cut as fn(&str) -> _), (*end, cut_in_chunks)]).collect();
    let seeds: Vec<_> = cuts.iter().map(|_| portal.seed()).collect();
    portal.control().expire();
    let mut second = Vec::new();
    for (seed, (end, cut)) in seeds.iter().zip(&cuts) {
        let (next, last) = (portal.seed(), portal.seed());
        let body = format!(
            r#"{{"access_token":"{}","refresh_token":"{}"{end}"#,
            next.access_token, next.refresh_token
        );
        endpoint.prepare(&seed.refresh_token, [cut(&body)]);
        endpoint.prepare(&next.refresh_token, [pair(&last)]);
        second.push(next);
    }
    let (gate, _doors) = connect(&endpoint, &portal, &seeds).await;
    for (answer, (end, _)) in call_all(&gate, seeds.len()).await.iter().zip(&cuts) {
        assert_eq!(answer.status, 200, "{end}: {}", answer.text());
    }

    // The chain goes on after a crash, from the pair that was saved out of the answer.
    let gate = gate.kill().start();
    for seed in &second {
        portal.control().forget(&seed.access_token);
    }
    for (answer, (end, _)) in call_all(&gate, seeds.len()).await.iter().zip(&cuts) {
        assert_eq!(answer.status, 200, "{end}: {}", answer.text());
    }
    for (before, after) in seeds.iter().zip(&second) {
        let counts = [before, after].map(|seed| endpoint.count(&seed.refresh_token));
        assert_eq!(counts, [1, 1]);
    }
}

/// The seed's token response with other fields; those that are null are taken out.
fn with(seed: &Seed, fields: &Value) -> Seed {
    let mut seed = seed.clone();
    let response = seed.token_response.as_object_mut().unwrap();
    for (name, value) in fields.as_object().unwrap() {
        response.insert(name.clone(), value.clone());
    }
    response.retain(|_, value| !value.is_null());
    seed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_18_where_no_member_is_known_a_pair_with_another_portals_address_is_not_used() {
    let (portal, endpoint) = (portal().await, Endpoint::start().await);
    let ours = with(&portal.seed(), &json!({"member_id": null}));
    portal.control().expire();
    let elsewhere = json!({"client_endpoint": "https://other.example/rest/"});
    let foreign = with(&portal.seed(), &elsewhere);
    let right = portal.seed();
    endpoint.prepare(&ours.refresh_token, [pair(&foreign), pair(&right)]);
    let gate = Gate::connected(&endpoint.setup(&portal), &ours);
    let before = (shown(&gate, "member_id"), shown(&gate, "generation"), shown(&gate, "user_id"));

    for _ in 0..5 {
        let refused = profile(&gate).await;
        assert_refused(&refused, 403, "GATEWAY_PORTAL_NOT_CONNECTED");
        assert!(refused.text().contains("member_id_mismatch"), "{}", refused.text());
    }
    let now = (shown(&gate, "member_id"), shown(&gate, "generation"), shown(&gate, "user_id"));
    assert_eq!(now, before);
    assert_eq!(endpoint.count(&ours.refresh_token), 1, "asked once");

    let gate = gate.kill().start();
    assert_eq!(profile(&gate).await.status, 200);
    assert_eq!(endpoint.count(&ours.refresh_token), 2, "ours was kept");
    assert_eq!(endpoint.count(&foreign.refresh_token), 0);
    assert_eq!(shown(&gate, "generation").as_deref(), Some("2"));
    assert_eq!(
        portal.control().executions("profile"),
        1,
        "no call went out with the foreign token"
    );
}
