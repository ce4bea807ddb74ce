//! A disk that takes two seconds for a sync.

use std::fs;

use serde_json::json;

use crate::disk::Injection;
use crate::support::Gate;
use crate::support::calls::{begin, calls_of, fault, portal, profile, switch, until};

/// Calls that must have been answered meanwhile. One that waits for the disk is one, not twenty.
const MEANWHILE: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_48_while_a_renewal_waits_for_a_slow_disk_calls_with_a_live_token_are_answered() {
    let portal = portal().await;
    switch(&portal, json!({"old_access_dies": false}));
    let gate = Gate::before(&portal);
    assert_eq!(profile(&gate).await.status, 200);
    let record = gate.setup().config().with_file_name("strace");
    // The first sync of each thread.
    let slow = "fsync,fdatasync:delay_enter=2000000:when=1";
    let Some(injection) = Injection::into(&gate, slow, &record) else { return };
    fault(&portal, json!({"portal": {"mode": "expired_once"}})).await;
    let mut renewing = begin(gate.address, "/rest/user.current").await;
    until("it is refused", || !calls_of(&portal, "user.current").is_empty()).await;

    let mut meanwhile = 0;
    while !gate.log().contains("token refreshed") {
        let answer = profile(&gate).await;
        assert_eq!((answer.status, answer.field("x-b24-replayed")), (200, None));
        meanwhile += 1;
    }
    let answer = renewing.answer().await.unwrap();
    assert_eq!((answer.status, answer.field("x-b24-replayed")), (200, Some("expired_token")));
    drop(injection);
    let record = fs::read_to_string(record).unwrap();
    assert!(record.contains("(DELAYED)"), "{record}");
    assert!(meanwhile >= MEANWHILE, "{meanwhile} calls were answered meanwhile");
    assert_eq!(portal.control().exchanges(), 1);
}
