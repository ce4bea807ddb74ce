//! `b24gate ca`, and the files that it makes.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Output;

use tokio::task::spawn_blocking;

use super::client::{Tls, Trust};
use crate::support::calls::{portal, profile};
use crate::support::{Gate, Setup};

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

fn file(setup: &Setup, name: &str) -> PathBuf {
    setup.state().join(name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_prints_the_certificate_its_fingerprint_and_a_line_for_each_language() {
    let setup = Setup::new(&portal().await);
    setup.write();
    let shown = setup.command(&["ca"], "");
    let text = String::from_utf8(shown.stdout.clone()).unwrap();
    assert!(shown.status.success(), "{}", said(&shown));
    let path = file(&setup, "ca.pem").display().to_string();
    for line in [
        &path,
        &format!("export REQUESTS_CA_BUNDLE={path}"),
        &format!("export SSL_CERT_FILE={path}"),
        &format!("export NODE_EXTRA_CA_CERTS={path}"),
        &format!("php -d curl.cainfo={path} -d openssl.cafile={path}"),
        &format!("--cacert {path}"),
        &format!("export CURL_CA_BUNDLE={path}"),
        "keytool -importcert",
        "SSL_CERT_FILE alone does nothing for requests",
        "both in one file",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    let openssl = std::process::Command::new("openssl")
        .args(["x509", "-noout", "-fingerprint", "-sha256", "-in", &path])
        .output()
        .unwrap();
    let fingerprint = String::from_utf8(openssl.stdout).unwrap();
    let fingerprint = fingerprint.trim().split('=').nth(1).unwrap();
    assert!(text.contains(fingerprint), "{fingerprint} is not in\n{text}");

    let pem = setup.command(&["ca", "--pem"], "");
    assert_eq!(pem.stdout, std::fs::read(&path).unwrap());
    assert_eq!(setup.command(&["ca"], "").stdout, shown.stdout, "it stays the same");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_others_can_read_is_refused_with_the_mend() {
    let setup = Setup::new(&portal().await);
    setup.write();
    assert!(setup.command(&["ca"], "").status.success());
    let key = file(&setup, "ca.key");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let mend = format!("chmod 600 {}", key.display());
    for command in [&["ca"][..], &["ca", "--pem"], &["serve"], &["check"]] {
        let refused = setup.command(command, "");
        assert_eq!(refused.status.code(), Some(3), "{command:?}: {}", said(&refused));
        assert!(said(&refused).contains(&mend), "{command:?}: {}", said(&refused));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_between_key_and_certificate_is_mended_by_whoever_comes_next() {
    let portal = portal().await;
    for next in ["ca", "serve"] {
        let setup = Setup::new(&portal);
        let crashing = setup.clone().env("B24GATE_FAILPOINT", "ca_key=kill");
        crashing.write();
        assert!(!crashing.command(&["ca"], "").status.success());
        let key = std::fs::read(file(&setup, "ca.key")).unwrap();
        assert!(!file(&setup, "ca.pem").exists());
        if next == "ca" {
            assert!(setup.command(&["ca"], "").status.success());
        } else {
            drop(Gate::connected(&setup, &portal.seed()));
        }
        assert!(file(&setup, "ca.pem").exists(), "{next}");
        assert_eq!(std::fs::read(file(&setup, "ca.key")).unwrap(), key, "{next}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_commands_at_once_end_with_one_authority() {
    let portal = portal().await;
    let setup = Setup::new(&portal);
    setup.write();
    #[expect(clippy::needless_collect, reason = "all of them run before one is waited for")]
    let started: Vec<_> = (0..4).map(|_| setup.begin(&["ca", "--pem"])).collect();
    let mut pems: Vec<_> = started
        .into_iter()
        .map(|it| {
            let ended = it.wait_with_output().unwrap();
            assert!(ended.status.success(), "{}", said(&ended));
            ended.stdout
        })
        .collect();
    pems.dedup();
    assert_eq!(pems, [std::fs::read(file(&setup, "ca.pem")).unwrap()]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_gateway_and_its_commands_share_one_authority_that_restarts_keep() {
    let portal = portal().await;
    let gate = Gate::connected(&Setup::new(&portal), &portal.seed());
    let trust = Trust::of(&gate).await;
    drop(Tls::connect(gate.address, &trust).await);
    let again = spawn_blocking(move || gate.kill().start()).await.unwrap();
    drop(Tls::connect(again.address, &trust).await);
    let log = again.log();
    assert!(log.contains(&format!("https://{}", again.address)), "{log}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_state_directory_that_takes_no_file_costs_tls_and_nothing_else() {
    let portal = portal().await;
    let gate = Gate::connected(&Setup::new(&portal), &portal.seed());
    // In the place of the key's draft lies something that cannot be removed as a file.
    std::fs::create_dir(file(gate.setup(), "ca.key.new")).unwrap();
    let anybody = Trust::nobody();
    for _ in 0..3 {
        let config = anybody.config(&rustls::version::TLS13, &[]);
        assert!(Tls::connect_with(gate.address, config).await.is_err());
        assert_eq!(profile(&gate).await.status, 200);
    }
    let warned = gate.log().matches("clients that speak TLS are turned away").count();
    assert_eq!(warned, 1, "{}", gate.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_changes_the_names_of_the_certificate() {
    let portal = portal().await;
    let setup = Setup::new(&portal);
    let gate = Gate::connected(&setup, &portal.seed());
    let trust = Trust::of(&gate).await;
    let config = || trust.config(&rustls::version::TLS13, &[]);
    drop(Tls::connect(gate.address, &trust).await);
    let asked = |host| Tls::connect_as(host, gate.address, config());
    assert!(asked("tools.example.com").await.is_err());

    setup.clone().gateway("hosts = [\"tools.example.com\"]").write();
    gate.signal("HUP");
    gate.wait_for_log("configuration reloaded");
    drop(asked("tools.example.com").await.unwrap());
    drop(asked("acme.localhost").await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn installing_needs_root_and_says_what_to_type() {
    let setup = Setup::new(&portal().await);
    setup.write();
    let folder = setup.state().parent().unwrap().to_owned();
    let open = |mode| std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(mode));
    if !std::fs::metadata("/proc/self")
        .is_ok_and(|it| std::os::unix::fs::MetadataExt::uid(&it) == 0)
    {
        let refused = setup.command(&["ca", "--install"], "");
        assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
        assert!(said(&refused).contains("sudo /"), "{}", said(&refused));
        return;
    }
    open(0o777).unwrap();
    let nobody = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups"];
    let as_nobody = setup.clone().through(&nobody);
    let refused = as_nobody.command(&["ca", "--install"], "");
    assert_eq!(refused.status.code(), Some(1), "{}", said(&refused));
    let expected = format!("ca --install --state {}", setup.state().display());
    assert!(
        said(&refused).contains("sudo /") && said(&refused).contains(&expected),
        "{}",
        said(&refused)
    );

    // Root installs another user's, in a file system of its own where that can be had.
    let script = format!(
        "mount -t tmpfs none /usr/local/share/ca-certificates && mount -t tmpfs none /etc/ssl/certs && \
         {} ca --install --state {} && cat /usr/local/share/ca-certificates/b24gate-local-ca.crt",
        env!("CARGO_BIN_EXE_b24gate"),
        setup.state().display()
    );
    let apart =
        std::process::Command::new("unshare").args(["--mount", "sh", "-ec", "true"]).status();
    if !apart.is_ok_and(|status| status.success()) {
        return;
    }
    let installed = std::process::Command::new("unshare")
        .args(["--mount", "sh", "-ec", &script])
        .output()
        .unwrap();
    assert!(installed.status.success(), "{}", said(&installed));
    let pem = std::fs::read_to_string(file(&setup, "ca.pem")).unwrap();
    assert!(said(&installed).contains(&pem), "{}", said(&installed));
    // What another user put there instead goes nowhere.
    std::fs::remove_file(file(&setup, "ca.pem")).unwrap();
    std::os::unix::fs::symlink("/etc/shadow", file(&setup, "ca.pem")).unwrap();
    let refused = setup.command(&["ca", "--install"], "");
    assert!(!refused.status.success(), "{}", said(&refused));
}
