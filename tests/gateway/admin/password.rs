//! The operator's password: asked for everywhere but where machines look whether the gateway lives.

use std::os::unix::fs::PermissionsExt as _;

use serde_json::json;

use super::ask;
use crate::support::calls::{fault, portal, profile};
use crate::support::{Gate, Setup};

const PASSWORD: &str = "correct-horse-battery-staple";
/// `operator:correct-horse-battery-staple`, and the same password of nobody.
const RIGHT: &str = "Authorization: Basic b3BlcmF0b3I6Y29ycmVjdC1ob3JzZS1iYXR0ZXJ5LXN0YXBsZQ==";
const NAMELESS: &str = "Authorization: Basic OmNvcnJlY3QtaG9yc2UtYmF0dGVyeS1zdGFwbGU=";
/// `operator:wrong`
const WRONG: &str = "Authorization: Basic b3BlcmF0b3I6d3Jvbmc=";

fn guarded(setup: &Setup) -> Setup {
    let file = setup.config().with_file_name("admin.password");
    std::fs::write(&file, format!("{PASSWORD}\n")).unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    setup.clone().admin("password_file = \"admin.password\"")
}

const PATHS: [&str; 9] = [
    "GET /",
    "GET /?fragment",
    "GET /page.js",
    "GET /metrics",
    "GET /api/v1/session",
    "GET /api/v1/portals",
    "GET /nothing",
    "POST /api/v1/portals/acme/disable",
    "POST /portals/acme/disable",
];

#[tokio::test]
async fn nothing_but_whether_it_lives_is_told_without_the_password() {
    let portal = portal().await;
    let gate = Gate::connected(&guarded(&Setup::new(&portal)), &portal.seed());
    for line in PATHS {
        for fields in [&[][..], &["Authorization: Bearer x"], &["Authorization: Basic ???"]] {
            let answer = ask(&gate, line, fields, "").await;
            assert_eq!(answer.status, 401, "{line}: {}", answer.text());
            let asks = answer.field("www-authenticate").unwrap_or_default();
            assert!(asks.starts_with("Basic realm=\"b24gate\""), "{line}: {asks}");
            assert!(!answer.text().contains("acme"), "{line}: {}", answer.text());
        }
    }
    assert_eq!(ask(&gate, "GET /livez", &[], "").await.text(), "ok\n");
    assert_eq!(ask(&gate, "GET /readyz", &[], "").await.text(), "ready\n");

    portal.control().expire();
    fault(&portal, json!({"oauth": {"mode": "invalid_grant"}})).await;
    profile(&gate).await;
    let told = ask(&gate, "GET /readyz", &[], "").await;
    assert_eq!((told.status, told.text().as_str()), (503, "not ready\n"));
    let told = ask(&gate, "GET /readyz", &[RIGHT], "").await;
    assert!(told.text().contains("acme: dead (invalid_grant)"), "{}", told.text());
}

#[tokio::test]
async fn the_right_password_opens_whoever_says_it_and_the_wall_stays() {
    let portal = portal().await;
    let gate = Gate::connected(&guarded(&Setup::new(&portal)), &portal.seed());
    for right in [RIGHT, NAMELESS] {
        let answer = ask(&gate, "GET /api/v1/portals/acme", &[right], "").await;
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    assert_eq!(ask(&gate, "GET /", &[WRONG], "").await.status, 401);
    let twice = ask(&gate, "GET /", &[RIGHT, RIGHT], "").await;
    assert_eq!(twice.status, 401, "{}", twice.text());

    // A browser adds a password it knows to what a foreign page sends.
    let line = "POST /api/v1/portals/acme/disable";
    assert_eq!(ask(&gate, line, &[RIGHT], "").await.status, 403, "no token");
    let session = ask(&gate, "GET /api/v1/session", &[RIGHT], "").await.json();
    let token = format!("X-CSRF-Token: {}", session["csrf"].as_str().unwrap());
    let foreign = "Origin: http://evil.example";
    assert_eq!(ask(&gate, line, &[RIGHT, &token, foreign], "").await.status, 403);
    assert_eq!(ask(&gate, "GET /", &[RIGHT, "Host: evil.example"], "").await.status, 403);
    assert_eq!(ask(&gate, line, &[RIGHT, &token], "").await.status, 200);
    assert!(!gate.log().contains(PASSWORD));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn guessing_is_slowed_down_and_lets_the_operator_in_afterwards() {
    let portal = portal().await;
    let gate = Gate::connected(&guarded(&Setup::new(&portal)), &portal.seed());
    let guesses = (0..60).map(|_| ask(&gate, "GET /api/v1/portals", &[WRONG], ""));
    let mut answers = Vec::new();
    for guess in join_all(guesses).await {
        match guess.status {
            401 => {}
            429 => assert_eq!(guess.field("retry-after"), Some("1")),
            other => panic!("{other}: {}", guess.text()),
        }
        answers.push(guess.status);
    }
    // How many a second is held where the clock stands still.
    assert!(answers.contains(&401) && answers.contains(&429), "{answers:?}");
    let mut refused = 0;
    while ask(&gate, "GET /", &[RIGHT], "").await.status != 200 {
        refused += 1;
        assert!(refused < 50, "the operator stays locked out");
    }
}

/// All at the same time.
async fn join_all<F: Future>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut waiting: Vec<_> = futures.map(|future| Some(Box::pin(future))).collect();
    let mut done = Vec::new();
    std::future::poll_fn(|context| {
        for place in &mut waiting {
            if let Some(future) = place
                && let std::task::Poll::Ready(output) = future.as_mut().poll(context)
            {
                done.push(output);
                *place = None;
            }
        }
        if waiting.iter().all(Option::is_none) {
            return std::task::Poll::Ready(());
        }
        std::task::Poll::Pending
    })
    .await;
    done
}

#[tokio::test]
async fn a_reload_changes_the_password() {
    let portal = portal().await;
    let gate = Gate::connected(&guarded(&Setup::new(&portal)), &portal.seed());
    assert_eq!(ask(&gate, "GET /", &[RIGHT], "").await.status, 200);
    let file = gate.setup().config().with_file_name("admin.password");
    std::fs::write(&file, "another-password-altogether\n").unwrap();
    gate.signal("HUP");
    gate.wait_for_log("configuration reloaded");
    assert_eq!(ask(&gate, "GET /", &[RIGHT], "").await.status, 401);
}
