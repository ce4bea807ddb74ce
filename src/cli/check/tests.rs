//! What `check` says, without a process of its own.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;

use tempfile::TempDir;

use super::*;

fn config(dir: &TempDir, text: &str) -> Config {
    Config::parse(text, &dir.path().join("b24gate.toml")).unwrap()
}

fn wrong(findings: &[Finding]) -> Vec<&str> {
    findings
        .iter()
        .filter_map(|finding| match finding {
            Finding::Wrong(_, text) => Some(text.as_str()),
            Finding::Right(_) | Finding::Note(_) => None,
        })
        .collect()
}

const APP: &str = "[apps.main]\nclient_id = \"1\"\nclient_secret = \"S-canary\"\n";

#[tokio::test]
async fn a_port_in_use_is_named_with_the_question_whether_we_run_already() {
    let dir = TempDir::new().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let socket = dir.path().join("taken.sock");
    let _taken_socket = UnixListener::bind(&socket).unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    let address = taken.local_addr().unwrap();
    let config = config(
        &dir,
        &format!(
            "[gateway]\nlisten = [\"{address}\", \"unix:taken.sock\", \"unix:file\", \"unix:no/x\", \"unix:free\"]\n\
             [admin]\nlisten = \"127.0.0.1:0\"\n[callback]\nlisten = \"192.0.2.1:0\"\n"
        ),
    );
    let findings = listeners::check(&config).await;
    let wrong = wrong(&findings);
    assert_eq!(wrong.len(), 5, "{findings:?}");
    assert!(wrong[0].contains(&format!("{address} is in use; is b24gate already running?")));
    assert!(wrong[1].contains("taken.sock is in use; is b24gate already running?"));
    assert!(wrong[2].contains("is not a socket"));
    assert!(wrong[3].contains("mkdir"));
    assert!(wrong[4].contains("192.0.2.1:0 is not an address of this machine"));
}

#[tokio::test]
async fn a_portal_that_refuses_is_told_from_one_whose_name_does_not_resolve() {
    let dir = TempDir::new().unwrap();
    let open = TcpListener::bind("127.0.0.1:0").unwrap();
    let open = open.local_addr().map(|address| (open, address)).unwrap();
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = format!(
        "{APP}oauth_server = \"http://oauth.localhost:{}\"\n\
         [portals.a]\nurl = \"http://{}\"\n[portals.b]\nurl = \"http://{closed}\"\n\
         [portals.c]\nurl = \"https://nowhere.invalid\"\n",
        open.1.port(),
        open.1,
    );
    let findings = reach::check(&config(&dir, &text)).await;
    assert_eq!(findings.len(), 4);
    assert!(matches!(&findings[0], Finding::Right(text) if text.starts_with("portals.a: url")));
    assert!(matches!(&findings[3], Finding::Right(text) if text.starts_with("apps.main: oauth")));
    let wrong = wrong(&findings);
    assert!(wrong[0].contains("refuses connections"), "{wrong:?}");
    assert!(wrong[1].contains("DNS") || wrong[1].contains("timeout"), "{wrong:?}");
}

#[test]
fn a_ca_file_must_hold_certificates() {
    let dir = TempDir::new().unwrap();
    let good = rcgen::generate_simple_self_signed(["crm.lan".to_owned()]).unwrap();
    fs::write(dir.path().join("good.pem"), good.cert.pem()).unwrap();
    fs::write(dir.path().join("text.pem"), "no certificate").unwrap();
    let forged = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    fs::write(dir.path().join("forged.pem"), forged).unwrap();
    for (file, said) in [
        ("good.pem", None),
        ("text.pem", Some("no PEM certificate")),
        ("forged.pem", Some("cannot be used")),
        ("missing.pem", Some("cannot be read")),
    ] {
        let portal = "[portals.a]\nurl = \"https://a.example\"";
        let config = config(&dir, &format!("{APP}{portal}\nca_file = \"{file}\"\n"));
        let findings = settings(&config);
        match said {
            None => assert!(wrong(&findings).is_empty(), "{findings:?}"),
            Some(said) => assert!(wrong(&findings)[0].contains(said), "{findings:?}"),
        }
    }
}

#[test]
fn a_plan_is_said_to_be_recorded_only_unless_it_is_unlimited() {
    let dir = TempDir::new().unwrap();
    let text = format!(
        "{APP}[portals.a]\nurl = \"https://a.example\"\n\
         [portals.b]\nurl = \"https://b.example\"\nplan = \"unlimited\"\n"
    );
    let note = "portals.a: plan is recorded; this version does not hold calls back by it yet";
    let notes = settings(&config(&dir, &text));
    assert!(notes.contains(&Finding::Note(note.to_owned())), "{notes:?}");
    assert_eq!(notes.len(), 2, "{notes:?}");
}

fn notes(dir: &TempDir, text: &str) -> Vec<String> {
    let findings = settings(&config(dir, text));
    assert!(wrong(&findings).is_empty(), "{findings:?}");
    let text = |finding| match finding {
        Finding::Note(text) => Some(text),
        Finding::Right(_) | Finding::Wrong(..) => None,
    };
    findings.into_iter().filter_map(text).collect()
}

#[test]
fn a_webhook_is_named_with_its_user_and_without_its_secret() {
    let dir = TempDir::new().unwrap();
    let url = "webhook_url = \"https://a.example/rest/27/S-canary/\"\nplan = \"unlimited\"\n";
    let notes = notes(&dir, &format!("[portals.a]\n{url}"));
    let [note] = notes.as_slice() else { panic!("{notes:?}") };
    assert!(note.contains("portals.a: calls run with the rights of user 27"), "{note}");
    assert!(!note.contains("canary"), "{note}");
}

#[test]
fn an_application_that_accepts_installs_says_where_and_needs_no_portal() {
    let dir = TempDir::new().unwrap();
    let open = notes(&dir, &format!("{APP}accept_installs = true\n"));
    let [note] = open.as_slice() else { panic!("{open:?}") };
    assert!(note.contains("apps.main: portals that install it"), "{note}");
    assert!(note.contains("http://localhost:8026/install"), "{note}");
    let closed = notes(&dir, APP);
    assert!(matches!(closed.as_slice(), [note] if note.contains("there is none")), "{closed:?}");
}

#[test]
fn a_password_is_there_and_exposed_tokens_are_noted() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("admin.secret");
    fs::write(&file, "S-canary").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let admin = "[admin]\npassword_file = \"admin.secret\"\nexpose_tokens = true\n";
    let findings = settings(&config(&dir, admin));
    let right = Finding::Right("admin: password_file holds a password".to_owned());
    assert!(findings.contains(&right), "{findings:?}");
    let exposed =
        |it: &Finding| matches!(it, Finding::Note(text) if text.contains("expose_tokens"));
    assert!(findings.iter().any(exposed), "{findings:?}");
    assert!(!format!("{findings:?}").contains("canary"));
}

#[test]
fn a_callback_that_is_not_reached_as_it_is_announced_is_noted() {
    let dir = TempDir::new().unwrap();
    for (listen, public_url, said) in [
        ("127.0.0.1:8026", "http://localhost:8026", None),
        ("127.0.0.1:8026", "https://b24.example.com", Some("a reverse proxy or a tunnel")),
        ("0.0.0.0:8026", "https://b24.example.com", Some("has to speak https://")),
        ("0.0.0.0:8026", "http://localhost:8026", Some("leads them to themselves")),
    ] {
        let text = format!("[callback]\nlisten = \"{listen}\"\npublic_url = \"{public_url}\"\n");
        let notes = notes(&dir, &text);
        let about = notes.iter().find(|note| note.starts_with("callback: "));
        match said {
            None => assert_eq!(about, None),
            Some(said) => assert!(about.is_some_and(|note| note.contains(said)), "{notes:?}"),
        }
    }
}

#[test]
fn a_state_directory_that_others_can_reach_is_unsafe() {
    let dir = TempDir::new().unwrap();
    for (mode, safe) in [(0o700, true), (0o750, false), (0o701, false)] {
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
        let findings = state(dir.path());
        assert_eq!(wrong(&findings).is_empty(), safe, "{mode:o}: {findings:?}");
    }
    assert!(matches!(state(&dir.path().join("none")).as_slice(), [Finding::Note(_)]));
}

#[test]
fn the_gravest_finding_decides_the_exit_code() {
    let all = [Exit::Done, Exit::Failed, Exit::UnsafeFiles, Exit::Usage];
    for (weight, exit) in all.into_iter().enumerate() {
        for (other_weight, other) in all.into_iter().enumerate() {
            assert_eq!(exit.or_graver(other), all[weight.max(other_weight)]);
        }
    }
}
