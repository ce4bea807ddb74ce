//! TLS on the gateway's own port: the same calls, the same answers, the same breaks.

mod authority;
mod client;
mod own;

use std::process::Output;

use b24gate::sandbox::{Options, Sandbox};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::calls::{fault, profile, until};
use crate::support::http::{self, Client};
use crate::support::script::{Script, ok};
use crate::support::wire::{
    chunked_request, last_call, pattern, request, sha256, stage, stage_with,
};
use crate::support::{Gate, PATIENCE, Setup};

use client::{Tls, Trust};

const PROFILE: &str = "GET /rest/profile HTTP/1.1\r\nHost: localhost\r\n\r\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn curl_that_trusts_the_local_ca_is_served_on_the_port_of_plain_http() {
    let (_portal, gate) = stage().await;
    let port = gate.address.port();
    let authority = gate.setup().state().join("ca.pem");
    assert!(!authority.exists(), "nobody has asked for it yet");
    // The first call makes the authority, so this one cannot trust it.
    let refused = curl(&["-s", &format!("https://127.0.0.1:{port}/rest/profile")]).await;
    assert_eq!(refused.status.code(), Some(60), "{refused:?}");
    let trusting = authority.to_str().unwrap();
    for host in ["localhost", "127.0.0.1", "acme.localhost"] {
        let to = format!("{host}:{port}:127.0.0.1:{port}");
        let url = format!("https://{host}:{port}/rest/profile");
        let call = curl(&["-sS", "--cacert", trusting, "--connect-to", &to, &url]).await;
        let said = String::from_utf8_lossy(&call.stdout);
        assert!(said.contains("\"Ada\""), "{host}: {call:?}");
        let plain = curl(&["-sS", &format!("http://127.0.0.1:{port}/rest/profile")]).await;
        assert!(String::from_utf8_lossy(&plain.stdout).contains("\"Ada\""), "{plain:?}");
    }
    // The wall stands inside TLS, too.
    let url = format!("https://localhost:{port}/rest/profile");
    for field in ["Host: evil.example", "Origin: https://evil.example", "Sec-Fetch-Mode: navigate"]
    {
        let call = curl(&["-sS", "--cacert", trusting, "-H", field, &url]).await;
        let said = String::from_utf8_lossy(&call.stdout).into_owned();
        assert!(said.contains("GATEWAY_BROWSER_REFUSED"), "{field}: {said}");
    }
}

#[tokio::test]
async fn plain_and_tls_clients_are_served_at_the_same_time() {
    let (_portal, gate) = stage().await;
    let trust = Trust::of(&gate).await;
    let mut plain = Client::connect(gate.address).await;
    let mut secure = Tls::connect(gate.address, &trust).await;
    for _ in 0..5 {
        plain.send(PROFILE).await;
        secure.send(PROFILE).await;
        assert_eq!(secure.answer().await.status, 200);
        assert_eq!(plain.answer().await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn a_client_that_offers_http2_first_gets_http1_and_tls_1_2_does_as_well() {
    let (_portal, gate) = stage().await;
    let trust = Trust::of(&gate).await;
    for (version, offers) in [
        (&rustls::version::TLS13, &["h2", "http/1.1"][..]),
        (&rustls::version::TLS12, &["h2", "http/1.1"]),
        (&rustls::version::TLS13, &[]),
    ] {
        let mut tls = Tls::connect_with(gate.address, trust.config(version, offers)).await.unwrap();
        let chosen = tls.stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
        assert_eq!(chosen, (!offers.is_empty()).then(|| b"http/1.1".to_vec()));
        assert_eq!(tls.stream.get_ref().1.protocol_version(), Some(version.version));
        tls.send(PROFILE).await;
        assert_eq!(tls.answer().await.status, 200);
    }
    let only_h2 = trust.config(&rustls::version::TLS13, &["h2"]);
    assert!(Tls::connect_with(gate.address, only_h2).await.is_err());
}

#[tokio::test]
async fn bodies_of_every_kind_arrive_as_they_were_sent() {
    let (portal, gate) = stage().await;
    let trust = Trust::of(&gate).await;
    let mut tls = Tls::connect(gate.address, &trust).await;
    let body = pattern(3_000_000);
    tls.send(request("POST /rest/sandbox.echo", "", &body)).await;
    assert_eq!(tls.answer().await.status, 200);
    assert_eq!(last_call(&portal).body_sha256, sha256(&body));

    let chunked = chunked_request("POST /rest/sandbox.echo", "", &body[..200_000], 999);
    tls.send(chunked).await;
    assert_eq!(tls.answer().await.status, 200);
    assert_eq!(last_call(&portal).body_sha256, sha256(&body[..200_000]));

    tls.send(request(
        "POST /rest/sandbox.echo",
        "Expect: 100-continue\r\nContent-Length: 3\r\n",
        b"",
    ))
    .await;
    tls.read_until(b"HTTP/1.1 100 Continue\r\n\r\n").await;
    tls.send("a=1").await;
    assert_eq!(tls.answer().await.status, 200);

    let expected: Vec<u8> = (0..=250).cycle().take(5_000_000).collect();
    for more in ["", "&chunked=1"] {
        let target = format!("GET /rest/sandbox.bytes?size=5000000{more}");
        tls.send(request(&target, "", b"")).await;
        let answer = tls.answer().await;
        assert_eq!((answer.status, sha256(&answer.body)), (200, sha256(&expected)), "{more}");
    }
}

#[tokio::test]
async fn an_answer_streams_through_tls_before_it_is_whole() {
    let (go, gone) = tokio::sync::watch::channel(false);
    let scene = Script::play(move |mut line| {
        let mut gone = gone.clone();
        async move {
            while line.head().await.is_some() {
                line.write("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfirst").await;
                gone.wait_for(|gone| *gone).await.unwrap();
                line.write("later").await;
            }
        }
    })
    .await;
    let trust = Trust::of(&scene.gate).await;
    let mut tls = Tls::connect(scene.gate.address, &trust).await;
    tls.send(PROFILE).await;
    tls.read_until(b"first").await; // the portal has not sent more, so this was passed on at once
    go.send_replace(true);
    tls.read_until(b"later").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_24_an_answer_cut_off_by_the_portal_is_broken_in_tls_as_well() {
    let (portal, gate) = stage().await;
    let trust = Trust::of(&gate).await;
    let url = format!("https://localhost:{}/rest/sandbox.bytes?size=300000", gate.address.port());
    for framing in ["content_length", "chunked", "close"] {
        let cut = json!({"mode": "cut_body", "after": 100_000, "framing": framing, "reset": true});
        fault(&portal, json!({"portal": cut})).await;
        for version in ["--http1.0", "--http1.1"] {
            let call =
                curl(&["-sS", version, "--cacert", &trust.file, "-o", "/dev/null", &url]).await;
            assert!(!call.status.success(), "{framing} {version}: {call:?}");
        }
        // HTTP/1.0 has nothing but the end of TLS to tell by.
        let mut tls = Tls::connect(gate.address, &trust).await;
        tls.send("GET /rest/sandbox.bytes?size=300000 HTTP/1.0\r\nHost: localhost\r\n\r\n").await;
        assert!(!tls.ends_cleanly().await, "{framing}");
        portal.control().clear_faults().await;
    }
    let mut tls = Tls::connect(gate.address, &trust).await;
    tls.send("GET /rest/sandbox.bytes?size=300000&chunked=1 HTTP/1.0\r\nHost: localhost\r\n\r\n")
        .await;
    assert!(tls.ends_cleanly().await, "a whole one ends as TLS demands it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_answers_what_is_in_flight_and_says_goodbye() {
    let (go, gone) = tokio::sync::watch::channel(false);
    let scene = Script::play(move |mut line| {
        let mut gone = gone.clone();
        async move {
            for answered in 0.. {
                if line.head().await.is_none() {
                    return;
                }
                if answered > 0 || line.number > 0 {
                    gone.wait_for(|gone| *gone).await.unwrap();
                }
                line.write(ok("{\"result\":1}")).await;
            }
        }
    })
    .await;
    let gate = &scene.gate;
    let trust = Trust::of(gate).await;
    let mut idle = Tls::connect(gate.address, &trust).await;
    idle.send(PROFILE).await;
    assert_eq!(idle.answer().await.status, 200);
    let mut busy = Tls::connect(gate.address, &trust).await;
    busy.send(PROFILE).await;
    until("the call is at the portal", || scene.requests() == 2).await;
    let Script { gate, oauth: _oauth, .. } = scene;
    gate.signal("TERM");
    assert!(idle.ends_cleanly().await);
    go.send_replace(true);
    assert_eq!(busy.answer().await.json()["result"], 1);
    assert!(busy.ends_cleanly().await);
    assert!(tokio::task::spawn_blocking(move || gate.stop()).await.unwrap().0.success());
}

#[tokio::test]
async fn handshakes_that_fail_are_counted_and_hurt_nobody() {
    let portal = Sandbox::start(Options::default()).await.unwrap();
    let gate = Gate::connected(&Setup::new(&portal), &portal.seed());
    let trust = Trust::of(&gate).await;
    // A handshake that stops in the middle, and one that never goes on.
    let mut stalled = TcpStream::connect(gate.address).await.unwrap();
    stalled.write_all(b"\x16\x03\x01\x02\x00\x01").await.unwrap();
    let before = malformed(&gate).await;

    let stranger = Trust::nobody().config(&rustls::version::TLS13, &["http/1.1"]);
    assert!(Tls::connect_with(gate.address, stranger).await.is_err());
    let garbage = [0x16, 0, 255, 1, 2, 3].repeat(20_000);
    for bytes in [&b"\x16"[..], b"\x16\x03\x01\x00\x00", b"\x16GET / HTTP/1.1\r\n\r\n", &garbage] {
        let mut stream = TcpStream::connect(gate.address).await.unwrap();
        // It may hang up before it has taken all of this.
        drop(stream.write_all(bytes).await);
        drop(stream.shutdown().await);
        drop(stream.read_to_end(&mut Vec::new()).await);
    }
    let counting = async {
        while malformed(&gate).await < before + 5 {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, counting).await.expect("five are counted");
    assert_eq!(malformed(&gate).await, before + 5);
    assert_eq!(profile(&gate).await.status, 200);
    let mut tls = Tls::connect(gate.address, &trust).await;
    tls.send(PROFILE).await;
    assert_eq!(tls.answer().await.status, 200);
    let log = gate.log();
    assert!(log.contains("TLS handshake failed"), "{log}");
    assert!(!log.contains("ERROR") && !log.contains(" WARN "), "{log}");
    drop(stalled);
}

#[tokio::test]
async fn nothing_but_the_first_byte_of_a_tcp_connection_begins_tls() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("gate.sock");
    let (_portal, gate) =
        stage_with(|setup| setup.listen(&format!("unix:{}", path.display()))).await;
    let mut client = Client::connect(gate.address).await;
    client.send(PROFILE).await;
    assert_eq!(client.answer().await.unwrap().status, 200);
    client.send(b"\x16\x03\x01\x00\x05hello\r\n\r\n").await;
    let refused = client.answer().await.unwrap();
    assert_eq!((refused.status, refused.error().as_str()), (400, "GATEWAY_BAD_REQUEST"));

    let mut stream = tokio::net::UnixStream::connect(&path).await.unwrap();
    stream.write_all(b"\x16\x03\x01\x00\x05hello\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
}

#[tokio::test]
async fn a_head_in_many_records_and_two_heads_in_one_are_read_as_they_are() {
    let scene = Script::play(|mut line| async move {
        while line.head().await.is_some() {
            line.write(ok("{\"result\":1}")).await;
        }
    })
    .await;
    let trust = Trust::of(&scene.gate).await;
    // The head comes in pieces, each in a record of its own, and two requests in one.
    let mut tls = Tls::connect(scene.gate.address, &trust).await;
    for piece in PROFILE.as_bytes().chunks(7) {
        tls.send(piece).await;
    }
    assert_eq!(tls.answer().await.json()["result"], 1);
    tls.send(PROFILE.repeat(2)).await;
    assert_eq!(tls.answer().await.json()["result"], 1);
    assert_eq!(tls.answer().await.json()["result"], 1);
}

async fn malformed(gate: &Gate) -> u64 {
    let page = http::get(gate.admin, "/metrics").await.text();
    let line = page.lines().find(|line| line.contains("rejected") && line.contains("malformed"));
    line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
}

async fn curl(arguments: &[&str]) -> Output {
    let mut command = std::process::Command::new("curl");
    command.args(arguments).args(["--max-time", "20", "--noproxy", "*"]);
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}
