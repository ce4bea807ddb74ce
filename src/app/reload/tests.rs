use super::*;
use crate::config::Endpoint;
use crate::portal::tests::{MEMBER, OTHER, PAIR, Scene, arrived, config, name};
use crate::store::Store as _;

/// An application that takes portals in.
const OPEN: &str = "[apps.main]\nclient_id = \"local.1\"\nclient_secret = \"S-canary\"\n\
                    accept_installs = true\n";
const ACME: &str = "acme.bitrix24.com";

fn https(host: &str) -> Endpoint {
    Endpoint { tls: true, host: host.to_owned(), port: 443 }
}

async fn load(portals: &Portals, scene: &Scene, text: &str) {
    let Scene { custody, store, connector, .. } = scene;
    let means = Means { custody, registry: &**store, connector };
    Box::pin(populate(portals, &config(text), &means)).await.unwrap();
}

async fn loaded(scene: &Scene, text: &str) -> Portals {
    let portals = Portals::default();
    load(&portals, scene, text).await;
    portals
}

/// The state of a gateway to which a portal has come.
async fn with_acme() -> Scene {
    let scene = Scene::new().await;
    scene.store.note_arrival(ACME, &arrived(MEMBER), &https(ACME)).await.unwrap();
    scene.add(ACME, PAIR).await;
    scene
}

fn word(portals: &Portals, name: &str) -> &'static str {
    portals.by_name(name).map_or("none", |portal| portal.status().word())
}

#[tokio::test]
async fn a_portal_that_came_by_itself_is_served_after_a_restart_and_is_the_default_when_alone() {
    let scene = with_acme().await.restart(|_| {}).await;
    let portals = loaded(&scene, OPEN).await;
    assert_eq!(portals.names(), [ACME]);
    assert_eq!(word(&portals, ACME), "connected");
    assert_eq!(name(portals.by_domain(ACME)).as_deref(), Some(ACME));
    assert_eq!(name(portals.default_portal()).as_deref(), Some(ACME));
    assert_eq!(portals.by_name(ACME).unwrap().site().endpoint, https(ACME));
    // Whether it takes more of them is another question.
    let closed = OPEN.replace("accept_installs = true\n", "");
    assert_eq!(loaded(&scene, &closed).await.names(), [ACME]);
}

#[tokio::test]
async fn a_reload_keeps_the_portals_that_came_by_themselves_as_they_are() {
    let scene = with_acme().await;
    let portals = loaded(&scene, OPEN).await;
    let acme = portals.by_name(ACME).unwrap();
    let more = format!("{OPEN}[portals.beta]\nurl = \"https://beta.lan\"\n");
    load(&portals, &scene, &more).await;
    assert!(Arc::ptr_eq(&acme, &portals.by_name(ACME).unwrap()), "its connections stay, too");
    assert_eq!(portals.names(), [ACME, "beta"]);
    assert_eq!(name(portals.default_portal()).as_deref(), Some("beta"), "the operator's own");
    load(&portals, &scene, &OPEN.replace("S-canary", "S-other")).await;
    let app = portals.by_name(ACME).unwrap().credential().unwrap().app();
    assert!(app.client_secret.matches("S-other"), "a changed secret is taken over");
    assert_eq!(portals.names(), [ACME]);
    assert_eq!(name(portals.default_portal()).as_deref(), Some(ACME));
}

#[tokio::test]
async fn another_oauth_server_makes_the_portal_anew_with_the_credential_it_has() {
    let scene = with_acme().await;
    let portals = loaded(&scene, OPEN).await;
    let acme = portals.by_name(ACME).unwrap();
    acme.standing.note(|facts| facts.disabled = true);
    let elsewhere = format!("{OPEN}oauth_server = \"http://127.0.0.1:9\"\n");
    load(&portals, &scene, &elsewhere).await;
    let new = portals.by_name(ACME).unwrap();
    assert!(!Arc::ptr_eq(&acme, &new), "what it may reach depends on the server");
    assert!(Arc::ptr_eq(acme.credential().unwrap(), new.credential().unwrap()));
    assert!(new.standing.facts().disabled);
    assert_eq!(new.credential().unwrap().app().oauth_server.port, 9);
}

#[tokio::test]
async fn a_portal_whose_app_is_gone_is_not_served_and_comes_back_with_it() {
    let scene = with_acme().await;
    let portals = loaded(&scene, OPEN).await;
    load(&portals, &scene, &OPEN.replace("local.1", "local.2")).await;
    assert!(portals.names().is_empty() && portals.by_domain(ACME).is_none());
    let renamed = OPEN.replace("apps.main", "apps.renamed");
    load(&portals, &scene, &renamed).await;
    assert_eq!(word(&portals, ACME), "connected");
}

#[tokio::test]
async fn a_portal_that_was_removed_or_never_came_by_itself_is_not_taken_up() {
    let scene = with_acme().await;
    scene.store.remove(ACME).await.unwrap();
    // Of a section that the configuration does not have any more.
    scene.add("gone", PAIR).await;
    // Known by something else than a chain.
    scene.store.set_disabled("nochain.lan", true).await.unwrap();
    assert!(loaded(&scene, OPEN).await.names().is_empty());
    let scene = scene.restart(|_| {}).await;
    assert!(loaded(&scene, OPEN).await.names().is_empty());
}

/// What is left when the database is lost: the journal.
async fn without_database(scene: Scene) -> Scene {
    scene
        .restart(|state| {
            for file in ["b24gate.db", "b24gate.db-wal", "b24gate.db-shm"] {
                drop(std::fs::remove_file(state.join(file)));
            }
        })
        .await
}

#[tokio::test]
async fn a_portal_whose_row_was_lost_is_taken_up_again_and_written_down() {
    let scene = without_database(with_acme().await).await;
    let portals = loaded(&scene, OPEN).await;
    assert_eq!(word(&portals, ACME), "connected");
    assert_eq!(portals.by_name(ACME).unwrap().site().endpoint, https(ACME));
    let record = scene.record(ACME).await.unwrap();
    assert_eq!(record.facts.arrived, Some(arrived(MEMBER)));
    // From now on it is like any other.
    let scene = scene.restart(|_| {}).await;
    let closed = OPEN.replace("accept_installs = true\n", "");
    assert_eq!(word(&loaded(&scene, &closed).await, ACME), "connected");
}

#[tokio::test]
async fn a_portal_whose_row_was_lost_is_left_alone_when_its_app_is_not_plain() {
    let scene = without_database(with_acme().await).await;
    let two = format!("{OPEN}{}", OPEN.replace("main", "more").replace("local.1", "local.2"));
    let none = OPEN.replace("accept_installs = true\n", "");
    for text in [&two, &none] {
        assert!(loaded(&scene, text).await.names().is_empty(), "{text}");
    }
    assert_eq!(word(&loaded(&scene, OPEN).await, ACME), "connected", "nothing was lost by it");
}

#[tokio::test]
async fn f_37_a_portal_that_moved_keeps_its_name_and_has_both_domains() {
    let scene = with_acme().await;
    let portals = loaded(&scene, OPEN).await;
    portals.by_name(ACME).unwrap().relocate(&https("new.bitrix24.com"));
    assert!(scene.custody.flights().wait_idle(std::time::Duration::from_secs(20)).await);
    drop(portals);
    let scene = scene.restart(|_| {}).await;
    let portals = loaded(&scene, OPEN).await;
    assert_eq!(portals.names(), [ACME]);
    for domain in [ACME, "new.bitrix24.com"] {
        assert_eq!(name(portals.by_domain(domain)).as_deref(), Some(ACME), "{domain}");
    }
    assert_eq!(portals.by_name(ACME).unwrap().site().endpoint, https("new.bitrix24.com"));
}

#[tokio::test]
async fn a_domain_that_the_operator_names_is_the_operators_portal() {
    let scene = with_acme().await;
    let text = format!("{OPEN}[portals.mine]\nurl = \"https://{ACME}\"\n");
    let portals = loaded(&scene, &text).await;
    assert_eq!(name(portals.by_domain(ACME)).as_deref(), Some("mine"));
    assert_eq!(word(&portals, ACME), "connected", "and by its name it is reached all the same");
}

#[tokio::test]
async fn a_name_that_another_portal_has_taken_over_does_not_get_the_credential_of_the_first() {
    let scene = with_acme().await;
    let portals = loaded(&scene, OPEN).await;
    let before = portals.by_name(ACME).unwrap();
    scene.store.remove(ACME).await.unwrap();
    scene.store.note_arrival(ACME, &arrived(OTHER), &https(ACME)).await.unwrap();
    load(&portals, &scene, OPEN).await;
    let after = portals.by_name(ACME).unwrap();
    assert!(!Arc::ptr_eq(before.credential().unwrap(), after.credential().unwrap()));
    assert_eq!(word(&portals, ACME), "not connected");
}

fn webhook(lines: &str) -> String {
    format!("{OPEN}[portals.acme]\n{lines}\n")
}

#[tokio::test]
async fn a_changed_webhook_takes_the_place_of_the_old_one() {
    let scene = Scene::new().await;
    let first = webhook("webhook_url = \"https://acme.lan/rest/1/S-one/\"");
    let portals = loaded(&scene, &first).await;
    let secret = |portals: &Portals| match &portals.by_name("acme").unwrap().holder {
        Holder::IncomingWebhook(webhook) => webhook.secret.expose().to_owned(),
        Holder::Application(_) => "none".to_owned(),
    };
    let portal = portals.by_name("acme").unwrap();
    load(&portals, &scene, &first).await;
    assert!(Arc::ptr_eq(&portal, &portals.by_name("acme").unwrap()));
    load(&portals, &scene, &first.replace("S-one", "S-two")).await;
    assert_eq!(secret(&portals), "S-two");
    load(&portals, &scene, &first.replace("rest/1", "rest/2")).await;
    assert_eq!(portals.by_name("acme").unwrap().status().user_id, Some(2));
    load(&portals, &scene, &webhook("url = \"https://acme.lan\"")).await;
    assert_eq!((secret(&portals).as_str(), word(&portals, "acme")), ("none", "not connected"));
    load(&portals, &scene, &first).await;
    assert_eq!((secret(&portals).as_str(), word(&portals, "acme")), ("S-one", "connected"));
}

#[tokio::test]
async fn a_webhook_says_where_its_portal_lives_whatever_is_remembered() {
    let scene = Scene::new().await;
    scene.store.remember_endpoint("acme", Some(&https("old.lan"))).await.unwrap();
    let url = |portals: &Portals| portals.by_name("acme").unwrap().site().endpoint.host.clone();
    let by_app = loaded(&scene, &webhook("url = \"https://acme.lan\"")).await;
    assert_eq!(url(&by_app), "old.lan", "where the OAuth server said it moved");
    let held = webhook("webhook_url = \"https://acme.lan/rest/1/S-one/\"");
    assert_eq!(url(&loaded(&scene, &held).await), "acme.lan");
}
