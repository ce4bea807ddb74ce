use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::net::TcpListener;

use super::*;
use crate::app::reload::{Means, populate};
use crate::credential::Link;
use crate::portal::tests::{PAIR, Scene, config};
use crate::store::{Registry as _, Store as _};

#[tokio::test]
async fn a_portal_that_is_not_served_is_not_renewed_either() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = server.local_addr().unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    tokio::spawn(async move {
        while server.accept().await.is_ok() {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    let text = format!(
        "[apps.main]\nclient_id = \"local.1\"\nclient_secret = \"S-canary\"\n\
         oauth_server = \"http://{address}\"\n[portals.acme]\nurl = \"https://acme.lan\"\n"
    );
    for closed in ["disabled", "uninstalled", "open"] {
        let scene = Scene::new().await;
        scene.add("acme", PAIR).await;
        // As after a crash in the middle of an exchange: the doubt is settled without a call.
        let stored = scene.record("acme").await.unwrap().credential.unwrap().unwrap();
        let link = Link { portal: "acme", chain: stored.chain, generation: stored.generation };
        scene.store.intend(link).await.unwrap();
        match closed {
            "disabled" => scene.store.set_disabled("acme", true).await.unwrap(),
            "uninstalled" => scene.store.note_uninstall("acme", 1).await.unwrap(),
            _ => {}
        }
        let portals = Portals::default();
        let means =
            Means { custody: &scene.custody, registry: &*scene.store, connector: &scene.connector };
        populate(&portals, &config(&text), &means).await.unwrap();
        look(&portals);
        assert!(scene.custody.flights().wait_idle(Duration::from_mins(1)).await);
        assert_eq!(asked.load(Ordering::Relaxed) > 0, closed == "open", "{closed}");
    }
}
