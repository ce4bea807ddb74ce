use b24gate::sandbox::{Options, Sandbox};

use crate::support::{Gate, http};

#[tokio::test]
async fn a_call_without_a_credential_is_answered_through_an_expiry_and_a_restart() {
    let portal = Sandbox::start(Options::default()).await.unwrap();
    let gate = Gate::before(&portal);
    assert_eq!(http::get(gate.address, "/rest/profile").await.json()["result"]["NAME"], "Ada");

    portal.control().expire();
    let replayed = http::get(gate.address, "/rest/profile").await;
    assert_eq!(replayed.status, 200);
    assert_eq!(replayed.field("x-b24-replayed"), Some("expired_token"));
    assert_eq!(portal.control().exchanges(), 1);

    let setup = gate.setup().clone();
    let (status, log) = gate.stop();
    assert!(status.success(), "{log}");
    let again = setup.start();
    let answer = http::get(again.address, "/rest/profile").await;
    assert_eq!((answer.status, answer.field("x-b24-replayed")), (200, None));
    assert_eq!(portal.control().exchanges(), 1, "the stored token is the renewed one");
}
