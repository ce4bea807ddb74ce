use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::config::{self, App, Endpoint, Inject, KeySource, Listen, Plan, Portal, Refresh};
use crate::control::{Control, Desk};
use crate::credential::Secret;

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
    });
    let portal = |name: &&str| {
        let portal = Portal {
            name: (*name).to_owned(),
            url: endpoint(&format!("{name}.bitrix24.com")),
            app: Arc::clone(&app),
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
        gateway: Arc::new(config::Gateway {
            listen: vec![Listen::Tcp(local(8024))],
            default_portal: None,
            hosts: Vec::new(),
            origins: Vec::new(),
            behind_proxy: false,
            max_body: 0,
            replay_memory: 0,
            max_wait: Duration::ZERO,
            portal_timeout: Duration::ZERO,
        }),
        admin: config::Admin { listen: local(8025) },
        callback: config::Callback { listen: local(8026), public_url: String::new() },
        store: config::Store {
            url: "sqlite:b24gate.db".to_owned(),
            key: KeySource::StateDirectory,
        },
        alerts: Arc::default(),
        apps: BTreeMap::from([("main".to_owned(), Arc::clone(&app))]),
        portals: names.iter().map(portal).collect(),
    }
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let home = tempfile::tempdir().unwrap();
    let state = home.path().join("state");
    (home, state)
}

#[tokio::test]
async fn an_import_without_a_gateway_is_stored_and_told_without_a_token() {
    let (_home, state) = place();
    let config = config(&["acme", "beta"]);
    for generation in 1..=2 {
        let text = import_from(&config, &state, "acme", RESPONSE.as_bytes()).await.unwrap();
        let want =
            format!("portal acme: credential stored, generation {generation}, expires in 59 min");
        assert_eq!(text, want);
    }
    let views = views(&config, &state).await.unwrap();
    let list = table(&views);
    let lines: Vec<_> = list.lines().collect();
    assert_eq!(lines[0], "NAME  STATE          GENERATION  EXPIRES    URL");
    assert_eq!(lines[1], "acme  connected      2           in 59 min  https://acme.bitrix24.com");
    assert_eq!(lines[2], "beta  not connected  -           -          https://beta.bitrix24.com");
    let shown = details(&view(&config, &state, "acme").await.unwrap());
    for line in ["state       connected", "generation  2", "expires     in 59 min", "user        7"]
    {
        assert!(shown.contains(line), "{shown}");
    }
    assert!(!list.contains("canary") && !shown.contains("canary"));
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
        ("acme", r#"{"error":"invalid_grant"}"#, FAILED, "error answer"),
        ("acme", &long, FAILED, "longer than 64 KiB"),
    ] {
        let failure = import_from(&config, &state, name, input.as_bytes()).await.unwrap_err();
        assert_eq!(failure.code, code, "{}", failure.text);
        assert!(failure.text.contains(text), "{}", failure.text);
        assert!(!failure.text.contains("canary"));
    }
    assert!(!state.exists());
    let failure = import_from(&empty, &state, "acme", RESPONSE.as_bytes()).await.unwrap_err();
    assert!(failure.text.contains("[portals.NAME]"), "{}", failure.text);
}

#[tokio::test]
async fn an_import_goes_through_the_running_gateway() {
    let (_home, state) = place();
    let config = config(&["acme"]);
    let locked = StateDirectory::open(&state).unwrap();
    let failure = import_from(&config, &state, "acme", RESPONSE.as_bytes()).await.unwrap_err();
    assert_eq!(failure.code, 3);
    let pid = format!("pid {}", std::process::id());
    assert!(failure.text.contains(&pid), "{}", failure.text);
    let desk: Desk = Arc::new(|request| {
        Box::pin(async move {
            match request {
                Request::Import { portal, .. } if portal == "acme" => {
                    let name = portal;
                    Reply::Stored(PortalView {
                        name,
                        generation: Some(41),
                        ..PortalView::default()
                    })
                }
                _ => Reply::Refused("not today".to_owned()),
            }
        })
    });
    tokio::spawn(Control::bind(locked.path()).await.unwrap().serve(desk));
    let text = import_from(&config, &state, "acme", RESPONSE.as_bytes()).await.unwrap();
    assert!(text.contains("generation 41"), "{text}");
    let failure = views(&config, &state).await.unwrap_err();
    assert!(failure.text.contains("not today"), "{}", failure.text);
}

#[tokio::test]
async fn an_unsafe_state_directory_has_its_own_exit_code() {
    let (home, _) = place();
    std::fs::set_permissions(home.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let config = config(&["acme"]);
    let failure = import_from(&config, home.path(), "acme", RESPONSE.as_bytes()).await.unwrap_err();
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
