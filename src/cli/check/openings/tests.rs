//! Every opening is told, in one line, with what to write instead; and nothing else is.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::machine::{User, users};
use super::*;

const PORTAL: &str = "[apps.main]\nclient_id = \"1\"\nclient_secret = \"S-canary\"\n\
                      [portals.acme]\nurl = \"https://acme.example\"\n";

fn config(text: &str) -> Config {
    Config::parse(text, Path::new("b24gate.toml")).unwrap()
}

/// A service with a user of its own.
fn service() -> Machine {
    Machine { user: 990, group: 991, ..Machine::default() }
}

fn inhabited(people: &[&str]) -> Machine {
    let person =
        |(name, uid): (&&str, u32)| User { name: (*name).to_owned(), uid, is_person: true };
    Machine { users: people.iter().zip(1000..).map(person).collect(), ..service() }
}

fn notes(text: &str, machine: &Machine) -> Vec<String> {
    let text_of = |finding| match finding {
        Finding::Note(text) => Some(text),
        Finding::Right(_) | Finding::Wrong(..) => None,
    };
    check(&config(text), machine).into_iter().filter_map(text_of).collect()
}

/// The one note there is.
fn note(text: &str, machine: &Machine) -> String {
    let notes = notes(text, machine);
    let [note] = notes.as_slice() else { panic!("{notes:#?}\nof\n{text}") };
    assert!(!note.contains('\n') && !note.contains("canary"), "{note}");
    note.clone()
}

#[track_caller]
fn assert_note(text: &str, machine: &Machine, said: &[&str]) {
    let note = note(text, machine);
    for said in said {
        assert!(note.contains(said), "{note}\nshould say {said}");
    }
}

#[test]
fn what_is_closed_is_not_spoken_of() {
    let client = "[clients.etl]\nportals = [\"acme\"]\nread_only = true\n";
    for text in [
        String::new(),
        PORTAL.to_owned(),
        format!("[gateway]\nrequire_key = true\nhosts = [\"gate.lan\", \"::1\"]\n{PORTAL}{client}"),
    ] {
        assert_eq!(notes(&text, &service()), [""; 0], "{text}");
    }
    assert_eq!(notes("", &inhabited(&["anna"])), [""; 0], "a machine of one person");
}

#[test]
fn several_people_on_a_machine_are_named_while_everybody_may_call() {
    let four = inhabited(&["anna", "boris", "clara", "dora"]);
    let said = [
        "gateway: allow_uids = \"any\"",
        "(anna, boris, clara and 1 more)",
        "allow_uids = [\"self\", \"root\"]",
        "require_key = true",
    ];
    assert_note("", &four, &said);
    // One of two is the one who runs the gateway.
    let two = Machine { user: 1000, ..inhabited(&["anna", "boris"]) };
    assert_note("", &two, &["every user of this machine (boris)"]);
    for closed in ["require_key = true", "allow_uids = [1000]", "listen = \"unix:/run/b/b.sock\""] {
        let people = |note: &String| note.contains("allow_uids");
        assert!(!notes(&format!("[gateway]\n{closed}\n"), &four).iter().any(people), "{closed}");
    }
}

#[test]
fn people_are_told_from_services_by_their_number_and_shell() {
    let passwd = "root:x:0:0:root:/root:/bin/bash\nwww:x:33:33::/var/www:/usr/sbin/nologin\n\
                  anna:x:1000:1000:Anna,,,:/home/anna:/bin/bash\n\
                  ftp:x:1001:1001::/srv/ftp:/bin/false\nboris:x:59999:1::/home/b:/usr/bin/fish\n\
                  nobody:x:65534:65534::/:/bin/sh\nclara:x:1002:1002::/home/clara:\n\
                  broken:x:1003\n+::::::\n";
    let people: Vec<_> = users(passwd).into_iter().filter(|user| user.is_person).collect();
    let named = |name: &str, uid| User { name: name.to_owned(), uid, is_person: true };
    assert_eq!(people, [named("anna", 1000), named("boris", 59_999), named("clara", 1002)]);
}

#[test]
fn keys_that_nobody_needs_are_pointed_out_once_there_are_clients() {
    let client = "[clients.etl]\nportals = [\"acme\"]\nread_only = true\n";
    let said =
        ["gateway: require_key = false: anonymous calls still pass", "set require_key = true"];
    assert_note(&format!("{PORTAL}{client}"), &service(), &said);
}

#[test]
fn a_client_that_may_do_everything_or_nothing_is_named() {
    let keyed = format!("[gateway]\nrequire_key = true\n{PORTAL}");
    let second = "[portals.beta]\nurl = \"https://beta.example\"\n";
    for (portals, client, said) in [
        ("", "", "clients.etl: it may call every method; write methods or read_only = true"),
        (second, "", "it may call every method on every portal; write methods, read_only"),
        (second, "read_only = true", "it may call every portal, also those that come later; write"),
        (second, "portals = [\"acme\"]", "it may call every method; write methods or read_only"),
        ("", "portals = []", "portals = []: it may call no portal; name those it is for"),
    ] {
        assert_note(&format!("{keyed}{portals}[clients.etl]\n{client}\n"), &service(), &[said]);
    }
    for client in ["methods = [\"crm.*\"]", "read_only = true"] {
        let text = format!("{keyed}[clients.etl]\n{client}\n");
        assert_eq!(notes(&text, &service()), [""; 0], "{client}");
    }
}

#[test]
fn a_listener_for_other_machines_is_warned_of_and_needs_names() {
    for (listen, reach) in [
        ("0.0.0.0:8024", "every machine that reaches any address of this one"),
        ("[::]:8024", "every machine that reaches any address of this one"),
        ("192.0.2.7:8024", "every machine that reaches 192.0.2.7"),
        ("[::ffff:192.0.2.7]:8024", "every machine that reaches 192.0.2.7"),
    ] {
        let text = format!("[gateway]\nlisten = \"{listen}\"\nrequire_key = true\n");
        let warnings = config(&text).warnings;
        let [warning] = warnings.as_slice() else { panic!("{warnings:?}") };
        assert!(warning.contains(reach) && warning.contains("https://"), "{warning}");
        assert_note(&text, &service(), &["gateway: hosts = []", listen, "hosts = [\"gate.lan\""]);
        assert_eq!(notes(&format!("{text}hosts = [\"gate.lan\"]\n"), &service()), [""; 0]);
    }
    for listen in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1", "unix:/x"] {
        let closed = config(&format!("[gateway]\nlisten = \"{listen}\"\n"));
        assert_eq!(closed.warnings, [""; 0], "{listen}");
    }
}

#[test]
fn origins_hosts_and_proxies_that_are_let_in_are_named() {
    let gateway = |line: &str| format!("[gateway]\n{line}\n");
    let origin = gateway("origins = [\"https://crm.example.com\"]");
    assert_note(
        &origin,
        &service(),
        &["every script in a page of https://crm.example.com can call"],
    );
    assert!(!note(&origin, &service()).contains("http://,"));
    let plain = gateway("origins = [\"http://crm.example.com\"]");
    assert_note(&plain, &service(), &["http://crm.example.com", "serve it by https://"]);
    let local = gateway("origins = [\"http://localhost:3000\"]");
    assert!(!note(&local, &service()).contains("serve it by"));
    let host = gateway("hosts = [\"gate.example.com\"]");
    assert_note(&host, &service(), &["gate.example.com looks like a name of the internet"]);
    let own =
        gateway("hosts = [\"gate\", \"gate.lan\", \"b.home.arpa\", \"192.0.2.1\", \"fd00::1\"]");
    assert_eq!(notes(&own, &service()), [""; 0]);
    let proxy = gateway("behind_proxy = true");
    assert_note(
        &proxy,
        &service(),
        &["behind_proxy = true", "it has to ask who calls", "Sec-Fetch"],
    );
}

#[test]
fn what_goes_over_the_wire_unencrypted_is_named() {
    let portal = PORTAL.replace("https://acme.example", "http://crm.lan");
    let text = format!("{portal}allow_http = true\n");
    assert_note(&text, &service(), &["portals.acme: url http://crm.lan", "the token can be read"]);
    let app = "[apps.main]\nclient_id = \"1\"\nclient_secret = \"S-canary\"\n\
               oauth_server = \"http://crm.lan\"\n[portals.acme]\nurl = \"http://crm.lan\"\n\
               allow_http = true\n";
    let both = notes(app, &service());
    assert!(
        both.iter().any(|it| it.contains("apps.main: oauth_server http://crm.lan")),
        "{both:?}"
    );
    let dir = tempfile::tempdir().unwrap();
    let password = dir.path().join("admin.secret");
    fs::write(&password, "S-canary").unwrap();
    fs::set_permissions(&password, fs::Permissions::from_mode(0o600)).unwrap();
    let admin = |listen: &str| {
        let file = password.display();
        format!("[admin]\nlisten = \"{listen}\"\npassword_file = \"{file}\"\n")
    };
    let said = ["admin: listen 0.0.0.0:8025 speaks plain HTTP", "sees the password", "ssh -L"];
    assert_note(&admin("0.0.0.0:8025"), &service(), &said);
    assert_eq!(notes(&admin("127.0.0.1:8025"), &service()), [""; 0]);
}

#[test]
fn root_a_missing_audit_and_secrets_in_the_environment_are_named() {
    let as_root = Machine { user: 0, group: 0, ..service() };
    assert_note("", &as_root, &["user: this is root", "User=b24gate"]);
    assert_note("[audit]\nkeep = \"off\"\n", &service(), &["audit: keep = \"off\"", "\"30d\""]);
    // Some variable that is there and is one word; what it holds does not matter.
    let (name, _) = std::env::vars()
        .find(|(name, value)| {
            name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_')
                && name.starts_with(|first: char| first.is_ascii_uppercase())
                && !value.is_empty()
                && !value.contains(char::is_whitespace)
        })
        .unwrap();
    let app = format!("[apps.main]\nclient_id = \"1\"\nclient_secret_env = \"{name}\"\n");
    let said =
        ["apps.main: client_secret_env: ", "/proc/PID/environ", "client_secret_file names a file"];
    assert_note(&app, &service(), &said);
    let store = format!("[store]\nkey_env = \"{name}\"\n");
    assert_note(&store, &service(), &["store: key_env: ", "; key_file names a file"]);
}

fn placed(folders: &[(&str, u32, u32, u32)]) -> Machine {
    let folder = |(path, mode, owner, group): &(&str, u32, u32, u32)| Folder {
        path: (*path).into(),
        mode: *mode,
        owner: *owner,
        group: *group,
    };
    let folders = folders.iter().map(folder).collect();
    let places = vec![Place { socket: "/run/b/b.sock".into(), folders }];
    let user = |name: &str, uid| User { name: name.to_owned(), uid, is_person: false };
    let groups = vec![("b24".to_owned(), 991), ("www-data".to_owned(), 33)];
    Machine { places, users: vec![user("b24gate", 990)], groups, ..service() }
}

const SOCKET: &str = "[gateway]\nlisten = \"unix:/run/b/b.sock\"\n";

#[test]
fn who_can_connect_to_a_unix_socket_is_said() {
    let folders = [("/run/b", 0o755, 990, 991), ("/run", 0o755, 0, 0), ("/", 0o755, 0, 0)];
    let private = check(&config(SOCKET), &placed(&folders));
    let text = "gateway: unix:/run/b/b.sock (socket_mode \"0600\") lets in programs of its own user, \
                here b24gate, and root";
    assert_eq!(private, [Finding::Right(text.to_owned())]);
    let with = |mode: &str| format!("{SOCKET}socket_mode = \"{mode}\"\n");
    assert_note(
        &with("0660"),
        &placed(&folders),
        &["b24gate and the group b24: all of them can call"],
    );
    assert_note(
        &with("0666"),
        &placed(&folders),
        &["every user of this machine: all of them can call"],
    );
    let listed = format!("{}allow_uids = [33]\n", with("0666"));
    assert_note(&listed, &placed(&folders), &["of them those in allow_uids can call"]);
    // A folder that hands its group on.
    let folders = [("/run/b", 0o2750, 990, 33), ("/", 0o755, 0, 0)];
    assert_note(&with("0660"), &placed(&folders), &["the group www-data"]);
    // Whoever may read it cannot connect.
    assert_eq!(notes(&with("0644"), &placed(&folders)), [""; 0]);
}

#[test]
fn a_socket_that_another_could_stand_in_for_is_named_with_the_folder() {
    for (folders, said) in [
        (vec![("/run/b", 0o1777, 0, 0)], "lies in /run/b, where other users can write"),
        (vec![("/run/b", 0o1777, 0, 0)], "there before the gateway starts, and gets"),
        (vec![("/run/b", 0o777, 990, 991)], "in its place at any time"),
        (vec![("/run/b", 0o775, 990, 33)], "in its place at any time"),
        (vec![("/run/b", 0o755, 1000, 1000)], "in its place at any time"),
        (vec![("/run/b", 0o755, 990, 991), ("/run", 0o777, 0, 0)], "lies in /run, where"),
    ] {
        assert_note(SOCKET, &placed(&folders), &[said, "such as /run/b24gate"]);
    }
    let sound = [("/run/b", 0o775, 990, 991), ("/run", 0o775, 0, 0)];
    assert_eq!(notes(SOCKET, &placed(&sound)), [""; 0]);
    let root = Machine { user: 0, group: 0, ..placed(&[("/run/b", 0o755, 1000, 1000)]) };
    assert!(!notes(SOCKET, &root).iter().any(|note| note.contains("lies in")), "root looks");
}

#[test]
fn the_machine_is_looked_at_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o1777)).unwrap();
    let text = format!("[gateway]\nlisten = \"unix:{}/gate.sock\"\n", dir.path().display());
    let machine = Machine::look(&config(&text));
    let replaceable = |note: &String| note.contains("before the gateway starts");
    assert!(notes(&text, &machine).iter().any(replaceable), "{machine:?}");
    assert_eq!(machine.user, rustix::process::geteuid().as_raw());
    assert!(machine.users.iter().any(|user| user.uid == 0 && user.name == "root"));
    assert!(machine.groups.iter().any(|(name, number)| *number == 0 && name == "root"));
}
