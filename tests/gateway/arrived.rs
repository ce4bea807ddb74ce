//! Portals that came by themselves: the store knows them, and the configuration only their
//! application.

use b24gate::config::{Config, Endpoint};
use b24gate::credential::Grant;
use b24gate::sandbox::{Options, Sandbox, Seed};
use b24gate::store::{Arrived, Registry as _, Seat, SqliteStore, StateDirectory, Store as _};
use serde_json::json;

use crate::support::calls::profile;
use crate::support::{Gate, Setup, http};

/// A configuration that names no portal.
fn setup(seed: &Seed) -> Setup {
    Setup::of(seed).without_portal()
}

/// The name that a portal gets which comes by itself: its host, and its port where it has one.
fn name(seed: &Seed) -> String {
    Endpoint::of_url(&seed.portal_url).unwrap().authority()
}

async fn store(setup: &Setup) -> (StateDirectory, SqliteStore) {
    setup.write();
    let config = Config::load(Some(&setup.config())).unwrap();
    let state = StateDirectory::open(&setup.state()).unwrap();
    let store = SqliteStore::open(&state, &config.store).await.unwrap();
    (state, store)
}

/// What an installation leaves in the store.
async fn arrive(setup: &Setup, seed: &Seed) {
    let (_state, store) = store(setup).await;
    let arrived = Arrived { client_id: seed.client_id.clone(), member_id: seed.member_id.clone() };
    let endpoint = Endpoint::of_url(&seed.portal_url).unwrap();
    store.note_arrival(&name(seed), &arrived, &endpoint).await.unwrap();
    let grant = Grant::parse(seed.token_response.to_string().as_bytes(), 0).unwrap();
    store.add(&name(seed), &grant, Seat::Active { keep_old: false }).await.unwrap();
    store.close().await;
}

/// A gateway to which `portal` has come.
async fn gate(portal: &Sandbox) -> Gate {
    let seed = portal.seed();
    let setup = setup(&seed);
    arrive(&setup, &seed).await;
    setup.start()
}

async fn portal() -> Sandbox {
    Sandbox::start(Options::apart()).await.unwrap()
}

#[tokio::test]
async fn a_portal_that_came_by_itself_is_called_with_and_without_its_name_and_is_renewed() {
    let portal = portal().await;
    let gate = gate(&portal).await;
    assert_eq!(profile(&gate).await.status, 200, "the only one is the default");
    let by_path = format!("/{}/rest/profile", name(&portal.seed()));
    assert_eq!(http::get(gate.address, &by_path).await.status, 200);
    portal.control().expire();
    assert_eq!(http::get(gate.address, &by_path).await.status, 200);
    assert_eq!(portal.control().exchanges(), 1);
    let log = gate.log();
    assert!(log.contains("portal ready"), "{log}");
    assert!(!log.contains("no portal is configured"), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_keeps_it_and_one_without_its_app_does_not_serve_it() {
    let portal = portal().await;
    let gate = gate(&portal).await;
    let text = gate.setup().text();
    let reloaded = |text: String| {
        std::fs::write(gate.setup().config(), text).unwrap();
        gate.signal("HUP");
    };
    reloaded(format!("{text}[portals.beta]\nurl = \"https://beta.invalid\"\n"));
    gate.wait_for_log("configuration reloaded portals=2");
    let by_path = format!("/{}/rest/profile", name(&portal.seed()));
    assert_eq!(http::get(gate.address, &by_path).await.status, 200);

    reloaded(text.replace(&portal.seed().client_id, "local.another"));
    gate.wait_for_log("configuration reloaded portals=0");
    assert!(gate.log().contains("NOT served: no app of the configuration has this client_id"));
    assert_eq!(http::get(gate.address, &by_path).await.status, 404);
    assert_eq!(profile(&gate).await.error(), "GATEWAY_PORTAL_UNKNOWN");

    // Not even an application is left: a file that is being written in place.
    reloaded(String::new());
    gate.wait_for_log("configuration NOT reloaded, the old one stays: the new one has no portals");

    reloaded(text.replace("accept_installs = true", ""));
    gate.wait_for_log("configuration reloaded portals=1");
    assert_eq!(http::get(gate.address, &by_path).await.status, 200);
    assert_eq!(portal.control().exchanges(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn f_37_it_is_followed_when_it_is_renamed_and_keeps_both_names() {
    let portal = portal().await;
    let gate = gate(&portal).await;
    assert_eq!(profile(&gate).await.status, 200);
    let old = name(&portal.seed());
    portal.control().switch(&json!({"renamed": true})).unwrap();
    let moved = profile(&gate).await;
    assert_eq!((moved.status, moved.field("x-b24-replayed")), (200, Some("moved")));
    gate.wait_for_log("the portal has moved");
    let setup = gate.setup().clone();
    let (status, log) = tokio::task::spawn_blocking(|| gate.stop()).await.unwrap();
    assert!(status.success(), "{log}");

    let again = setup.start();
    let new = name(&portal.seed());
    assert_ne!(old, new);
    for named in [&old, &new] {
        let request = format!(
            "GET /rest/profile HTTP/1.1\r\nHost: localhost\r\nX-B24-Portal: {named}\r\n\r\n"
        );
        let answer = http::send(again.address, request).await;
        let replayed = answer.field("x-b24-replayed");
        assert_eq!((answer.status, replayed), (200, None), "{named}: {}", answer.text());
    }
    assert_eq!(profile(&again).await.status, 200, "it is the default as before");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_taken_up_again_from_the_journal_when_the_database_is_lost() {
    let portal = portal().await;
    let gate = gate(&portal).await;
    portal.control().expire();
    assert_eq!(profile(&gate).await.status, 200);
    let setup = gate.kill();
    for file in ["b24gate.db", "b24gate.db-wal", "b24gate.db-shm"] {
        drop(std::fs::remove_file(setup.state().join(file)));
    }
    let again = setup.start();
    again.wait_for_log("lost with a damaged database: it is taken up again");
    assert_eq!(profile(&again).await.status, 200);
    portal.control().expire();
    assert_eq!(profile(&again).await.status, 200);
    assert_eq!(portal.control().exchanges(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_the_operator_disabled_stays_so_after_a_restart() {
    let portal = portal().await;
    let seed = portal.seed();
    let setup = setup(&seed);
    arrive(&setup, &seed).await;
    let (state, store) = store(&setup).await;
    store.set_disabled(&name(&seed), true).await.unwrap();
    store.close().await;
    drop((store, state));
    let gate = setup.start();
    gate.wait_for_log("portal NOT served");
    let list = gate.setup().command(&["portal", "list"], "");
    let list = String::from_utf8(list.stdout).unwrap();
    assert!(list.contains(&name(&seed)) && list.contains("disabled"), "{list}");
    assert_eq!(profile(&gate).await.error(), "GATEWAY_PORTAL_NOT_CONNECTED");
}

#[tokio::test]
async fn a_gateway_that_waits_for_installs_says_where_and_complains_of_nothing() {
    let portal = portal().await;
    let setup = setup(&portal.seed());
    let gate = setup.start();
    let said = gate.wait_for_log("are taken in at");
    assert!(said.contains("portals that install main"), "{said}");
    assert!(said.contains("http://localhost:8026/install"), "{said}");
    assert!(!gate.log().contains("no portal is configured"), "{}", gate.log());
    assert_eq!(profile(&gate).await.error(), "GATEWAY_PORTAL_UNKNOWN");
}
