//! Forms as browsers and Bitrix24's servers post them, and what of them ends in the store.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use b24gate::config::Config;
use b24gate::sandbox::{Options, Sandbox, Seed};
use b24gate::store::{Registry as _, SqliteStore, StateDirectory, Store as _, StoredCredential};
use form_urlencoded::Serializer;
use tokio::net::TcpListener;

use crate::support::http::{self, Answer};
use crate::support::{Gate, Setup};

pub(crate) const FORM: &str = "application/x-www-form-urlencoded";

/// Fields of a form, in order.
pub(crate) type Fields = Vec<(&'static str, String)>;

/// Somebody's host: nobody may ever connect to it.
pub(crate) struct Evil {
    pub(crate) authority: String,
    visits: Arc<AtomicUsize>,
}

impl Evil {
    pub(crate) async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let visits = Arc::new(AtomicUsize::new(0));
        let counter = visits.clone();
        tokio::spawn(async move {
            while listener.accept().await.is_ok() {
                counter.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { authority, visits }
    }

    pub(crate) fn visits(&self) -> usize {
        self.visits.load(Ordering::Relaxed)
    }
}

pub(crate) async fn sandbox() -> Sandbox {
    Sandbox::start(Options::apart()).await.unwrap()
}

/// A gateway whose one portal is in the configuration and was never connected.
pub(crate) fn expecting(seed: &Seed) -> Setup {
    // Said, so that finding it out does not write to the store at some moment.
    Setup::of(seed).portal("inject = \"bearer\"")
}

/// A gateway whose application accepts installations, and whose one portal lives elsewhere.
pub(crate) fn open_to_all(seed: &Seed) -> Setup {
    let away = "url = \"http://127.0.0.1:9\"\ninject = \"bearer\"";
    Setup::of(seed).app("accept_installs = true").only_portal(away)
}

pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub(crate) fn host(url: &str) -> String {
    url.split("://").nth(1).unwrap().trim_end_matches('/').to_owned()
}

/// What a portal's page posts for this pair: its query and its body.
pub(crate) fn page(seed: &Seed, application_token: &str) -> (Fields, Fields) {
    let text = |text: &str| text.to_owned();
    let query = vec![
        ("DOMAIN", host(&seed.portal_url)),
        ("PROTOCOL", text("0")),
        ("LANG", text("en")),
        ("APP_SID", text("4ad1c6f0e9a7cbb1c8d6b0a7a6f0f1c2")),
    ];
    let body = vec![
        ("AUTH_ID", seed.access_token.clone()),
        ("AUTH_EXPIRES", seed.expires_in.to_string()),
        ("REFRESH_ID", seed.refresh_token.clone()),
        ("SERVER_ENDPOINT", format!("{}/rest/", seed.oauth_url)),
        ("APPLICATION_TOKEN", text(application_token)),
        ("APPLICATION_SCOPE", text("crm,user")),
        ("member_id", seed.member_id.clone()),
        ("status", text("L")),
        ("PLACEMENT", text("DEFAULT")),
    ];
    (query, body)
}

/// The event that an installation causes, with this pair.
pub(crate) fn install_event(seed: &Seed, application_token: &str, ts: u64) -> Fields {
    let mut fields = event("ONAPPINSTALL", seed, application_token, ts);
    fields.extend([
        ("auth[access_token]", seed.access_token.clone()),
        ("auth[refresh_token]", seed.refresh_token.clone()),
        ("auth[expires_in]", seed.expires_in.to_string()),
        ("auth[user_id]", seed.user_id.to_string()),
        ("auth[client_endpoint]", format!("{}/rest/", seed.portal_url)),
    ]);
    fields
}

/// An event that carries no pair.
pub(crate) fn event(name: &str, seed: &Seed, application_token: &str, ts: u64) -> Fields {
    vec![
        ("event", name.to_owned()),
        ("data[LANGUAGE_ID]", "en".to_owned()),
        ("ts", ts.to_string()),
        ("auth[domain]", host(&seed.portal_url)),
        ("auth[server_endpoint]", format!("{}/rest/", seed.oauth_url)),
        ("auth[member_id]", seed.member_id.clone()),
        ("auth[application_token]", application_token.to_owned()),
    ]
}

/// The fields with one of them replaced or added.
pub(crate) fn with(mut fields: Fields, name: &'static str, value: &str) -> Fields {
    fields.retain(|(known, _)| *known != name);
    fields.push((name, value.to_owned()));
    fields
}

pub(crate) fn encoded(fields: &Fields) -> String {
    Serializer::new(String::new()).extend_pairs(fields).finish()
}

pub(crate) async fn post_page(callback: SocketAddr, (query, body): &(Fields, Fields)) -> Answer {
    let target = format!("/install?{}", encoded(query));
    http::post(callback, &target, FORM, encoded(body).as_bytes()).await
}

pub(crate) async fn post_event(callback: SocketAddr, fields: &Fields) -> Answer {
    http::post(callback, "/events", FORM, encoded(fields).as_bytes()).await
}

/// Stops the gateway and writes out everything that its store holds, secrets included.
pub(crate) async fn stored(gate: Gate) -> (Setup, String) {
    let setup = gate.setup().clone();
    let (status, log) = gate.stop();
    assert!(status.success(), "{log}");
    let config = Config::load(Some(&setup.config())).unwrap();
    let state = StateDirectory::open(&setup.state()).unwrap();
    let store = SqliteStore::open(&state, &config.store).await.unwrap();
    let mut text = String::new();
    for record in store.load().await.unwrap() {
        let chains = record.credential.iter().chain(&record.spares).chain(&record.arriving);
        for chain in chains.map(|chain| chain.as_ref().unwrap()) {
            let StoredCredential { access, refresh, .. } = chain;
            text.push_str(&[access.expose(), " ", refresh.expose(), "\n"].concat());
        }
        let token = record.facts.application_token.as_ref().map(|token| token.expose().to_owned());
        writeln!(text, "{record:#?} {token:?}").unwrap();
    }
    writeln!(text, "{:#?}", store.letters().await.unwrap()).unwrap();
    store.close().await;
    (setup, text)
}

/// What `b24gate portal show` says of a portal, line by line; the roles of its chains are under
/// `chains`.
pub(crate) fn shown(setup: &Setup, name: &str) -> Option<BTreeMap<String, String>> {
    let output = setup.command(&["portal", "show", name], "");
    if !output.status.success() {
        return None;
    }
    let text = String::from_utf8(output.stdout).unwrap();
    let mut parts = text.split("\n\n");
    let lines = parts.next().unwrap().lines();
    let mut shown: BTreeMap<_, _> =
        lines.map(|line| (line[..12].trim().to_owned(), line[12..].to_owned())).collect();
    let chains = parts.next().unwrap_or_default().lines().skip(1);
    let roles: Vec<_> = chains.filter_map(|line| line.split_whitespace().nth(1)).collect();
    shown.insert("chains".to_owned(), roles.join(" "));
    Some(shown)
}

/// How the portal of the configuration stands, and why.
pub(crate) fn standing(setup: &Setup) -> (String, String) {
    let shown = shown(setup, "acme").unwrap();
    (shown["state"].clone(), shown.get("reason").cloned().unwrap_or_default())
}
