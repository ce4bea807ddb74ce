//! `tls = { cert, key }`: the operator's certificate in the place of the local authority.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use rcgen::{CertificateParams, KeyPair};

use super::client::{Tls, Trust};
use crate::support::calls::{portal, profile, until};
use crate::support::{Gate, Setup};

/// Makes files of no use.
type Spoil<'s> = &'s dyn Fn();

const TLS: &str = "tls = { cert = \"tls.pem\", key = \"tls.key\" }";

/// A certificate of the operator's, which is its own authority.
fn write(folder: &Path) -> Trust {
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(["localhost".to_owned()]).unwrap().self_signed(&key).unwrap();
    std::fs::write(folder.join("tls.pem"), certificate.pem()).unwrap();
    let path = folder.join("tls.key");
    std::fs::write(&path, key.serialize_pem()).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    Trust::in_file(&folder.join("tls.pem"))
}

fn folder(setup: &Setup) -> std::path::PathBuf {
    setup.config().parent().unwrap().to_owned()
}

async fn is_shown(gate: &Gate, trust: &Trust) -> bool {
    let config = trust.config(&rustls::version::TLS13, &[]);
    Tls::connect_with(gate.address, config).await.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_own_certificate_is_shown_and_read_again_at_a_reload() {
    let portal = portal().await;
    let setup = Setup::new(&portal).gateway(TLS);
    let first = write(&folder(&setup));
    let gate = Gate::connected(&setup, &portal.seed());
    assert!(is_shown(&gate, &first).await);
    assert!(!setup.state().join("ca.key").exists(), "the local authority is of no use here");
    let told = setup.command(&["ca"], "");
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    assert!(told.contains("The local CA is not in use"), "{told}");

    let second = write(&folder(&setup));
    gate.signal("HUP");
    gate.wait_for_log("configuration reloaded");
    assert!(is_shown(&gate, &second).await);
    assert!(!is_shown(&gate, &first).await);

    // A key of another certificate, as in the middle of a replacement: the old one stays.
    let other = KeyPair::generate().unwrap().serialize_pem();
    std::fs::write(folder(&setup).join("tls.key"), other).unwrap();
    gate.signal("HUP");
    let line = gate.wait_for_log("configuration NOT reloaded");
    assert!(line.contains("is not the key of"), "{line}");
    assert!(is_shown(&gate, &second).await);
    assert_eq!(profile(&gate).await.status, 200);
    write(&folder(&setup));

    // Back to the local authority.
    let reloads = || gate.log().matches("configuration reloaded").count();
    let before = reloads();
    Setup::clone(gate.setup()).more("").write();
    let text = gate.setup().text().replace(TLS, "");
    std::fs::write(gate.setup().config(), text).unwrap();
    gate.signal("HUP");
    until("the reload", || reloads() > before).await;
    assert!(is_shown(&gate, &Trust::of(&gate).await).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_that_cannot_be_used_are_named_with_what_is_wrong() {
    let portal = portal().await;
    let setup = Setup::new(&portal).gateway(TLS);
    setup.write();
    let at = |name: &str| folder(&setup).join(name);
    let other = KeyPair::generate().unwrap().serialize_pem();
    let spoils: [(&str, i32, Spoil<'_>); 7] = [
        ("tls.pem cannot be read", 2, &|| std::fs::remove_file(at("tls.pem")).unwrap()),
        ("tls.pem holds no certificate in PEM", 2, &|| std::fs::write(at("tls.pem"), "x").unwrap()),
        ("tls.pem holds a certificate that cannot be used", 2, &|| {
            let text = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
            std::fs::write(at("tls.pem"), text).unwrap();
        }),
        ("tls.key cannot be read", 2, &|| std::fs::remove_file(at("tls.key")).unwrap()),
        ("tls.key holds no private key", 2, &|| std::fs::write(at("tls.key"), "S-canary").unwrap()),
        ("tls.key is not the key of", 2, &|| std::fs::write(at("tls.key"), &other).unwrap()),
        ("chmod 600", 3, &|| {
            let mode = std::fs::Permissions::from_mode(0o644);
            std::fs::set_permissions(at("tls.key"), mode).unwrap();
        }),
    ];
    for (what, code, spoil) in spoils {
        write(&folder(&setup));
        spoil();
        for command in ["serve", "check"] {
            let refused = setup.command(&[command], "");
            let said = [refused.stdout, refused.stderr].concat();
            let said = String::from_utf8_lossy(&said).into_owned();
            assert_eq!(refused.status.code(), Some(code), "{command}, {what}: {said}");
            assert!(said.contains(what), "{command}, {what}: {said}");
            assert!(!said.contains("canary"), "{said}");
        }
    }
}
