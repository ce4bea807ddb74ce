//! Defaults, the example file, and values in all the ways that they may be written.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::super::keys;
use super::super::{Access, Config, HostName, Inject, KeySource, Listen, Plan, Refresh};
use super::{APP, PORTAL, accepted};

const EXAMPLE: &str = include_str!("../../../config.example.toml");

fn address(text: &str) -> SocketAddr {
    text.parse().unwrap()
}

/// The example with every key in force that is commented out in it.
fn example_in_full() -> String {
    let in_force = |line: &str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[') => {
            format!("{rest}\n")
        }
        _ => format!("{line}\n"),
    };
    EXAMPLE.lines().map(in_force).collect()
}

#[test]
fn without_a_file_the_documented_defaults_hold() {
    let config = Config::without_file().unwrap();
    assert_eq!(config.source, None);
    assert!(config.warnings.is_empty());
    assert_eq!(config.gateway.listen, [Listen::Tcp(address("127.0.0.1:8024"))]);
    assert_eq!(config.gateway.default_portal, None);
    assert!(config.gateway.hosts.is_empty() && config.gateway.origins.is_empty());
    assert!(!config.gateway.behind_proxy);
    assert_eq!(config.gateway.max_body, 256 * 1024 * 1024);
    assert_eq!(config.gateway.replay_memory, 1024 * 1024);
    assert_eq!(config.gateway.max_wait, Duration::from_secs(8));
    assert_eq!(config.gateway.portal_timeout, Duration::from_secs(75));
    assert_eq!(config.admin.listen, address("127.0.0.1:8025"));
    assert_eq!(config.callback.listen, address("127.0.0.1:8026"));
    assert_eq!(config.callback.public_url, "http://localhost:8026");
    assert_eq!(config.store.url, "sqlite:b24gate.db");
    assert!(matches!(config.store.key, KeySource::StateDirectory));
    assert!(config.alerts.webhook.is_none() && config.alerts.command.is_none());
    assert!(config.apps.is_empty() && config.portals.is_empty());
}

#[test]
fn a_portal_with_nothing_but_a_url_gets_the_documented_defaults() {
    let config = accepted(&format!("{APP}{PORTAL}"));
    let portal = &config.portals["acme"];
    assert_eq!(portal.url.to_string(), "https://acme.bitrix24.com");
    assert_eq!((portal.url.port, portal.inject, portal.plan), (443, Inject::Auto, Plan::Standard));
    assert_eq!(portal.refresh, Refresh::Lazy);
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    assert_eq!(portal.ca_file, None);
    let Access::Application(app) = &portal.access else { panic!("{:?}", portal.access) };
    assert_eq!(app.oauth_server.to_string(), "https://oauth.bitrix24.tech");
    assert_eq!(app.client_secret.expose(), "S-canary");
    assert_eq!(config.gateway.default_portal.as_deref(), Some("acme"));
}

#[test]
fn the_example_names_every_key_with_the_default_the_parser_uses() {
    let text = example_in_full();
    let example: toml::Table = text.parse().unwrap();
    for section in keys::SECTIONS {
        let table = &example[section.name];
        let table =
            if section.named { table.as_table().unwrap().values().next() } else { Some(table) };
        for key in section.usable() {
            let header = section.header();
            let shown = table.unwrap().get(key.name);
            let shown = shown.unwrap_or_else(|| panic!("{header} {} is not shown", key.name));
            if let Some(default) = key.default {
                let default: toml::Table = format!("value = {default}").parse().unwrap();
                assert_eq!(shown, &default["value"], "{header} {}", key.name);
            }
        }
    }
}

#[test]
fn the_example_is_accepted_as_it_stands_and_changes_nothing() {
    let example = accepted(EXAMPLE);
    let defaults = Config::without_file().unwrap();
    assert_eq!(format!("{:?}", example.gateway), format!("{:?}", defaults.gateway));
    assert_eq!(format!("{:?}", example.store), format!("{:?}", defaults.store));
    assert!(example.portals.is_empty());
}

#[test]
fn the_example_is_accepted_with_every_key_in_force() {
    // Of keys that exclude each other, one can stay; files and variables are not here.
    let gone = [
        "key_env",
        "client_secret_env",
        "client_secret_file",
        "webhook_env",
        "webhook_file",
        "webhook_url",
        "password_file",
        "command",
    ];
    let text = example_in_full();
    let lines = text.lines().filter(|line| !gone.iter().any(|key| line.starts_with(key)));
    let config = accepted(&lines.collect::<Vec<_>>().join("\n"));
    let Access::Application(app) = &config.portals["acme"].access else { panic!() };
    assert_eq!(app.name, "main");
    assert_eq!(
        config.portals["acme"].ca_file.as_deref(),
        Some(Path::new("/etc/b24gate/company-ca.pem"))
    );
}

#[test]
fn sizes_are_read_in_every_way_they_may_be_written() {
    for (written, bytes) in [
        ("1024", 1 << 10),
        ("0x400", 1 << 10),
        ("1_000_000", 1_000_000),
        ("\"2048\"", 2048),
        ("\"64KiB\"", 64 << 10),
        ("\"1 MiB\"", 1 << 20),
        ("\"1GiB\"", 1 << 30),
        ("\"1TiB\"", 1 << 40),
        ("\"10KB\"", 10_000),
        ("\"10kB\"", 10_000),
        ("\"5MB\"", 5_000_000),
        ("\"2048B\"", 2048),
    ] {
        let config = accepted(&format!("[gateway]\nmax_body = {written}\n"));
        assert_eq!(config.gateway.max_body, bytes, "{written}");
    }
    assert_eq!(accepted("[gateway]\nreplay_memory = 0\n").gateway.replay_memory, 0);
}

#[test]
fn durations_are_read_in_every_way_they_may_be_written() {
    for (written, millis) in [
        ("8s", 8_000),
        ("500ms", 500),
        ("1.5s", 1_500),
        ("25 m", 1_500_000),
        ("1h", 3_600_000),
        ("0.1s", 100),
    ] {
        let config = accepted(&format!("[gateway]\nportal_timeout = \"{written}\"\n"));
        assert_eq!(config.gateway.portal_timeout, Duration::from_millis(millis), "{written}");
    }
    assert_eq!(accepted("[gateway]\nmax_wait = \"0s\"\n").gateway.max_wait, Duration::ZERO);
}

#[test]
fn listeners_are_read_in_every_way_they_may_be_written() {
    let config = accepted(
        "[gateway]\nlisten = [\"localhost:1\", \"[::1]:2\", \"unix:gate.sock\", \"127.0.0.2:0\"]\n\
         [callback]\nlisten = \"0.0.0.0:443\"\n",
    );
    assert_eq!(
        config.gateway.listen,
        [
            Listen::Tcp(address("127.0.0.1:1")),
            Listen::Tcp(address("[::1]:2")),
            Listen::Unix(PathBuf::from("/etc/b24gate/gate.sock")),
            Listen::Tcp(address("127.0.0.2:0")),
        ]
    );
    let single = accepted("[gateway]\nlisten = \"unix:/run/gate.sock\"\n");
    assert_eq!(single.gateway.listen, [Listen::Unix(PathBuf::from("/run/gate.sock"))]);
}

#[test]
fn urls_lose_their_case_their_slash_and_nothing_else() {
    for (written, host, port, tls) in [
        ("https://ACME.Bitrix24.com/", "acme.bitrix24.com", 443, true),
        ("HTTPS://crm.example.com:8443", "crm.example.com", 8443, true),
        ("http://localhost:8090", "localhost", 8090, false),
        ("http://sandbox.localhost", "sandbox.localhost", 80, false),
        ("http://127.0.0.1:1", "127.0.0.1", 1, false),
        ("http://[::1]:9000/", "::1", 9000, false),
        ("https://[2001:db8::1]", "2001:db8::1", 443, true),
    ] {
        let config = accepted(&format!("{APP}[portals.a]\nurl = \"{written}\"\n"));
        let url = &config.portals["a"].url;
        assert_eq!((url.host.as_str(), url.port, url.tls), (host, port, tls), "{written}");
    }
    let config =
        accepted(&format!("{APP}[portals.a]\nurl = \"http://crm.lan\"\nallow_http = true\n"));
    assert_eq!(config.portals["a"].url.to_string(), "http://crm.lan");
}

#[test]
fn hosts_and_origins_are_kept_as_they_will_be_compared() {
    let config = accepted(
        "[gateway]\nhosts = [\"Gate.LAN\", \"::1\", \"localhost:9000\", \"[FD00:0::1]:80\"]\n\
         origins = [\"https://CRM.example.com:443\"]\n",
    );
    let named = |host: &str, port| HostName { host: host.to_owned(), port };
    let hosts = [
        named("gate.lan", None),
        named("::1", None),
        named("localhost", Some(9000)),
        named("fd00::1", Some(80)),
    ];
    assert_eq!(config.gateway.hosts, hosts);
    assert_eq!(config.gateway.origins, ["https://crm.example.com"]);
}

#[test]
fn an_interval_of_renewals_is_read_and_warned_of() {
    for (written, minutes) in [("1m", 1), ("25m", 25), ("55m", 55), ("1500s", 25)] {
        let config = accepted(&format!("{APP}{PORTAL}refresh = \"{written}\"\n"));
        let every = Refresh::Every(Duration::from_mins(minutes));
        assert_eq!(config.portals["acme"].refresh, every, "{written}");
        let [warning] = config.warnings.as_slice() else { panic!("{:?}", config.warnings) };
        assert!(warning.contains("portals.acme: refresh"), "{warning}");
        assert!(warning.contains("may block"), "{warning}");
    }
}

#[test]
fn a_webhook_is_taken_apart_into_what_may_be_shown_and_what_may_not() {
    for (written, server, target) in [
        ("https://Chat.example.com/hooks/S-canary", "https://chat.example.com", "/hooks/S-canary"),
        ("https://chat.example.com", "https://chat.example.com", "/"),
        (
            "https://chat.example.com:8443/?key=S-canary&a=%20",
            "https://chat.example.com:8443",
            "/?key=S-canary&a=%20",
        ),
        ("http://127.0.0.1:9/x", "http://127.0.0.1:9", "/x"),
        ("http://localhost:9/x", "http://localhost:9", "/x"),
    ] {
        let config = accepted(&format!("[alerts]\nwebhook = \"{written}\"\n"));
        let webhook = config.alerts.webhook.as_ref().unwrap();
        assert_eq!(
            (webhook.server.to_string().as_str(), webhook.target.expose()),
            (server, target)
        );
        assert!(!format!("{config:?}").contains("canary"));
    }
}

#[test]
fn a_command_is_a_program_that_is_there_and_what_it_is_started_with() {
    let config = accepted("[alerts]\ncommand = [\"/bin/sh\", \"-c\", \"\"]\n");
    let command = config.alerts.command.as_ref().unwrap();
    assert_eq!(command.program, Path::new("/bin/sh"));
    assert_eq!(command.arguments, ["-c", ""]);
}

#[test]
fn alerts_are_the_same_only_when_every_part_of_them_is() {
    let read = |text: &str| accepted(&format!("[alerts]\n{text}")).alerts;
    let both = "webhook = \"https://a.example/x\"\ncommand = [\"/bin/sh\"]";
    assert!(read(both).same_as(&read(both)) && read("").same_as(&read("")));
    for other in [
        "",
        "webhook = \"https://a.example/x\"",
        "webhook = \"https://a.example/y\"\ncommand = [\"/bin/sh\"]",
        "webhook = \"https://b.example/x\"\ncommand = [\"/bin/sh\"]",
        "webhook = \"https://a.example/x\"\ncommand = [\"/bin/sh\", \"x\"]",
    ] {
        assert!(!read(both).same_as(&read(other)), "{other}");
        assert!(!read(other).same_as(&read(both)), "{other}");
    }
}

#[test]
fn several_portals_have_no_default_until_one_is_named() {
    let two = format!("{APP}{PORTAL}[portals.bolt]\nurl = \"https://bolt.bitrix24.com\"\n");
    assert_eq!(accepted(&two).gateway.default_portal, None);
    let named = format!("gateway.default_portal = \"bolt\"\n{two}");
    assert_eq!(accepted(&named).gateway.default_portal.as_deref(), Some("bolt"));
}

#[test]
fn values_that_a_later_version_will_change_are_accepted_as_they_are_now() {
    accepted(&format!(
        "[gateway]\nrequire_key = false\nallow_uids = \"any\"\n{APP}{PORTAL}batching = \"off\"\n"
    ));
}

#[test]
fn an_incoming_webhook_is_taken_apart_and_says_where_its_portal_lives() {
    for (written, url, user, secret) in [
        ("https://Acme.Bitrix24.com/rest/1/S-canary/", "https://acme.bitrix24.com", 1, "S-canary"),
        ("https://crm.lan:8443/rest/27/S_canary", "https://crm.lan:8443", 27, "S_canary"),
        ("http://localhost:9/rest/1/S-canary", "http://localhost:9", 1, "S-canary"),
    ] {
        // With an application in the file, too: a webhook needs none.
        let config = accepted(&format!("{APP}[portals.a]\nwebhook_url = \"{written}\"\n"));
        let portal = &config.portals["a"];
        let Access::IncomingWebhook(webhook) = &portal.access else { panic!("{portal:?}") };
        assert_eq!(portal.url.to_string(), url, "{written}");
        assert_eq!((webhook.user_id, webhook.secret.expose()), (user, secret), "{written}");
        assert!(!format!("{config:?}").contains("canary"));
    }
    let both = "url = \"https://acme.bitrix24.com/\"\n\
                webhook_url = \"https://acme.bitrix24.com/rest/1/S-canary/\"\n";
    let config = accepted(&format!("[portals.a]\n{both}"));
    assert_eq!(config.portals["a"].url.to_string(), "https://acme.bitrix24.com");
    let plain = "webhook_url = \"http://crm.lan/rest/1/S-canary/\"\nallow_http = true\n";
    let config = accepted(&format!("[portals.a]\n{plain}"));
    assert_eq!(config.portals["a"].url.to_string(), "http://crm.lan");
    assert_eq!(config.gateway.default_portal.as_deref(), Some("a"));
}

#[test]
fn an_application_that_accepts_installs_needs_no_portal() {
    let config = accepted(&format!("{APP}accept_installs = true\n"));
    assert_eq!(config.open_apps().count(), 1);
    assert_eq!(config.install_url(), "http://localhost:8026/install");
    assert!(config.warnings.is_empty() && config.portals.is_empty(), "{:?}", config.warnings);
    assert_eq!(accepted(&format!("{APP}{PORTAL}")).open_apps().count(), 0);
}

#[test]
fn a_portal_that_has_not_come_yet_may_be_the_default() {
    let text = format!(
        "gateway.default_portal = \"bolt.bitrix24.com\"\n{APP}accept_installs = true\n{PORTAL}"
    );
    assert_eq!(accepted(&text).gateway.default_portal.as_deref(), Some("bolt.bitrix24.com"));
}

#[test]
fn an_old_portal_may_be_its_own_oauth_server_without_tls() {
    let config = accepted(
        "[apps.old]\nclient_id = \"1\"\nclient_secret = \"S-canary\"\n\
         oauth_server = \"http://my.example.com\"\n\
         [portals.a]\nurl = \"http://my.example.com:80/\"\nallow_http = true\n",
    );
    assert_eq!(config.apps["old"].oauth_server, config.portals["a"].url);
}

#[test]
fn the_callback_listener_may_be_anywhere_and_its_address_is_https_or_this_machine() {
    for (listen, public_url) in [
        ("0.0.0.0:8026", "https://b24.example.com"),
        ("[::]:8026", "https://b24.example.com:8443"),
        ("192.0.2.1:80", "http://b24gate.localhost:8026"),
        ("127.0.0.1:8026", "http://[::1]:8026"),
    ] {
        let text = format!("[callback]\nlisten = \"{listen}\"\npublic_url = \"{public_url}\"\n");
        let callback = accepted(&text).callback;
        assert_eq!((callback.listen, callback.public_url.as_str()), (address(listen), public_url));
    }
}

#[test]
fn exposing_tokens_is_possible_and_warned_of() {
    let config = accepted("[admin]\nexpose_tokens = true\n");
    assert!(config.admin.expose_tokens);
    let [warning] = config.warnings.as_slice() else { panic!("{:?}", config.warnings) };
    assert!(warning.contains("admin: expose_tokens = true: whoever reaches"), "{warning}");
}
