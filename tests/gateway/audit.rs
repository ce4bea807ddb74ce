//! What is noted of a call, whatever becomes of it.

mod canary;
mod file;
mod log;
mod shown;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use b24gate::audit::{Archive, Entry, Filter};
use serde_json::json;

use crate::support::calls::{fault, portal, profile};
use crate::support::http::{self, Client};
use crate::support::script::{Script, ok};
use crate::support::{Gate, PATIENCE, Setup};

/// All that is kept, in the order in which calls ended; nothing where there is no file yet.
async fn kept(setup: &Setup) -> Vec<Entry> {
    // A file that is just being made cannot be read for a moment.
    let archive = Archive::of(&setup.state());
    archive.after(0, &Filter::default(), 1_000_000).await.unwrap_or_default()
}

/// The same, once there are `count` calls.
async fn calls(gate: &Gate, count: usize) -> Vec<Entry> {
    let waiting = async {
        loop {
            let found = kept(gate.setup()).await;
            if found.len() >= count {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let found = tokio::time::timeout(PATIENCE, waiting).await;
    let found = found.unwrap_or_else(|_| panic!("there are never {count} calls"));
    assert_eq!(found.len(), count, "{found:#?}");
    found
}

/// Method, status, executed, code.
fn fate(call: &Entry) -> (&str, u16, &str, &str) {
    (
        call.method.as_deref().unwrap_or("-"),
        call.status.unwrap_or_default(),
        call.executed.as_deref().unwrap_or("-"),
        call.code.as_deref().unwrap_or("-"),
    )
}

fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis().try_into().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_is_noted_with_its_time_its_portal_and_its_method_as_it_was_written() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    let before = now_ms();
    assert_eq!(http::get(gate.address, "/rest/7/aWebhook/Profile.json").await.status, 200);
    assert_eq!(http::get(gate.address, "/acme/rest/api/no.such").await.status, 404);
    let found = calls(&gate, 2).await;
    assert_eq!(fate(&found[0]), ("Profile.json", 200, "yes", "-"));
    assert_eq!(fate(&found[1]), ("no.such", 404, "yes", "-"));
    for call in found {
        assert!((before - 1..=now_ms()).contains(&call.at_ms), "{before} {call:?}");
        assert_eq!((call.client, call.uid, call.not_kept), (None, None, None));
        assert_eq!((call.portal.as_deref(), call.replayed), (Some("acme"), None));
        assert!(call.ms.is_some());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_noted_with_its_code_and_as_not_executed() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    let endless = format!("GET /rest/profile HTTP/1.1\r\nX-Long: {}", "a".repeat(100_000));
    for (request, status) in [
        ("GET /nobody/rest/profile HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        ("GET /rest/profile HTTP/1.1\r\nHost: evil.example\r\n\r\n", 403),
        ("DELETE /rest/profile HTTP/1.1\r\nHost: localhost\r\n\r\n", 405),
        ("GET /rest/1/aSecretKey/ HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        ("GET /rest/a%2fb HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        ("NONSENSE\r\n\r\n", 400),
        (&endless, 431),
    ] {
        assert_eq!(http::send(gate.address, request).await.status, status, "{request}");
    }
    let found = calls(&gate, 7).await;
    assert_eq!(fate(&found[0]), ("profile", 404, "no", "GATEWAY_PORTAL_UNKNOWN"));
    assert_eq!(fate(&found[1]), ("profile", 403, "no", "GATEWAY_BROWSER_REFUSED"));
    assert_eq!(fate(&found[2]).3, "GATEWAY_VERB_REFUSED");
    assert_eq!(fate(&found[3]), ("-", 404, "no", "GATEWAY_NOT_A_METHOD"));
    assert_eq!(fate(&found[4]), ("-", 404, "no", "GATEWAY_NOT_A_METHOD"));
    assert_eq!(fate(&found[5]), ("-", 400, "no", "GATEWAY_BAD_REQUEST"));
    assert_eq!(fate(&found[6]), ("-", 431, "no", "GATEWAY_HEAD_TOO_LARGE"));
    assert!(found.iter().all(|call| call.portal.is_none()), "{found:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_portals_faults_are_noted_with_what_is_known_of_the_call() {
    let portal = portal().await;
    let setup = Setup::new(&portal).gateway("max_wait = \"0s\"");
    let gate = Gate::connected(&setup, &portal.seed());
    assert_eq!(profile(&gate).await.status, 200);
    let mut want = vec![(200, "yes", "-")];
    for (mode, expected) in [
        (
            json!({"mode": "reset_before_answer", "count": 1}),
            (502, "unknown", "GATEWAY_PORTAL_BROKEN"),
        ),
        (json!({"mode": "garbage", "count": 1}), (502, "unknown", "GATEWAY_PORTAL_BROKEN")),
        (json!({"mode": "query_limit", "count": 1}), (503, "no", "QUERY_LIMIT_EXCEEDED")),
        // Delivered as it is, and the portal says with it that nothing has run.
        (
            json!({"mode": "error", "status": 401, "code": "NO_AUTH_FOUND", "count": 1}),
            (401, "no", "-"),
        ),
        (json!({"mode": "error", "status": 400, "code": "X", "count": 1}), (400, "yes", "-")),
    ] {
        fault(&portal, json!({"portal": mode})).await;
        assert_eq!(profile(&gate).await.status, expected.0, "{mode}");
        portal.control().clear_faults().await;
        want.push(expected);
    }
    portal.control().expire();
    let answer = profile(&gate).await;
    assert_eq!(answer.field("x-b24-replayed"), Some("expired_token"));
    want.push((200, "yes", "-"));
    let found = calls(&gate, want.len()).await;
    let fates: Vec<_> =
        found.iter().map(fate).map(|(_, status, ran, code)| (status, ran, code)).collect();
    assert_eq!(fates, want);
    assert_eq!(found.last().unwrap().replayed.as_deref(), Some("expired_token"));
    assert!(found.iter().all(|call| call.portal.as_deref() == Some("acme")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_before_its_call_is_sent_is_noted_without_a_status() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    let mut client = Client::connect(gate.address).await;
    let head =
        "POST /rest/crm.lead.add HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nabc";
    client.send(head).await;
    drop(client);
    let found = calls(&gate, 1).await;
    assert_eq!((found[0].status, fate(&found[0])), (None, ("crm.lead.add", 0, "no", "-")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_while_its_call_is_being_sent_is_noted_as_unknown() {
    let script = Script::play_with(
        |setup| setup.gateway("replay_memory = \"64KiB\"").portal("inject = \"bearer\""),
        |mut line| async move {
            while line.head().await.is_some() {
                line.body(100_000).await;
                line.wait_for_end().await;
            }
        },
    )
    .await;
    let mut client = Client::connect(script.gate.address).await;
    client
        .send(
            "POST /rest/crm.lead.add HTTP/1.1\r\nHost: localhost\r\nContent-Length: 900000\r\n\r\n",
        )
        .await;
    client.send(vec![b'a'; 100_000]).await;
    crate::support::calls::until("the portal hears of it", || script.requests() > 0).await;
    drop(client);
    let found = calls(&script.gate, 1).await;
    assert_eq!((found[0].status, fate(&found[0])), (None, ("crm.lead.add", 0, "unknown", "-")));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_follow_one_another_on_a_connection_do_not_borrow_from_one_another() {
    let script = Script::play(|mut line| async move {
        while line.head().await.is_some() {
            line.write(ok("{\"result\":1}")).await;
        }
    })
    .await;
    let mut client = Client::connect(script.gate.address).await;
    for target in ["/rest/first.method", "/nothing", "/rest/b", "/nobody/rest/c"] {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
        client.answer().await.unwrap();
    }
    let found = calls(&script.gate, 4).await;
    let seen: Vec<_> = found.iter().map(|it| (fate(it).0, it.portal.as_deref())).collect();
    let acme = Some("acme");
    assert_eq!(seen, [("first.method", acme), ("-", None), ("b", acme), ("c", None)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_ends_in_a_panic_is_noted_too() {
    for (place, want) in [
        ("forward", ("profile", 500, "no", "GATEWAY_INTERNAL")),
        ("answered", ("profile", 500, "unknown", "GATEWAY_INTERNAL")),
        // Bytes of the portal's answer had left already.
        ("relay", ("profile", 0, "yes", "-")),
    ] {
        let portal = portal().await;
        let setup = Setup::new(&portal).env("B24GATE_FAILPOINT", &format!("{place}=panic*1"));
        let gate = Gate::connected(&setup, &portal.seed());
        let mut client = Client::connect(gate.address).await;
        client.send("GET /rest/profile HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        client.answer().await;
        let found = calls(&gate, 1).await;
        assert_eq!(fate(&found[0]), want, "{place}");
        assert_eq!(found[0].portal.as_deref(), Some("acme"), "{place}");
    }
}
