//! Which user's programs may call, and what is open to other machines.

use std::net::{SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use b24gate::sandbox::Sandbox;

use crate::support::calls::{calls_of, portal, profile, request};
use crate::support::http::{self, Client};
use crate::support::{Gate, Setup};

/// A user who runs nothing here.
const NOBODY: u32 = 65_534;

fn gate(portal: &Sandbox, change: impl FnOnce(Setup) -> Setup) -> Gate {
    Gate::connected(&change(Setup::new(portal)), &portal.seed())
}

/// What curl gets that runs as `uid`; `None` where that needs root.
fn curl(uid: u32, arguments: &[&str]) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: only root can run a program as another user");
        return None;
    }
    let output = Command::new("curl")
        .args(["-sg", "--noproxy", "*", "--max-time", "20", "-w", " %{http_code}"])
        .args(arguments)
        .current_dir("/")
        .uid(uid)
        .output()
        .unwrap();
    Some(String::from_utf8(output.stdout).unwrap())
}

fn is_refused(answer: &http::Answer) -> bool {
    (answer.status, answer.error().as_str(), answer.executed().as_str())
        == (403, "GATEWAY_PEER_NOT_ALLOWED", "no")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_of_another_user_is_refused_and_one_of_the_own_user_is_served() {
    let portal = portal().await;
    let gate = gate(&portal, |it| it.listen("[::1]:0").gateway("allow_uids = [\"self\"]"));
    let line = gate.wait_for_log("http://[::1]:");
    let port = line.rsplit("http://[::1]:").next().unwrap().trim_matches('"').to_owned();
    let v6: SocketAddr = format!("[::1]:{port}").parse().unwrap();
    for address in [gate.address, v6] {
        assert_eq!(http::get(address, "/rest/profile").await.status, 200, "{address}");
        let before = calls_of(&portal, "profile").len();
        let url = format!("http://{address}/rest/profile");
        let Some(told) = curl(NOBODY, &[&url]) else { continue };
        assert!(told.contains("GATEWAY_PEER_NOT_ALLOWED") && told.ends_with(" 403"), "{told}");
        assert!(told.contains("\"executed\":\"no\"") && !told.contains("root"), "{told}");
        let own = curl(0, &[&url]).unwrap();
        assert!(own.ends_with(" 200"), "{own}");
        assert_eq!(calls_of(&portal, "profile").len(), before + 1, "the portal hears of one");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_not_in_the_list_is_told_once_counted_and_cut_off() {
    let portal = portal().await;
    let gate = gate(&portal, |it| it.gateway("allow_uids = [65534]"));
    for _ in 0..3 {
        let mut client = Client::connect(gate.address).await;
        client.send([request("/rest/profile"), request("/rest/profile")].concat()).await;
        let answer = client.answer().await.unwrap();
        assert!(is_refused(&answer), "{}", answer.text());
        assert_eq!(answer.field("connection"), Some("close"));
        assert!(!answer.text().contains("65534"), "who may is not said: {}", answer.text());
        assert!(client.is_closed().await);
    }
    assert!(calls_of(&portal, "profile").is_empty());
    let own = rustix::process::geteuid().as_raw();
    let line = gate.wait_for_log("user not in allow_uids");
    assert!(line.contains(&format!("uid={own}")), "{line}");
    let counted = "b24gate_rejected_total{guard=\"peer\"} 3";
    for round in 0.. {
        let page = http::get(gate.admin, "/metrics").await.text();
        if page.contains(counted) {
            break;
        }
        assert!(round < 500, "{page}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_that_comes_by_a_reload_holds_for_connections_that_are_open() {
    let portal = portal().await;
    let gate = gate(&portal, |it| it);
    let mut client = Client::connect(gate.address).await;
    for _ in 0..2 {
        client.send(request("/rest/profile")).await;
        assert_eq!(client.answer().await.unwrap().status, 200);
    }
    gate.setup().clone().gateway("allow_uids = [65534]").write();
    gate.signal("HUP");
    gate.wait_for_log("configuration reloaded");
    client.send(request("/rest/profile")).await;
    let answer = client.answer().await.unwrap();
    assert!(is_refused(&answer), "{}", answer.text());
    assert!(client.is_closed().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_caller_that_does_not_wait_for_its_answer_is_not_taken_for_root() {
    use tokio::io::AsyncWriteExt as _;
    let portal = portal().await;
    // Without the right user, whoever is found by mistake is let in.
    let gate = gate(&portal, |it| it.gateway("allow_uids = [0, 65534]"));
    for _ in 0..50 {
        let socket = std::net::TcpStream::connect(gate.address).unwrap();
        if std::os::unix::fs::fchown(&socket, Some(12_345), None).is_err() {
            println!("skipped: only root can give a socket away");
            return;
        }
        socket.set_nonblocking(true).unwrap();
        let mut stream = tokio::net::TcpStream::from_std(socket).unwrap();
        stream.write_all(request("/rest/crm.deal.add").as_bytes()).await.unwrap();
        drop(stream);
    }
    assert_eq!(profile(&gate).await.status, 200, "a user of the list is served");
    assert!(calls_of(&portal, "crm.deal.add").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_unix_socket_asks_for_the_user_too() {
    let portal = portal().await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let path = folder.path().join("gate.sock");
    let open = Setup::new(&portal).listen(&format!("unix:{}", path.display()));
    let open = open.gateway("socket_mode = \"0666\"");
    let call = |uid| {
        let socket = path.to_str().unwrap();
        curl(uid, &["--unix-socket", socket, "http://localhost/rest/profile"])
    };
    let gate = Gate::connected(&open.clone().gateway("allow_uids = [\"root\"]"), &portal.seed());
    let Some(told) = call(NOBODY) else { return };
    assert!(told.contains("GATEWAY_PEER_NOT_ALLOWED") && told.ends_with(" 403"), "{told}");
    assert!(call(0).unwrap().ends_with(" 200"));
    open.gateway("allow_uids = [\"root\", 65534]").write();
    gate.signal("HUP");
    gate.wait_for_log("configuration reloaded");
    assert!(call(NOBODY).unwrap().ends_with(" 200"));
}

/// An address of this machine that is not loopback.
fn outside() -> Option<SocketAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?; // nothing is sent
    let address = socket.local_addr().ok()?;
    (!address.ip().is_loopback() && !address.ip().is_unspecified()).then_some(address)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_of_this_machine_is_asked_for_on_its_other_addresses_too() {
    let Some(outside) = outside() else {
        println!("skipped: there is no address but loopback");
        return;
    };
    let portal = portal().await;
    let gate = gate(&portal, |it| {
        it.listen(&format!("{}:0", outside.ip()))
            .gateway("require_key = true\nallow_uids = [65534]")
    });
    let start = format!("http://{}:", outside.ip());
    let line = gate.wait_for_log(&format!("address={start}"));
    let port: u16 = line.rsplit(':').next().unwrap().trim_matches('"').parse().unwrap();
    let answer = http::get(SocketAddr::new(outside.ip(), port), "/rest/profile").await;
    assert!(is_refused(&answer), "{}", answer.text());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_for_other_machines_needs_keys_or_nothing_starts() {
    let portal = portal().await;
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[::ffff:0.0.0.0]:0"] {
        let open = Setup::new(&portal).listen(address);
        open.write();
        for command in ["serve", "check"] {
            let output = open.command(&[command], "");
            let said = [output.stdout, output.stderr].concat();
            let said = String::from_utf8(said).unwrap();
            assert_eq!(output.status.code(), Some(2), "{said}");
            let said_all = ["b24gate.toml:2: [gateway] listen:", "set require_key = true"];
            assert!(said_all.iter().all(|part| said.contains(part)), "{said}");
        }
    }
    let setup = Setup::new(&portal).listen("0.0.0.0:0").gateway("require_key = true");
    let gate = Gate::connected(&setup, &portal.seed());
    gate.wait_for_log("lets in every machine that reaches any address of this one");
    let output = gate.setup().command(&["check"], "");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.contains("note   gateway: listen 0.0.0.0:0 lets in every machine"), "{said}");
    assert_eq!(output.status.code(), Some(0), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_does_not_take_away_what_an_open_listener_needs() {
    let portal = portal().await;
    let setup = Setup::new(&portal);
    let password = setup.config().with_file_name("admin.secret");
    std::fs::write(&password, "long-enough").unwrap();
    std::fs::set_permissions(&password, PermissionsExt::from_mode(0o600)).unwrap();
    let open = setup.clone().listen("0.0.0.0:0").gateway("require_key = true");
    let open = Gate::connected(&open, &portal.seed());
    setup.write();
    open.signal("HUP");
    open.wait_for_log("NOT reloaded, the old one stays: other machines reach gateway.listen");
    drop(open);

    let mut text = setup.clone().admin("password_file = \"admin.secret\"").text();
    text = text.replace("[admin]\nlisten = \"127.0.0.1:0\"", "[admin]\nlisten = \"0.0.0.0:0\"");
    let guarded = start_with(&setup, &text);
    setup.write();
    guarded.signal("HUP");
    guarded.wait_for_log("NOT reloaded, the old one stays: other machines reach admin.listen");
}

/// A gateway with a configuration that [`Setup`] cannot say.
fn start_with(setup: &Setup, text: &str) -> Gate {
    let aside = setup.config().with_file_name("open.toml");
    write(&aside, text);
    let config = setup.config();
    let swap = "mv \"$0\" \"$1\"; shift; exec \"$@\"";
    let (aside, config) = (aside.to_str().unwrap(), config.to_str().unwrap());
    setup.clone().through(&["sh", "-c", swap, aside, config]).start()
}

fn write(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
}
