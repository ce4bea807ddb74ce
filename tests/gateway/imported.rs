//! A pair that the operator brings to a running gateway.

use b24gate::config::Config;
use b24gate::sandbox::{Options, Sandbox};
use b24gate::store::{Registry as _, Seat, SqliteStore, StateDirectory};

use crate::support::calls::profile;
use crate::support::{Gate, Setup, http};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_names_its_user_and_puts_an_uninstalled_portal_back_in_service() {
    let portal = Sandbox::start(Options::apart()).await.unwrap();
    let setup = Setup::new(&portal);
    setup.write();
    setup.keep(&[("acme", &portal.seed())], Seat::Active { keep_old: false }).await;
    {
        let config = Config::load(Some(&setup.config())).unwrap();
        let state = StateDirectory::open(&setup.state()).unwrap();
        let store = SqliteStore::open(&state, &config.store).await.unwrap();
        store.note_uninstall("acme", 1).await.unwrap();
        store.close().await;
    }
    let gate = setup.start();
    assert_eq!(profile(&gate).await.error(), "GATEWAY_PORTAL_NOT_CONNECTED");
    setup.import(&portal.seed());
    assert_eq!(profile(&gate).await.status, 200);
    gate.wait_for_log("connected portal=acme user=1");
    let shown = http::get(gate.admin, "/api/v1/portals/acme").await.text();
    assert!(shown.contains("Ada Lovelace"), "{shown}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_renewal_in_a_row_says_that_the_first_one_is_not_used_up() {
    let portal = Sandbox::start(Options::apart()).await.unwrap();
    let setup = Setup::new(&portal);
    let gate = Gate::connected(&setup, &portal.seed());
    let refresh = || gate.setup().command(&["portal", "refresh", "acme"], "");
    assert!(refresh().status.success());
    let again = refresh();
    let said = String::from_utf8(again.stderr).unwrap();
    assert!(!again.status.success() && said.contains("no call has used it yet"), "{said}");
    assert_eq!(profile(&gate).await.status, 200);
    assert!(refresh().status.success());
    assert_eq!(portal.control().exchanges(), 2);
}
