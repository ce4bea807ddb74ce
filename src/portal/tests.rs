use std::path::Path;

use tempfile::TempDir;
use tokio::runtime::Handle;

use super::*;
use crate::config::{Access, App, Config, IncomingWebhook, Plan};
use crate::credential::{Grant, OAuth};
use crate::secret::Secret;
use crate::store::{Arrived, Facts, Record, Seat, SqliteStore, StateDirectory, Store as _};

/// What portals are made with, in a state directory that outlives the process.
pub(crate) struct Scene {
    pub(crate) store: Arc<SqliteStore>,
    pub(crate) custody: Arc<Custody>,
    pub(crate) connector: Connector,
    pub(crate) directory: Arc<TempDir>,
    _state: StateDirectory,
}

pub(crate) const MEMBER: &str = "a223c6b3710f85df22e9377d6c4f7553";
pub(crate) const OTHER: &str = "b223c6b3710f85df22e9377d6c4f7553";

/// A pair of the portal [`MEMBER`].
pub(crate) const PAIR: &str = r#"{"access_token":"A-canary","refresh_token":"R-canary",
    "expires_in":3600,"member_id":"a223c6b3710f85df22e9377d6c4f7553","user_id":1,
    "client_endpoint":"https://acme.bitrix24.com/rest/"}"#;

impl Scene {
    pub(crate) async fn new() -> Self {
        Self::at(Arc::new(tempfile::tempdir().unwrap())).await
    }

    async fn at(directory: Arc<TempDir>) -> Self {
        let state = StateDirectory::open(&directory.path().join("state")).unwrap();
        let settings = config("").store;
        let store = Arc::new(SqliteStore::open(&state, &settings).await.unwrap());
        let connector = Connector::new(None).unwrap();
        let oauth = OAuth::new(connector.clone());
        let custody = Arc::new(Custody::new(store.clone(), oauth, Handle::current()));
        Self { store, custody, connector, directory, _state: state }
    }

    /// The next process, after `between` was done to the state directory.
    pub(crate) async fn restart(self, between: impl FnOnce(&Path)) -> Self {
        let directory = self.directory.clone();
        self.store.close().await;
        drop(self);
        between(&directory.path().join("state"));
        Self::at(directory).await
    }

    pub(crate) async fn record(&self, name: &str) -> Option<Record> {
        let records = self.store.load().await.unwrap();
        records.into_iter().find(|record| record.portal == name)
    }

    pub(crate) async fn add(&self, name: &str, pair: &str) {
        let grant = Grant::parse(pair.as_bytes(), 0).unwrap();
        self.store.add(name, &grant, Seat::Active { keep_old: false }).await.unwrap();
    }

    /// A portal that needs no credential, and of which nothing else is known.
    pub(crate) fn plain(&self, name: &str, url: &str) -> Arc<Portal> {
        self.portal(name, url, Facts::default())
    }

    /// A portal that needs no credential.
    pub(crate) fn portal(&self, name: &str, url: &str, facts: Facts) -> Arc<Portal> {
        let webhook = Arc::new(IncomingWebhook { user_id: 1, secret: Secret::new("S-canary") });
        let settings = Arc::new(config::Portal {
            name: name.to_owned(),
            url: Endpoint::of_url(url).unwrap(),
            access: Access::IncomingWebhook(webhook.clone()),
            inject: Inject::Auto,
            refresh: Refresh::Lazy,
            plan: Plan::Standard,
            ca_file: None,
        });
        let standing = Arc::new(Standing::new(facts));
        let kept = (Holder::webhook(webhook), standing, self.custody.clone());
        Arc::new(Portal::new(settings, self.connector.clone(), kept, &Remembered::default()))
    }
}

fn arrival(name: &str, member_id: &str, oauth_server: &str) -> Arrival {
    let text = format!(
        "[apps.main]\nclient_id = \"local.1\"\nclient_secret = \"S-canary\"\n\
         oauth_server = \"{oauth_server}\"\n"
    );
    let app: &Arc<App> = &config(&text).apps["main"];
    Arrival {
        name: name.to_owned(),
        endpoint: Endpoint::of_url(&format!("https://{name}")).unwrap(),
        app: app.clone(),
        arrived: arrived(member_id),
        record: None,
    }
}

pub(crate) fn config(text: &str) -> Config {
    Config::parse(text, Path::new("/etc/b24gate/b24gate.toml")).unwrap()
}

pub(crate) fn arrived(member_id: &str) -> Arrived {
    Arrived { client_id: "local.1".to_owned(), member_id: member_id.to_owned() }
}

fn came(member_id: &str) -> Facts {
    Facts { arrived: Some(arrived(member_id)), ..Facts::default() }
}

/// The name of a portal that was found.
pub(crate) fn name(portal: Option<Arc<Portal>>) -> Option<String> {
    portal.map(|portal| portal.name.clone())
}

const OAUTH: &str = "https://oauth.bitrix24.tech";

#[tokio::test]
async fn the_default_portal_is_the_one_that_is_named_or_else_the_only_one() {
    let scene = Scene::new().await;
    let portals = Portals::default();
    assert!(portals.default_portal().is_none());
    portals.put(scene.portal("acme.lan", "https://acme.lan", came(MEMBER)));
    assert_eq!(name(portals.default_portal()).as_deref(), Some("acme.lan"));
    portals.put(scene.portal("bolt", "https://bolt.lan", Facts::default()));
    assert!(portals.default_portal().is_none(), "nobody has said which");
    portals.remove("acme.lan");
    assert_eq!(name(portals.default_portal()).as_deref(), Some("bolt"));

    portals.set_default(Some("cyan.lan"));
    assert!(portals.default_portal().is_none(), "it has not come yet, and no other will do");
    portals.put(scene.portal("cyan.lan", "https://cyan.lan", came(MEMBER)));
    assert_eq!(name(portals.default_portal()).as_deref(), Some("cyan.lan"));
    portals.set_default(Some("bolt.lan"));
    assert_eq!(name(portals.default_portal()).as_deref(), Some("bolt"), "by its domain");
    portals.retain(&["cyan.lan"]);
    assert!(portals.default_portal().is_none());
    portals.set_default(None);
    assert_eq!(name(portals.default_portal()).as_deref(), Some("cyan.lan"));
}

#[tokio::test]
async fn a_default_that_is_replaced_is_the_new_one() {
    let scene = Scene::new().await;
    let portals = Portals::default();
    portals.put(scene.portal("acme", "https://acme.lan", Facts::default()));
    let new = scene.portal("acme", "https://acme.lan", Facts::default());
    portals.put(new.clone());
    assert!(Arc::ptr_eq(&portals.default_portal().unwrap(), &new));
}

#[tokio::test]
async fn a_portal_is_found_by_its_stable_key_and_the_operators_own_first() {
    let scene = Scene::new().await;
    let portals = Portals::default();
    portals.put(scene.portal("acme.lan", "https://acme.lan", came(MEMBER)));
    portals.put(scene.portal("bolt.lan", "https://bolt.lan", came(OTHER)));
    let by_member = |key: &str| name(portals.by_member(key));
    assert_eq!(by_member(&MEMBER.to_ascii_uppercase()).as_deref(), Some("acme.lan"));
    assert_eq!(by_member(OTHER).as_deref(), Some("bolt.lan"));
    assert_eq!(by_member("c223c6b3710f85df22e9377d6c4f7553"), None);

    scene.add("zeta", PAIR).await;
    let text = "[apps.main]\nclient_id = \"1\"\nclient_secret = \"S-canary\"\n";
    let app = config(text).apps["main"].clone();
    let record = scene.record("zeta").await;
    let credential = Credential::open("zeta".into(), app, scene.custody.clone(), record).await;
    let settings = scene.portal("zeta", "https://zeta.lan", Facts::default()).settings.clone();
    let standing = Arc::new(Standing::new(Facts::default()));
    let kept = (Holder::Application(credential), standing, scene.custody.clone());
    let zeta = Portal::new(settings, scene.connector.clone(), kept, &Remembered::default());
    portals.put(Arc::new(zeta));
    assert_eq!(by_member(MEMBER).as_deref(), Some("zeta"), "by its credential");
}

#[tokio::test]
async fn a_portal_that_has_moved_is_reached_by_all_its_domains_until_another_lives_there() {
    let scene = Scene::new().await;
    let portals = Portals::default();
    let acme = scene.portal("acme.lan", "https://acme.lan", came(MEMBER));
    portals.put(acme.clone());
    acme.relocate(&Endpoint::of_url("https://new.lan:8443").unwrap());
    portals.list_domain(&acme);
    for domain in ["acme.lan", "new.lan", "new.lan:8443", "NEW.lan"] {
        assert_eq!(name(portals.by_domain(domain)).as_deref(), Some("acme.lan"), "{domain}");
    }
    // As after a restart: the store has the new place only.
    let again = Portals::default();
    again.put(scene.portal("acme.lan", "https://new.lan:8443", came(MEMBER)));
    assert_eq!(name(again.by_domain("acme.lan")).as_deref(), Some("acme.lan"));
    assert_eq!(name(again.by_domain("new.lan:8443")).as_deref(), Some("acme.lan"));

    for (portals, reversed) in [(&portals, false), (&again, true)] {
        if reversed {
            portals.remove("acme.lan");
        }
        portals.put(scene.portal("other", "https://acme.lan", Facts::default()));
        if reversed {
            portals.put(acme.clone());
        }
        assert_eq!(name(portals.by_domain("acme.lan")).as_deref(), Some("other"));
        assert_eq!(name(portals.by_domain("new.lan")).as_deref(), Some("acme.lan"));
    }
    portals.remove("acme.lan");
    assert_eq!(name(portals.by_domain("new.lan")), None);
}

#[tokio::test]
async fn older_domains_of_a_portal_that_is_replaced_lead_to_the_new_one() {
    let scene = Scene::new().await;
    let portals = Portals::default();
    let acme = scene.portal("acme", "https://old.lan", Facts::default());
    portals.put(acme.clone());
    acme.relocate(&Endpoint::of_url("https://new.lan").unwrap());
    portals.list_domain(&acme);
    let new = scene.portal("acme", "https://new.lan", Facts::default());
    portals.put(new.clone());
    assert!(Arc::ptr_eq(&portals.by_domain("old.lan").unwrap(), &new));
}

#[tokio::test]
async fn where_a_portal_was_seen_to_live_is_written_down() {
    let scene = Scene::new().await;
    let place = Endpoint::of_url("https://new.lan").unwrap();
    let acme = scene.portal("acme.lan", "https://acme.lan", came(MEMBER));
    acme.relocate(&place);
    assert!(scene.custody.flights().wait_idle(Duration::from_secs(20)).await);
    assert_eq!(scene.record("acme.lan").await.unwrap().endpoint, Some(place));
}

#[tokio::test]
async fn a_portal_that_comes_is_served_once_and_never_in_the_place_of_another() {
    let scene = Scene::new().await;
    let portals = Portals::default();
    let arrive = |member: &str| {
        portals.arrive(arrival("acme.lan", member, OAUTH), &scene.custody, &scene.connector)
    };
    let (first, second) = tokio::join!(arrive(MEMBER), arrive(&MEMBER.to_ascii_uppercase()));
    let acme = first.unwrap();
    assert!(Arc::ptr_eq(&acme, &second.unwrap()), "two credentials would exchange one token");
    assert!(Arc::ptr_eq(&acme, &portals.by_domain("acme.lan").unwrap()));
    assert_eq!(acme.standing.facts().arrived, Some(arrived(MEMBER)));
    assert_eq!(acme.slot(), Slot::BearerUntried);
    assert_eq!(acme.renew_every(), None);
    assert_eq!(arrive(OTHER).await.unwrap_err(), NameTaken("acme.lan".to_owned()));
}

#[tokio::test]
async fn s_24_a_portal_that_comes_is_no_address_of_this_machine() {
    let scene = Scene::new().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let here = format!("http://{}", listener.local_addr().unwrap());
    let here = Endpoint::of_url(&here).unwrap();
    // With an OAuth server on this machine all of it is an experiment.
    for (oauth_server, reached) in [(OAUTH, false), ("http://127.0.0.1:9", true)] {
        let portals = Portals::default();
        let came = arrival("acme.lan", MEMBER, oauth_server);
        let acme = portals.arrive(came, &scene.custody, &scene.connector).await.unwrap();
        // Whatever moves it there.
        acme.relocate(&here);
        let dialled = acme.site().connector.connect(&here, Duration::from_secs(20)).await;
        assert_eq!(dialled.is_ok(), reached, "{oauth_server}");
    }
}

#[tokio::test]
async fn what_people_decided_is_shown_in_the_portals_status() {
    let scene = Scene::new().await;
    for (disabled, uninstalled, expected) in [
        (false, false, ("connected", None)),
        (true, false, ("paused", Some(DISABLED))),
        (false, true, ("dead", Some(UNINSTALLED))),
        (true, true, ("paused", Some(DISABLED))),
    ] {
        let facts = Facts { disabled, uninstalled, ..Facts::default() };
        let portal = scene.portal("acme", "https://acme.lan", facts);
        let status = portal.status();
        assert_eq!((status.word(), status.state.code()), expected);
        portal.standing.note(|facts| (facts.disabled, facts.uninstalled) = (false, false));
        assert_eq!(portal.status().word(), "connected");
    }
}
