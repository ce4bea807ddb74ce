use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::super::output::FAILED;
use super::import::import_from;
use super::show::{details, distance, page, summary, views};
use super::*;
use crate::config::{
    self, Access, App, Endpoint, Inject, KeySource, Listen, Plan, Portal, Refresh,
};
use crate::control::{Control, Desk};
use crate::credential::{Admitted, ChainId, Secret, unix_now};
use crate::store::LedgerEntry;
use crate::views::{ChainView, Details, PortalView, Role};

const RESPONSE: &str = r#"{"access_token":"A-canary","refresh_token":"R-canary","expires_in":3599,
    "member_id":"a223c6b3710f85df22e9377d6c4f7553","user_id":"7"}"#;

fn endpoint(host: &str) -> Endpoint {
    Endpoint { tls: true, host: host.to_owned(), port: 443 }
}

fn config(names: &[&str]) -> Config {
    let app = Arc::new(App {
        name: "main".to_owned(),
        client_id: "local.5f".to_owned(),
        client_secret: Secret::new("S-canary"),
        oauth_server: endpoint("oauth.bitrix.info"),
        scope: None,
        redirect_uri: None,
        accept_installs: false,
    });
    let portal = |name: &&str| {
        let portal = Portal {
            name: (*name).to_owned(),
            url: endpoint(&format!("{name}.bitrix24.com")),
            access: Access::Application(Arc::clone(&app)),
            inject: Inject::Auto,
            refresh: Refresh::Lazy,
            plan: Plan::Standard,
            ca_file: None,
        };
        ((*name).to_owned(), Arc::new(portal))
    };
    let local = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    Config {
        source: None,
        warnings: Vec::new(),
        environment: Vec::new(),
        gateway: Arc::new(config::Gateway {
            listen: vec![Listen::Tcp(local(8024))],
            default_portal: None,
            hosts: Vec::new(),
            origins: Vec::new(),
            behind_proxy: false,
            require_key: false,
            allow_uids: config::AllowUids::Any,
            socket_mode: 0o600,
            tls: config::ServerTls::LocalCa,
            max_body: 0,
            replay_memory: 0,
            max_wait: Duration::ZERO,
            portal_timeout: Duration::ZERO,
        }),
        admin: config::Admin { listen: local(8025), password: None, expose_tokens: false },
        callback: config::Callback { listen: local(8026), public_url: String::new() },
        store: config::Store {
            url: "sqlite:b24gate.db".to_owned(),
            key: KeySource::StateDirectory,
        },
        alerts: Arc::default(),
        apps: BTreeMap::from([("main".to_owned(), Arc::clone(&app))]),
        portals: names.iter().map(portal).collect(),
        clients: BTreeMap::new(),
        audit: config::Audit { keep: None, access_log: false },
    }
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join("state");
    (home, state)
}

/// What `portal import` says of a token response; `Err` is the refusal.
async fn bring(state: &Path, pair: &str, replace: Replace) -> Result<String, String> {
    let config = config(&["acme"]);
    let told = import_from(&config, state, "acme", replace, pair.as_bytes()).await;
    let told = told.map_err(|failure| {
        assert_eq!(failure.code, FAILED, "{}", failure.text);
        failure.text
    });
    assert!(!format!("{told:?}").contains("canary"), "{told:?}");
    told
}

fn pair(refresh: &str, user: &str) -> String {
    RESPONSE.replace("R-canary", refresh).replace("\"7\"", user)
}

#[tokio::test]
async fn an_import_without_a_gateway_is_stored_and_told_without_a_token() {
    let (_home, state) = place();
    let config = config(&["acme", "beta"]);
    let text = bring(&state, RESPONSE, Replace::No).await.unwrap();
    let want = "portal acme: credential stored, generation 1, expires in 59 min (read as a token \
                response)";
    assert_eq!(text, want);
    let found = views(&config, &state).await.unwrap();
    let list = summary(&found);
    let lines: Vec<_> = list.lines().collect();
    assert_eq!(lines[0], "NAME  STATE          GENERATION  EXPIRES    URL");
    assert_eq!(lines[1], "acme  connected      1           in 59 min  https://acme.bitrix24.com");
    assert_eq!(lines[2], "beta  not connected  -           -          https://beta.bitrix24.com");
    let shown = page(&details(&config, &state, "acme", 0).await.unwrap());
    for line in ["state       connected", "generation  1", "expires     in 59 min", "user        7"]
    {
        assert!(shown.contains(line), "{shown}");
    }
    assert!(!list.contains("canary") && !shown.contains("canary"));
}

#[tokio::test]
async fn without_a_gateway_a_pair_becomes_a_spare_or_is_refused_as_the_rules_say() {
    use Replace::{No, Yes};
    let (_home, state) = place();
    let other_portal = pair("R4-canary", "7").replace("a223", "ffff");
    for (pair, replace, told) in [
        (pair("R1-canary", "7"), No, Ok("credential stored, generation 1, expires in 59 min")),
        (pair("R1-canary", "7"), No, Ok("the one in use (chain 1, generation 1); nothing to do")),
        (pair("R2-canary", "7"), No, Ok("kept as a spare (chain 2); it takes over when")),
        (pair("R2-canary", "8"), Yes, Ok("a spare already (chain 2, generation 2); nothing to do")),
        (pair("R3-canary", "8"), No, Err("is user 8's, and the portal is connected as user 7")),
        (pair("R3-canary", "null"), No, Err("does not say whose it is")),
        (other_portal, Yes, Err("belongs to another portal")),
        (
            pair("R5-canary", "7"),
            Yes,
            Ok("generation 3, expires in 59 min; the one that was in use \
            is kept as a spare (read as a token response)"),
        ),
        (pair("R6-canary", "7"), No, Ok("dies; the oldest spare (chain 1) made room for it (read")),
        // It had to make room before it was used.
        (pair("R1-canary", "7"), No, Ok("dies; the oldest spare (chain 2) made room for it")),
        (pair("R3-canary", "8"), Yes, Ok("credential stored, generation 6, expires in 59 min (")),
    ] {
        let found = bring(&state, &pair, replace).await;
        match (&found, told) {
            (Ok(text), Ok(part)) | (Err(text), Err(part)) => {
                assert!(text.starts_with("portal acme: ") && text.contains(part), "{text}\n{part}");
            }
            _ => panic!("{found:?} instead of {told:?}"),
        }
    }
    let config = config(&["acme", "beta"]);
    let list = summary(&views(&config, &state).await.unwrap());
    let columns = |line: usize| list.lines().nth(line).unwrap().split_whitespace().nth(6);
    assert_eq!(list.lines().next().unwrap().split_whitespace().nth(4), Some("SPARES"), "{list}");
    assert_eq!(columns(1), Some("2"), "{list}");
}

#[tokio::test]
async fn without_a_gateway_the_chains_and_the_ledger_are_shown() {
    let (_home, state) = place();
    bring(&state, &pair("R1-canary", "7"), Replace::No).await.unwrap();
    bring(&state, &pair("R2-canary", "7"), Replace::No).await.unwrap();
    let config = config(&["acme"]);
    let found = details(&config, &state, "acme", 1).await.unwrap();
    let of = |found: &Details| -> Vec<_> {
        found.chains.iter().map(|chain| (chain.chain, chain.role, chain.state.clone())).collect()
    };
    let connected = "connected".to_owned();
    let want =
        [(Some(1), Role::Active, connected.clone()), (Some(2), Role::Spare, connected.clone())];
    assert_eq!(of(&found), want);
    let ledger: Vec<_> = found.ledger.iter().map(|line| (line.chain, &*line.outcome)).collect();
    assert_eq!(ledger, [(2, "spare")]);
    let all = details(&config, &state, "acme", 5).await.unwrap();
    assert_eq!(all.ledger.len(), 2);
    assert_eq!(details(&config, &state, "acme", 0).await.unwrap().ledger, []);
}

#[test]
fn a_portals_page_has_a_table_of_its_chains_and_one_of_its_ledger() {
    let chain = |chain, role, state: &str| ChainView {
        chain: Some(chain),
        role,
        generation: Some(41),
        user_id: Some(7),
        // Half a day more, so that the clock may move on meanwhile.
        issued_at: Some(unix_now() - 100 * 86_400 - 43_200),
        state: state.to_owned(),
    };
    let sealed = ChainView {
        chain: None,
        generation: None,
        user_id: None,
        issued_at: None,
        ..chain(0, Role::Spare, "cannot be opened")
    };
    let line = |at, outcome: &str| LedgerEntry {
        at,
        chain: 3,
        generation: 41,
        outcome: outcome.to_owned(),
        refresh_hash: "0a1b2c3d".to_owned(),
    };
    let view = PortalView { name: "acme".to_owned(), ..PortalView::default() };
    let details = Details {
        view,
        chains: vec![chain(3, Role::Active, "connected"), sealed],
        ledger: vec![line(1_795_336_247, "commit"), line(0, "failed: dead invalid_grant")],
        trouble: None,
    };
    let text = page(&details);
    let (_, tables) = text.split_once("\n\n").unwrap();
    assert_eq!(
        tables,
        "CHAIN  ROLE    GENERATION  USER  ISSUED        STATE\n\
         3      active  41          7     100 days ago  connected\n\
         -      spare   -           -     -             cannot be opened\n\
         \n\
         WHEN                  CHAIN  GENERATION  TOKEN     OUTCOME\n\
         2026-11-22T08:30:47Z  3      41          0a1b2c3d  commit\n\
         1970-01-01T00:00:00Z  3      41          0a1b2c3d  failed: dead invalid_grant"
    );
    let trouble = Details { trouble: Some("disk".to_owned()), ..Details::default() };
    assert!(page(&trouble).ends_with("\nchains      disk"), "{}", page(&trouble));
}

#[tokio::test]
async fn looking_at_portals_makes_no_state_directory() {
    let (_home, state) = place();
    let config = config(&["acme"]);
    assert_eq!(views(&config, &state).await.unwrap()[0].state, "not connected");
    assert!(!state.exists());
}

#[tokio::test]
async fn a_wrong_input_is_answered_with_what_is_wrong_and_stores_nothing() {
    let (_home, state) = place();
    let empty = config(&[]);
    let config = config(&["acme", "beta"]);
    let long = "x".repeat(65 * 1024);
    for (name, input, code, text) in [
        ("acmee", RESPONSE, USAGE, "known: acme, beta"),
        ("acme", "access_token=A", FAILED, "not a JSON object"),
        ("acme", r#"{"access_token":"A-canary"}"#, FAILED, "no refresh_token"),
        ("acme", r#"{"AUTH_ID":"A-canary"}"#, FAILED, "install request: there is no REFRESH_ID"),
        ("acme", "https://acme.bitrix24.com/rest/7/canary/", FAILED, "looks like a webhook"),
        ("acme", r#"{"error":"invalid_grant"}"#, FAILED, "error answer"),
        ("acme", &long, FAILED, "longer than 64 KiB"),
    ] {
        let failure =
            import_from(&config, &state, name, Replace::No, input.as_bytes()).await.unwrap_err();
        assert_eq!(failure.code, code, "{}", failure.text);
        assert!(failure.text.contains(text), "{}", failure.text);
        assert!(!failure.text.contains("canary"));
    }
    assert!(!state.exists());
    let failure =
        import_from(&empty, &state, "acme", Replace::No, RESPONSE.as_bytes()).await.unwrap_err();
    assert!(failure.text.contains("[portals.NAME]"), "{}", failure.text);
}

#[tokio::test]
async fn an_import_goes_through_the_running_gateway() {
    let (_home, state) = place();
    let config = config(&["acme"]);
    let locked = StateDirectory::open(&state).unwrap();
    let import =
        async |replace| import_from(&config, &state, "acme", replace, RESPONSE.as_bytes()).await;
    let failure = import(Replace::No).await.unwrap_err();
    assert_eq!(failure.code, 3);
    let pid = format!("pid {}", std::process::id());
    assert!(failure.text.contains(&pid), "{}", failure.text);
    let desk: Desk = Arc::new(|request| {
        Box::pin(async move {
            let (chain, dropped) = (ChainId(7), Some(ChainId(2)));
            match request {
                Request::Import { replace: true, .. } => {
                    Reply::Imported(Admitted::Active { generation: 41, old_kept: true })
                }
                Request::Import { .. } => Reply::Imported(Admitted::Spare { chain, dropped }),
                _ => Reply::Refused("not today".to_owned()),
            }
        })
    });
    tokio::spawn(Control::bind(locked.path()).await.unwrap().serve(desk));
    let text = import(Replace::Yes).await.unwrap();
    assert!(text.contains("generation 41, expires in 59 min; the one that was in use"), "{text}");
    let text = import(Replace::No).await.unwrap();
    assert_eq!(
        text,
        "portal acme: kept as a spare (chain 7); it takes over when the one in use dies; the oldest \
         spare (chain 2) made room for it (read as a token response)"
    );
    let failure = views(&config, &state).await.unwrap_err();
    assert!(failure.text.contains("not today"), "{}", failure.text);
}

#[tokio::test]
async fn an_unsafe_state_directory_has_its_own_exit_code() {
    let (home, _) = place();
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let config = config(&["acme"]);
    let failure = import_from(&config, home.path(), "acme", Replace::No, RESPONSE.as_bytes())
        .await
        .unwrap_err();
    assert_eq!(failure.code, 3);
    assert!(failure.text.contains("chmod 700"), "{}", failure.text);
}

#[test]
fn a_time_is_told_as_a_distance() {
    let now = 1_000_000;
    for (at, text) in [
        (now, "0 s ago"),
        (now + 119, "in 119 s"),
        (now + 3_599, "in 59 min"),
        (now - 7_200, "2 h ago"),
        (now + 172_800, "in 2 days"),
    ] {
        assert_eq!(distance(at, now), text);
    }
}
