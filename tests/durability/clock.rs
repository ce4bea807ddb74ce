//! The wall clock is wrong, jumps, or has moved on while the machine was suspended. What the
//! gateway has renewed itself it measures by the monotonic clock, so that none of it starts an
//! exchange that the portal has not asked for.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use b24gate::sandbox::Sandbox;
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;

use crate::support::calls::{assert_refused, calls_of, herd, portal, profile, shown};
use crate::support::front::Front;
use crate::support::http::{self, Answer};
use crate::support::{Gate, Setup};

const HOUR: i64 = 3_600;

/// The wall clock of gateway processes, which the test sets while they run. Their monotonic clock
/// is the machine's.
#[derive(Debug)]
struct WallClock {
    folder: tempfile::TempDir,
}

impl WallClock {
    /// A clock that is right.
    fn new() -> Self {
        let clock = Self { folder: tempfile::tempdir().unwrap() };
        clock.set(0);
        clock
    }

    /// Lets it be `seconds` ahead, or behind.
    fn set(&self, seconds: i64) {
        let new = self.folder.path().join("new");
        std::fs::write(&new, format!("{seconds:+}\n")).unwrap();
        // In one step: the processes read the file at every look at the clock.
        std::fs::rename(new, self.file()).unwrap();
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("faketime")
    }

    /// The processes of `setup` go by this clock. Two threads that read its file at the same moment
    /// may, once in a while, get neither time: not for tests in which that matters.
    fn on(&self, setup: Setup) -> Setup {
        preloaded(setup)
            .env("FAKETIME_TIMESTAMP_FILE", self.file().to_str().unwrap())
            .env("FAKETIME_NO_CACHE", "1")
    }

    /// A gateway that goes by this clock, with the pair of `portal` imported.
    fn before(&self, portal: &Sandbox) -> Gate {
        Gate::connected(&self.on(Setup::new(portal)), &portal.seed())
    }
}

/// The processes of `setup` go by a clock that is `seconds` ahead, or behind, and stays so.
fn fixed(setup: Setup, seconds: i64) -> Setup {
    preloaded(setup).env("FAKETIME", &format!("{seconds:+}"))
}

fn preloaded(setup: Setup) -> Setup {
    let output = Command::new("faketime")
        .args(["-f", "+0", "printenv", "LD_PRELOAD"])
        .output()
        .expect("faketime is not installed; scripts/test installs it");
    let library = String::from_utf8(output.stdout).unwrap();
    setup.env("LD_PRELOAD", library.trim()).env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
}

/// To a day after the beginning of time, where a machine without a battery starts.
fn to_1970() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    24 * HOUR - i64::try_from(now).unwrap()
}

/// Waits until the process goes by a clock that is `hours` ahead (to the half hour).
async fn assert_ahead(gate: &Gate, hours: i64) {
    let mut line = String::new();
    for attempt in 0..50 {
        let id = format!("clock-{hours}-{attempt}");
        let head = "GET /nothing HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: ";
        http::send(gate.address, format!("{head}{id}\r\n\r\n")).await;
        line = gate.wait_for_log(&id);
        if is_at(&line, hours) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("not {hours} h ahead: {line}");
}

fn is_at(line: &str, hours: i64) -> bool {
    let at = |minutes: i64| {
        let when = format!("{minutes} minutes");
        let date = Command::new("date").args(["-u", "-d", &when, "+%FT%T"]).output().unwrap();
        String::from_utf8(date.stdout).unwrap().trim().to_owned()
    };
    let (least, most) = (at(hours * 60 - 30), at(hours * 60 + 30));
    let told = line.get(..least.len()).unwrap();
    least.as_str() < told && told < most.as_str()
}

async fn assert_served(gate: &Gate, calls: usize) -> Vec<Answer> {
    let answers = herd(gate.address, calls, "/rest/profile").await;
    for answer in &answers {
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    answers
}

/// Lets the gateway renew once, so that it has a token of its own.
async fn renew(portal: &Sandbox, gate: &Gate) {
    let before = portal.control().exchanges();
    portal.control().expire();
    assert_served(gate, 1).await;
    assert_eq!(portal.control().exchanges(), before + 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_40_a_wall_clock_that_jumps_ahead_starts_no_exchange_until_the_portal_refuses() {
    let (portal, clock) = (portal().await, WallClock::new());
    let gate = clock.before(&portal);
    assert_ahead(&gate, 0).await;
    renew(&portal, &gate).await;

    clock.set(2 * HOUR);
    assert_ahead(&gate, 2).await;
    for answer in assert_served(&gate, 50).await {
        assert_eq!(answer.field("x-b24-replayed"), None);
    }
    assert_eq!(portal.control().exchanges(), 1, "nothing but the clock has changed");

    portal.control().expire();
    assert_served(&gate, 50).await;
    assert_eq!(portal.control().exchanges(), 2);
    // The new pair is dated by the new clock, and a restart takes it for what it is.
    let again = gate.kill().start();
    assert_ahead(&again, 2).await;
    assert_served(&again, 50).await;
    assert_eq!(portal.control().exchanges(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_40_a_start_with_a_wall_clock_that_is_ahead_costs_one_exchange() {
    let portal = portal().await;
    let gate = Gate::connected(&fixed(Setup::new(&portal), 2 * HOUR), &portal.seed());
    assert_ahead(&gate, 2).await;
    for _ in 0..5 {
        assert_served(&gate, 10).await;
    }
    assert_eq!(portal.control().exchanges(), 1, "the imported expiry has passed, by this clock");
    assert!(portal.control().log().iter().all(|call| call.status == 200));
}

/// Starts and serves with a wall clock that is behind the one by which its pair was stored.
async fn check_start_in_the_past(seconds: i64) {
    let portal = portal().await;
    let setup = fixed(Setup::new(&portal), 0);
    let gate = Gate::connected(&setup, &portal.seed());
    renew(&portal, &gate).await;

    let gate = fixed(gate.kill(), seconds).start();
    assert_served(&gate, 50).await;
    assert_eq!(portal.control().exchanges(), 1, "what the store has is taken as it is");
    portal.control().expire();
    assert_served(&gate, 50).await;
    assert_eq!(portal.control().exchanges(), 2);
    assert_eq!(shown(&gate, "generation").as_deref(), Some("3"));

    let gate = gate.kill().start();
    assert_served(&gate, 50).await;
    assert_eq!(portal.control().exchanges(), 2, "the pair was stored");
    // When the clock is mended, what was stored by the wrong one looks old, once.
    let gate = fixed(gate.kill(), 0).start();
    assert_ahead(&gate, 0).await;
    assert_served(&gate, 50).await;
    assert_served(&gate, 1).await;
    assert_eq!(portal.control().exchanges(), 3);
    assert_eq!(shown(&gate, "generation").as_deref(), Some("4"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_41_a_gateway_started_two_hours_in_the_past_serves_and_renews_at_a_refusal() {
    check_start_in_the_past(-2 * HOUR).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_41_a_gateway_started_in_1970_serves_and_renews_at_a_refusal() {
    check_start_in_the_past(to_1970()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_41_a_wall_clock_that_jumps_back_starts_no_exchange_until_the_portal_refuses() {
    let (portal, clock) = (portal().await, WallClock::new());
    let gate = clock.before(&portal);
    renew(&portal, &gate).await;
    clock.set(-2 * HOUR);
    assert_ahead(&gate, -2).await;
    assert_served(&gate, 50).await;
    assert_eq!(portal.control().exchanges(), 1);
    portal.control().expire();
    assert_served(&gate, 50).await;
    assert_eq!(portal.control().exchanges(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_41_a_certificate_that_is_not_valid_in_1970_is_told_with_the_clocks_date() {
    let (portal, folder) = (portal().await, tempfile::tempdir().unwrap());
    let (server, authority) = certificate(folder.path());
    let front = Front::before(portal.address(), server).await;
    let mut seed = portal.seed();
    seed.portal_url = format!("https://localhost:{}", front.address.port());
    let setup = Setup::of(&seed).env("SSL_CERT_FILE", authority.to_str().unwrap());
    let gate = Gate::connected(&fixed(setup, to_1970()), &seed);

    let answer = profile(&gate).await;
    assert_refused(&answer, 502, "GATEWAY_PORTAL_TLS");
    let told = answer.text();
    assert!(told.contains("is not valid yet, if this machine's clock is right"), "{told}");
    assert!(told.contains("it says 1970-01-02"), "{told}");
    assert_eq!(front.seen().handshakes, 0);
    let gate = fixed(gate.kill(), 0).start();
    assert_served(&gate, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_41_an_oauth_server_whose_certificate_is_not_valid_in_1970_is_told_with_the_date() {
    let (portal, folder) = (portal().await, tempfile::tempdir().unwrap());
    let (server, authority) = certificate(folder.path());
    let front = Front::before(portal.address(), server).await;
    let mut seed = portal.seed();
    seed.oauth_url = format!("https://localhost:{}", front.address.port());
    let setup = Setup::of(&seed).env("SSL_CERT_FILE", authority.to_str().unwrap());
    let gate = Gate::connected(&fixed(setup, to_1970()), &seed);
    portal.control().expire();

    let answer = profile(&gate).await;
    assert_refused(&answer, 503, "GATEWAY_REFRESH_UNAVAILABLE");
    let told = answer.text();
    assert!(told.contains("certificate has expired or is not valid yet"), "{told}");
    assert!(told.contains("this machine's clock is right: it says 1970-01-02"), "{told}");
    assert_eq!(shown(&gate, "last error").as_deref(), Some("tls_date"));
    assert_eq!(front.seen().handshakes, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_42_after_eight_hours_of_suspend_the_first_call_renews_once_and_nothing_else_happens() {
    let (portal, clock) = (portal().await, WallClock::new());
    let gate = clock.before(&portal);
    renew(&portal, &gate).await;
    assert_served(&gate, 10).await;
    portal.control().clear_log();

    // The monotonic clock has stood still, the portal's tokens have not.
    clock.set(8 * HOUR);
    portal.control().expire();
    assert_ahead(&gate, 8).await;
    let first = profile(&gate).await;
    assert_eq!((first.status, first.field("x-b24-replayed")), (200, Some("expired_token")));
    assert_eq!(portal.control().exchanges(), 2);

    assert_served(&gate, 20).await;
    let statuses: Vec<_> = calls_of(&portal, "profile").iter().map(|call| call.status).collect();
    assert_eq!(statuses, [vec![401], vec![200; 21]].concat());
    assert_eq!(portal.control().log().len(), 22 + 1, "the calls and one exchange, nothing else");
}

/// A server's certificate for `localhost`, valid from 1975 on, and the file that makes it trusted.
fn certificate(folder: &Path) -> (Arc<ServerConfig>, PathBuf) {
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let file = folder.join("authority.pem");
    std::fs::write(&file, certificate.pem()).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    (Arc::new(config), file)
}

/// Lets the keeper look at the portal a few times more than it has.
async fn a_few_looks() {
    tokio::time::sleep(Duration::from_secs(12)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credential_that_nobody_uses_is_renewed_once_after_21_days_and_not_before() {
    let (portal, clock) = (portal().await, WallClock::new());
    let gate = clock.before(&portal);
    clock.set(20 * 24 * HOUR);
    assert_ahead(&gate, 20 * 24).await;
    a_few_looks().await;
    assert_eq!(portal.control().exchanges(), 0);
    clock.set(21 * 24 * HOUR + 60);
    gate.wait_for_log("token refreshed");
    a_few_looks().await;
    assert_eq!(portal.control().exchanges(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_portal_with_an_interval_is_renewed_ahead_of_time_and_its_neighbour_is_not() {
    let (asked, lazy) = (portal().await, portal().await);
    let clock = WallClock::new();
    for (portal, lines) in [(&asked, "refresh = \"25m\""), (&lazy, "")] {
        let setup = clock.on(Setup::new(portal)).portal(lines);
        let gate = Gate::connected(&setup, &portal.seed());
        clock.set(26 * 60);
        if lines.is_empty() {
            a_few_looks().await;
        } else {
            gate.wait_for_log("token refreshed");
            a_few_looks().await;
        }
        clock.set(0);
    }
    assert_eq!((asked.control().exchanges(), lazy.control().exchanges()), (1, 0));
}
