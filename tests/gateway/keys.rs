//! `b24gate client ...`, beside a running gateway and without one: who has a key, what becomes of
//! it, and that it is shown once.

use std::process::Output;

use serde_json::{Value, json};

use crate::support::calls::{assert_refused, calls_of, portal, profile, request};
use crate::support::http::{self, Client};
use crate::support::{Gate, Setup};

const SECTION: &str = "[clients.erp]\nportals = [\"acme\"]\nmethods = [\"crm.*\", \"profile\"]\n";

fn told(output: &Output) -> String {
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8(text).unwrap()
}

/// The key that a command has shown, with all it said.
fn key(setup: &Setup, arguments: &[&str]) -> String {
    let output = setup.command(&[arguments, &["--json"]].concat(), "");
    assert!(output.status.success(), "{arguments:?}: {}", told(&output));
    let said: Value = serde_json::from_slice(&output.stdout).unwrap();
    let key = said["key"].as_str().unwrap().to_owned();
    assert!(key.len() == 16 && key.bytes().all(|it| it.is_ascii_alphanumeric()), "{key}");
    key
}

fn done(setup: &Setup, arguments: &[&str]) -> String {
    let output = setup.command(arguments, "");
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", told(&output));
    told(&output)
}

fn refused(setup: &Setup, arguments: &[&str], code: i32, said: &str) {
    let output = setup.command(arguments, "");
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", told(&output));
    assert!(output.stdout.is_empty(), "{}", told(&output));
    assert!(told(&output).contains(said), "{arguments:?}: {}", told(&output));
}

fn listed(setup: &Setup, name: &str) -> Value {
    let list: Value = serde_json::from_str(&done(setup, &["client", "list", "--json"])).unwrap();
    let clients = list["clients"].as_array().unwrap();
    clients.iter().find(|client| client["name"] == name).cloned().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn clients_are_made_listed_given_other_keys_and_removed_with_and_without_a_gateway() {
    let portal = portal().await;
    let setup = Setup::new(&portal).more(SECTION);
    setup.write();
    let empty = done(&setup, &["client", "list"]);
    assert!(empty.contains("erp: no key yet: b24gate client add erp"), "{empty}");
    assert!(!setup.state().exists(), "looking makes nothing");
    refused(&setup, &["client", "rotate", "erp"], 1, "b24gate client add erp");
    refused(&setup, &["client", "remove", "nobody"], 1, "there are: erp");
    assert!(!setup.state().exists(), "what is refused makes nothing");

    let round = |when: &str| {
        let file = setup.config();
        let named = ["client", "add", "erp", "--read-only"];
        refused(&setup, &named, 2, &format!("{}: client erp is described", file.display()));
        for (arguments, said) in [
            (&["--portal", "acne"][..], "there is no portal \"acne\"; did you mean \"acme\"?"),
            (&["--method", "crm deal"], "is not a pattern of methods"),
            (&["--expires", "2001-01-01"], "--expires: \"2001-01-01\" is past"),
            (&["--expires", "soon"], "--expires: "),
        ] {
            let wrong = [&["client", "add", "report"], arguments].concat();
            let output = setup.command(&wrong, "");
            assert!(matches!(output.status.code(), Some(1 | 2)), "{when}: {}", told(&output));
            assert!(told(&output).contains(said), "{when} {wrong:?}: {}", told(&output));
        }
        refused(&setup, &["client", "add", "Report"], 2, "lower-case letters");
        let erp = key(&setup, &["client", "add", "erp"]);
        let made = ["client", "add", "report", "--portal", "acme", "--method", "crm.*"];
        let more = ["--method", "!*.delete", "--read-only", "--expires", "30d"];
        let report = key(&setup, &[&made[..], &more].concat());
        refused(&setup, &["client", "add", "erp"], 1, "b24gate client rotate erp");
        let view = listed(&setup, "report");
        assert_eq!(view["source"], "command", "{when}: {view}");
        assert_eq!(view["portals"], json!(["acme"]));
        assert_eq!(view["methods"], json!(["crm.*", "!*.delete"]));
        assert_eq!((&view["read_only"], &view["state"]), (&json!(true), &json!("ready")));
        assert!(
            view["expires_at"].as_u64().unwrap() > view["keys"][0]["made_at"].as_u64().unwrap()
        );
        assert_eq!(listed(&setup, "erp")["source"], "configuration", "{when}");
        let second = key(&setup, &["client", "rotate", "erp", "--overlap", "1h"]);
        let keys = listed(&setup, "erp")["keys"].clone();
        assert_eq!(keys.as_array().unwrap().len(), 2, "{when}: {keys}");
        assert!(keys[0]["expires_at"].is_u64() && keys[1]["expires_at"].is_null(), "{keys}");
        let third = key(&setup, &["client", "rotate", "erp"]);
        assert_eq!(listed(&setup, "erp")["keys"].as_array().unwrap().len(), 1, "{when}");
        let list = done(&setup, &["client", "list"]);
        for key in [&erp, &report, &second, &third] {
            assert!(!list.contains(key.as_str()), "{list}");
        }
        let said = done(&setup, &["client", "remove", "erp"]);
        assert!(said.contains("remove the section [clients.erp]"), "{said}");
        assert_eq!(listed(&setup, "erp")["state"], "no key", "{when}");
        done(&setup, &["client", "remove", "report"]);
        assert!(listed(&setup, "report").is_null(), "{when}");
        refused(&setup, &["client", "remove", "report"], 1, "there is no client report");
    };
    round("not running");
    let _gate = setup.start();
    round("running");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_key_is_shown_with_the_lines_of_the_running_gateway() {
    let portal = portal().await;
    let gate = Setup::new(&portal).start();
    let said = done(gate.setup(), &["client", "add", "erp"]);
    let port = gate.address.port();
    let line = said.lines().find(|line| line.contains("  webhook  ")).unwrap();
    let key = line.trim_end_matches('/').rsplit('/').next().unwrap();
    assert!(said.contains(&format!("http://localhost:{port}/rest/1/{key}/")), "{said}");
    assert!(said.contains(&format!("Bitrix(\"http://localhost:{port}/rest/1/{key}/\")")), "{said}");
    let log = gate.log();
    assert!(log.contains("client added") && !log.contains(key), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_outlive_a_restart_and_a_crash_and_a_lost_database_lets_nobody_in() {
    let portal = portal().await;
    let setup = Setup::new(&portal);
    setup.write();
    setup.import(&portal.seed());
    let gate = setup.start();
    key(&setup, &["client", "add", "erp"]);
    assert_eq!(profile(&gate).await.status, 200);
    let setup = gate.kill();
    let gate = setup.start();
    assert_eq!(listed(&setup, "erp")["state"], "ready", "after a crash");
    assert!(gate.stop().0.success());
    for end in ["", "-wal", "-shm"] {
        drop(std::fs::remove_file(setup.state().join(format!("b24gate.db{end}"))));
    }
    let list = done(&setup, &["client", "list"]);
    assert!(list.contains("make the keys anew"), "{list}");
    let gate = setup.start();
    gate.wait_for_log("clients_lost");
    let ready = http::get(gate.admin, "/readyz").await;
    assert_eq!(ready.status, 503);
    assert!(ready.text().contains("the keys of clients were lost"), "{}", ready.text());
    let list: Value = serde_json::from_str(&done(&setup, &["client", "list", "--json"])).unwrap();
    assert_eq!(list, json!({"clients": [], "lost": true}));
    let api = http::get(gate.admin, "/api/v1/clients").await.json();
    assert_eq!(api, list);
    key(&setup, &["client", "add", "erp"]);
    assert_eq!(http::get(gate.admin, "/readyz").await.text(), "ready\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_section_that_is_gone_takes_its_clients_rules_and_so_its_keys_along() {
    let portal = portal().await;
    let setup = Setup::new(&portal).more(SECTION);
    setup.write();
    setup.import(&portal.seed());
    let gate = setup.start();
    key(&setup, &["client", "add", "erp"]);
    assert_eq!(listed(&setup, "erp")["methods"], json!(["crm.*", "profile"]));
    let text = setup.text();
    std::fs::write(setup.config(), text.replace("\"crm.*\"", "\"task.*\"")).unwrap();
    reload(&gate, 1);
    assert_eq!(listed(&setup, "erp")["methods"], json!(["task.*", "profile"]));
    std::fs::write(setup.config(), text.replace(SECTION, "[clients.new]\n")).unwrap();
    // The configuration is not in force yet, so that nobody knows what the client may do.
    refused(
        &setup,
        &["client", "add", "new"],
        1,
        "does not know [clients.new] yet; send it SIGHUP",
    );
    reload(&gate, 2);
    let view = listed(&setup, "erp");
    assert_eq!((&view["state"], &view["source"]), (&json!("refused"), &json!("nowhere")));
    let list = done(&setup, &["client", "list"]);
    assert!(list.contains("erp: its section is gone"), "{list}");
    key(&setup, &["client", "add", "new"]);
    refused(&setup, &["client", "rotate", "erp"], 1, "b24gate client remove erp");
    done(&setup, &["client", "remove", "erp"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_brings_its_clients_along_and_a_new_key_of_the_store_changes_nothing() {
    let portal = portal().await;
    let setup = Setup::new(&portal);
    setup.write();
    setup.import(&portal.seed());
    key(&setup, &["client", "add", "erp", "--read-only"]);
    let made = listed(&setup, "erp");
    done(&setup, &["store", "rekey"]);
    assert_eq!(listed(&setup, "erp"), made);
    let file = setup.config().with_file_name("backup");
    let file = file.to_str().unwrap();
    done(&setup, &["store", "backup", file, "--retire"]);
    let key_file = setup.state().join("b24gate.key");
    let sealed = std::fs::read(&key_file).unwrap();
    std::fs::remove_dir_all(setup.state()).unwrap();
    std::fs::create_dir(setup.state()).unwrap();
    let mode = |mode| std::os::unix::fs::PermissionsExt::from_mode(mode);
    std::fs::set_permissions(setup.state(), mode(0o700)).unwrap();
    std::fs::write(&key_file, sealed).unwrap();
    std::fs::set_permissions(&key_file, mode(0o600)).unwrap();
    done(&setup, &["store", "restore", file]);
    assert_eq!(listed(&setup, "erp"), made);
    assert!(setup.state().join("b24gate.clients").exists(), "what says so is there again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_page_and_the_api_show_clients_without_their_keys() {
    let portal = portal().await;
    let gate = Setup::new(&portal).more(SECTION).start();
    let key = key(gate.setup(), &["client", "add", "report", "--read-only"]);
    let page = "GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n\r\n";
    let page = http::send(gate.admin, page).await.text();
    for said in ["Clients", "report", "only to read", "no key yet: b24gate client add erp"] {
        assert!(page.contains(said), "{said} is missing in {page}");
    }
    let api = http::get(gate.admin, "/api/v1/clients").await.json();
    assert_eq!(api["clients"][1]["name"], "report", "{api}");
    assert_eq!(api["clients"][1]["calls"], 0, "{api}");
    assert!(!page.contains(&key) && !api.to_string().contains(&key));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_was_taken_away_is_refused_on_the_connection_that_it_opened() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    let (setup, mut client) = (gate.setup(), Client::connect(gate.address).await);
    let first = key(setup, &["client", "add", "tools"]);
    let first = request(&format!("/rest/1/{first}/profile"));
    client.send(&first).await;
    assert_eq!(client.answer().await.unwrap().status, 200);

    let second = key(setup, &["client", "rotate", "tools"]);
    let second = request(&format!("/rest/1/{second}/profile"));
    client.send(&first).await;
    assert_refused(&client.answer().await.unwrap(), 403, "GATEWAY_KEY_REFUSED");
    client.send(&second).await;
    assert_eq!(client.answer().await.unwrap().status, 200);

    done(setup, &["client", "remove", "tools"]);
    for _ in 0..2 {
        client.send(&second).await;
        assert_refused(&client.answer().await.unwrap(), 403, "GATEWAY_KEY_REFUSED");
    }
    assert_eq!(calls_of(&portal, "profile").len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_counted_and_noted_under_the_name_of_their_client() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    let tools = key(gate.setup(), &["client", "add", "tools", "--read-only"]);
    let nobodys: String = tools.chars().rev().collect();
    for (target, body, status) in [
        (format!("/rest/1/{tools}/profile"), String::new(), 200),
        ("/rest/profile".to_owned(), format!("auth={tools}"), 200),
        ("/rest/profile".to_owned(), String::new(), 200),
        (format!("/rest/1/{tools}/crm.deal.add"), String::new(), 403),
        ("/rest/batch".to_owned(), format!("auth={tools}&cmd[a]=crm.deal.add"), 403),
        (format!("/rest/1/{nobodys}/profile"), String::new(), 403),
    ] {
        let form = "application/x-www-form-urlencoded";
        let answer = http::post(gate.address, &target, form, body.as_bytes()).await;
        assert_eq!(answer.status, status, "{target} {body}: {}", answer.text());
    }
    let noted = noted(gate.setup(), 6);
    let by = |at: usize| {
        let word = |name: &str| noted[at][name].as_str().unwrap_or("-");
        (word("client"), word("portal"), word("method"), word("code"))
    };
    let forbidden = "GATEWAY_METHOD_FORBIDDEN";
    assert_eq!([by(0), by(1)], [("tools", "acme", "profile", "-"); 2]);
    assert_eq!(by(2), ("-", "acme", "profile", "-"));
    assert_eq!(by(3), ("tools", "acme", "crm.deal.add", forbidden));
    assert_eq!(by(4), ("tools", "acme", "batch", forbidden));
    assert_eq!(by(5), ("-", "-", "profile", "GATEWAY_KEY_REFUSED"));
    // What is noted of a call is noted after it is counted.
    let page = http::get(gate.admin, "/metrics").await.text();
    let counted = |client: &str, status: u16| {
        let labels = format!("client=\"{client}\",status=\"{status}\"}} ");
        let lines = page.lines().filter(|line| line.starts_with("b24gate_requests_total{"));
        let counts = lines.filter_map(|line| line.split_once(&labels)?.1.parse::<u64>().ok());
        counts.sum::<u64>()
    };
    assert_eq!((counted("tools", 200), counted("tools", 403)), (2, 2), "{page}");
    assert_eq!((counted("anonymous", 200), counted("anonymous", 403)), (1, 1), "{page}");
    let served = "b24gate_requests_total{portal=\"acme\",client=\"tools\",status=\"200\"} 2";
    assert!(page.contains(served), "{page}");
}

/// What `b24gate audit` tells of so many calls, once they are there.
fn noted(setup: &Setup, count: usize) -> Vec<Value> {
    for _ in 0..400 {
        let output = setup.command(&["audit", "--json"], "");
        let text = String::from_utf8(output.stdout).unwrap();
        if text.lines().count() >= count {
            return text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("there are never {count} calls");
}

/// SIGHUP, and that it was heard for the `times`th time.
fn reload(gate: &Gate, times: usize) {
    gate.signal("HUP");
    let step = std::time::Duration::from_millis(5);
    for _ in 0..2_000 {
        if gate.log().matches("configuration reloaded").count() >= times {
            return;
        }
        std::thread::sleep(step);
    }
    panic!("not reloaded:\n{}", gate.log());
}
