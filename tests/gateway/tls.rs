//! TLS to the portal: whom the gateway talks to, and that nobody else gets a byte of a token.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use b24gate::sandbox::{Options, Sandbox, Seed};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::front::{Front, Seen};
use crate::support::http::{self, Client};
use crate::support::{Gate, Setup};

/// An authority of its own, as companies have for self-hosted portals.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    file: PathBuf,
    _folder: tempfile::TempDir,
}

#[tokio::test]
async fn a_portal_behind_tls_is_called_and_its_connection_used_again() {
    let (portal, authority) = (sandbox().await, Authority::new());
    let front = Front::before(portal.address(), authority.server(&["localhost"])).await;
    let (gate, seed) = gate(&portal, &front, Some(&authority));

    let mut client = Client::connect(gate.address).await;
    for _ in 0..5 {
        client.send("GET /rest/profile HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        assert_eq!(client.answer().await.unwrap().json()["result"]["NAME"], "Ada");
    }
    portal.control().expire();
    client.send("GET /rest/profile HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    let replayed = client.answer().await.unwrap();
    assert_eq!((replayed.status, replayed.field("x-b24-replayed")), (200, Some("expired_token")));

    let seen = front.seen();
    assert_eq!((seen.connections, seen.handshakes), (1, 1), "one connection served them all");
    // The recorder works, so what it does not find below was not there.
    assert!(seen.holds(&seed.access_token));
    assert!(!seen.holds_in_clear(&seed.access_token));
}

#[tokio::test]
async fn a_portal_whose_certificate_is_not_acceptable_gets_nothing() {
    let (portal, authority, stranger) = (sandbox().await, Authority::new(), Authority::new());
    let trusted = Some(&authority);
    // The text is what the operator is told.
    for (what, server, trusts) in [
        ("is not trusted; for an authority of your own", authority.server(&["localhost"]), None),
        ("is not trusted", stranger.server(&["localhost"]), trusted),
        ("is for another host name", authority.server(&["crm.example.com"]), trusted),
        ("has expired", authority.expired(), trusted),
        ("is not trusted", self_signed().0, trusted),
    ] {
        let front = Front::before(portal.address(), server).await;
        let (gate, seed) = gate(&portal, &front, trusts);
        let answer = http::get(gate.address, "/rest/profile").await;
        assert_eq!((answer.status, answer.error().as_str()), (502, "GATEWAY_PORTAL_TLS"), "{what}");
        assert_eq!(answer.executed(), "no", "{what}");
        assert!(answer.text().contains(what), "{}", answer.text());
        assert_untold(&front.seen(), &seed, what);
    }
    assert_eq!(portal.control().log().len(), 0);
}

#[tokio::test]
async fn a_self_signed_certificate_is_accepted_once_it_is_the_ca_file() {
    let portal = sandbox().await;
    let (server, pem) = self_signed();
    let front = Front::before(portal.address(), server).await;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("portal.pem");
    std::fs::write(&file, pem).unwrap();
    let (setup, seed) = setup(&portal, &front);
    let gate = Gate::connected(&setup.portal(&format!("ca_file = \"{}\"", file.display())), &seed);
    assert_eq!(http::get(gate.address, "/rest/profile").await.status, 200);
}

#[tokio::test]
async fn a_port_that_does_not_speak_tls_or_stalls_in_the_handshake_gets_nothing() {
    let portal = sandbox().await;
    for (what, front, code) in [
        ("plain HTTP", Front::answering(b"HTTP/1.1 200 OK\r\n\r\n").await, "GATEWAY_PORTAL_TLS"),
        ("a hang-up", Front::answering(b"").await, "GATEWAY_PORTAL_TLS"),
        ("silence", Front::silent().await, "GATEWAY_PORTAL_UNREACHABLE"),
    ] {
        let (gate, seed) = gate(&portal, &front, None);
        let answer = http::get(gate.address, "/rest/profile").await;
        assert_eq!((answer.status, answer.error().as_str()), (502, code), "{what}");
        assert_eq!(answer.executed(), "no", "{what}");
        assert!(front.seen().connections > 0, "{what}");
        assert_untold(&front.seen(), &seed, what);
    }
}

#[tokio::test]
async fn unencrypted_http_to_another_machine_needs_permission() {
    let portal = sandbox().await;
    let plain = Setup::new(&portal).only_portal("url = \"http://crm.example.com\"");
    plain.write();
    let refused = plain.command(&["serve"], "");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(2), "{said}");
    assert!(said.contains("unencrypted") && said.contains("allow_http = true"), "{said}");

    drop(plain.portal("allow_http = true").start());
}

#[tokio::test]
async fn an_answer_that_ends_with_its_connection_must_end_as_tls_ends() {
    let (portal, authority) = (sandbox().await, Authority::new());
    let long = format!("{{\"result\":\"{}\"}}", "x".repeat(100_000));
    for body in [&long[..], &long[..50_000], "{}", ""] {
        for clean in [true, false] {
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{body}");
            let server = authority.server(&["localhost"]);
            let front = Front::ending(server, answer.into_bytes(), clean).await;
            let (gate, _) = gate(&portal, &front, Some(&authority));
            let what = format!("{} bytes, {clean}", body.len());
            let mut client = Client::connect(gate.address).await;
            client.send("GET /rest/profile HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
            let answer = client.answer().await;
            if body.is_empty() && !clean {
                // Before anything was passed on, the break can still be told in words.
                let told = answer.expect("an answer");
                assert_eq!((told.status, told.executed().as_str()), (502, "unknown"));
                continue;
            }
            assert_eq!(answer.as_ref().is_some_and(|answer| answer.whole), clean, "{what}");
            let received = answer.map(|answer| answer.body).unwrap_or_default();
            assert!(body.as_bytes().starts_with(&received), "{what}");
            assert!(!clean || received == body.as_bytes(), "{what}");
            assert_eq!(ends_without_reset(gate.address).await, clean, "{what}, HTTP/1.0");
        }
    }
}

/// HTTP/1.0 knows no chunks, so a broken transfer can only be shown by a reset.
async fn ends_without_reset(address: SocketAddr) -> bool {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /rest/profile HTTP/1.0\r\nHost: localhost\r\n\r\n").await.unwrap();
    stream.read_to_end(&mut Vec::new()).await.is_ok()
}

async fn sandbox() -> Sandbox {
    Sandbox::start(Options::default()).await.unwrap()
}

/// A configuration whose portal is `front`, and a pair from it.
fn setup(portal: &Sandbox, front: &Front) -> (Setup, Seed) {
    let url = format!("https://localhost:{}", front.address.port());
    portal.control().switch(&json!({"portal_url": url})).unwrap();
    (Setup::new(portal).portal("inject = \"bearer\""), portal.seed())
}

fn gate(portal: &Sandbox, front: &Front, trusts: Option<&Authority>) -> (Gate, Seed) {
    let (mut setup, seed) = setup(portal, front);
    if let Some(authority) = trusts {
        setup = setup.portal(&format!("ca_file = \"{}\"", authority.file.display()));
    }
    (Gate::connected(&setup, &seed), seed)
}

fn assert_untold(seen: &Seen, seed: &Seed, to: &str) {
    assert_eq!((seen.handshakes, seen.decrypted()), (0, 0), "{to}");
    assert!(!seen.holds_in_clear(&seed.access_token), "{to}");
    assert!(!seen.holds_in_clear("Bearer"), "{to}");
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, issuer.pem()).unwrap();
        Self { issuer, file, _folder: folder }
    }

    fn server(&self, names: &[&str]) -> Arc<ServerConfig> {
        self.sign(&params(names))
    }

    fn expired(&self) -> Arc<ServerConfig> {
        let mut params = params(&["localhost"]);
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2020, 2, 1);
        self.sign(&params)
    }

    fn sign(&self, params: &CertificateParams) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        server(certificate.der().clone(), &key)
    }
}

fn params(names: &[&str]) -> CertificateParams {
    CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap()
}

fn self_signed() -> (Arc<ServerConfig>, String) {
    let key = KeyPair::generate().unwrap();
    let certificate = params(&["localhost"]).self_signed(&key).unwrap();
    (server(certificate.der().clone(), &key), certificate.pem())
}

fn server(certificate: CertificateDer<'static>, key: &KeyPair) -> Arc<ServerConfig> {
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    Arc::new(builder.with_single_cert(vec![certificate], key).unwrap())
}
