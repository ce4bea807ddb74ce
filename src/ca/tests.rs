//! The authority and what it signs, with a clock of the test's own.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt as _;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, RootCertStore};
use tempfile::TempDir;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::parse_x509_certificate;

use super::*;

/// Nothing about the day matters but that the machine's clock shows another.
fn today() -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(1_900_000_000).unwrap()
}

fn days(count: i64) -> Duration {
    Duration::days(count)
}

struct Scene {
    folder: TempDir,
}

impl Scene {
    fn new() -> Self {
        Self { folder: TempDir::new().unwrap() }
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.state().join(name)
    }

    fn certificates(&self, now: OffsetDateTime) -> Certificates {
        Authority::open(&self.state(), now).unwrap();
        let prepared = prepare(&self.state(), &ServerTls::LocalCa, Names::default(), now).unwrap();
        let Prepared { source, names, leaf } = prepared;
        let changing = Mutex::new(Changing { source, names, failed_at: None });
        Certificates { state: self.state(), shown: ArcSwapOption::new(leaf), changing }
    }
}

/// Whether a client that trusts `authority` accepts what is shown, at this time and for this host.
fn accepts(
    authority: &CertificateDer<'_>,
    leaf: &Leaf,
    host: &str,
    now: OffsetDateTime,
) -> Result<(), rustls::Error> {
    let mut roots = RootCertStore::empty();
    roots.add(authority.clone().into_owned()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
    let verifier = verifier.build().unwrap();
    let at = std::time::Duration::from_secs(now.unix_timestamp().try_into().unwrap());
    let host = ServerName::try_from(host.to_owned()).unwrap();
    let now = UnixTime::since_unix_epoch(at);
    verifier.verify_server_cert(&leaf.certified.cert[0], &[], &host, &[], now).map(drop)
}

fn hosts(leaf: &Leaf) -> BTreeSet<String> {
    let (_, certificate) = parse_x509_certificate(&leaf.certified.cert[0]).unwrap();
    let names = certificate.subject_alternative_name().unwrap().unwrap();
    let name = |name: &GeneralName<'_>| match name {
        GeneralName::DNSName(name) => (*name).to_owned(),
        GeneralName::IPAddress(bytes) => match <[u8; 4]>::try_from(*bytes) {
            Ok(four) => IpAddr::from(four).to_string(),
            Err(_) => IpAddr::from(<[u8; 16]>::try_from(*bytes).unwrap()).to_string(),
        },
        other => panic!("{other:?}"),
    };
    names.value.general_names.iter().map(name).collect()
}

#[test]
fn an_authority_is_a_real_one_and_stays_the_same() {
    let scene = Scene::new();
    let made = Authority::open(&scene.state(), today()).unwrap();
    let again = Authority::open(&scene.state(), today() + days(3000)).unwrap();
    assert_eq!(made.facts(), again.facts());
    assert_eq!(made.pem(), fs::read_to_string(scene.file("ca.pem")).unwrap().trim_end());

    let mode = |name| fs::metadata(scene.file(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("ca.key"), mode("ca.pem")), (0o600, 0o644));
    let (_, certificate) = parse_x509_certificate(&made.facts().der).unwrap();
    let basic = certificate.basic_constraints().unwrap().unwrap();
    assert!(basic.critical && basic.value.ca);
    assert_eq!(basic.value.path_len_constraint, Some(0));
    let usage = certificate.key_usage().unwrap().unwrap();
    assert!(usage.critical && usage.value.key_cert_sign() && usage.value.crl_sign());
    assert!(!usage.value.digital_signature());
    let known = |extension: &ParsedExtension<'_>| {
        matches!(extension, ParsedExtension::SubjectKeyIdentifier(_))
    };
    assert!(certificate.extensions().iter().any(|it| known(it.parsed_extension())));
    assert!(made.facts().name.starts_with("b24gate local CA ("), "{}", made.facts().name);
    assert!(made.facts().name.ends_with(", 2030-03-17)"), "{}", made.facts().name);
    assert!(made.facts().is_good(today() + days(3651), Duration::ZERO));
    assert!(!made.facts().is_good(today() + days(3653), Duration::ZERO));
}

#[test]
fn a_certificate_is_for_the_names_by_which_the_gateway_is_reached() {
    let scene = Scene::new();
    let authority = Authority::open(&scene.state(), today()).unwrap();
    let mut names = Names::default();
    for name in ["gate.example.com", "10.1.2.3", "fd00::1", "Portal.Example", "a b", "x*y", ""] {
        names.add(name);
    }
    names.add_portal("acme");
    names.add_listener([192, 0, 2, 7].into());
    names.add_listener([0, 0, 0, 0].into());
    let left_out: Vec<_> = names.left_out().collect();
    assert_eq!(left_out, ["", "a b", "x*y"]);
    let leaf = authority.issue(&names, today()).unwrap();
    let expected = "localhost *.localhost 127.0.0.1 ::1 gate.example.com 10.1.2.3 fd00::1 \
                    portal.example acme.localhost 192.0.2.7";
    assert_eq!(hosts(&leaf), expected.split_whitespace().map(str::to_owned).collect());
    let ca = &authority.facts().der;
    for host in ["localhost", "acme.localhost", "127.0.0.1", "::1", "portal.example"] {
        accepts(ca, &leaf, host, today()).unwrap();
    }
    let refused = accepts(ca, &leaf, "example.com", today()).unwrap_err();
    assert!(matches!(refused, rustls::Error::InvalidCertificate(_)), "{refused}");
    let facts = Facts::read(&leaf.certified.cert[0]).unwrap();
    assert_eq!((facts.not_before, facts.not_after), (today() - days(1), today() + days(90)));
    assert!(!facts.is_ca);
}

#[test]
fn a_certificate_holds_as_many_names_as_clients_can_read() {
    let mut names = Names::default();
    for number in 0..2000 {
        names.add(&format!("portal-{number}.example.com"));
    }
    assert_eq!(names.count(), 502);
    assert_eq!(names.left_out().count(), 500);
}

#[test]
fn a_certificate_is_renewed_when_a_third_of_its_life_is_left_and_when_the_clock_goes_back() {
    let scene = Scene::new();
    let certificates = scene.certificates(today());
    let shown = |now| certificates.current(now).unwrap();
    let first = shown(today());
    assert!(Arc::ptr_eq(&first, &shown(today() + days(59))), "30 days are not left yet");

    let ca = Authority::open(&scene.state(), today()).unwrap().facts().der.clone();
    let second = shown(today() + days(60));
    assert!(!Arc::ptr_eq(&first, &second), "30 days are left");
    accepts(&ca, &second, "localhost", today() + days(149)).unwrap();
    assert!(Arc::ptr_eq(&second, &shown(today() + days(61))));

    // A clock that was wrong and is put right.
    let third = shown(today() + days(10));
    assert!(!Arc::ptr_eq(&second, &third));
    accepts(&ca, &third, "localhost", today() + days(10)).unwrap();
}

#[test]
fn other_names_make_another_certificate_and_the_same_names_do_not() {
    let scene = Scene::new();
    let certificates = scene.certificates(today());
    let first = certificates.current(today()).unwrap();
    certificates.tend_at(Names::default(), today());
    assert!(Arc::ptr_eq(&first, &certificates.current(today()).unwrap()));

    let mut names = Names::default();
    names.add("acme.bitrix24.com");
    certificates.tend_at(names, today());
    let second = certificates.current(today()).unwrap();
    assert!(hosts(&second).contains("acme.bitrix24.com"));
}

#[test]
fn an_authority_that_ends_is_certified_anew_under_its_name_and_key() {
    let scene = Scene::new();
    let certificates = scene.certificates(today());
    let old = Authority::open(&scene.state(), today()).unwrap();
    let later = today() + days(3652 - 100);
    certificates.tend_at(Names::default(), later);
    let new = Authority::open(&scene.state(), later).unwrap();
    assert_ne!(old.facts().der, new.facts().der);
    assert_eq!(old.facts().name, new.facts().name);
    assert!(new.facts().is_good(later, days(3600)));
    let leaf = certificates.current(later).unwrap();
    // Who trusts the old one has until it ends to take the new one.
    accepts(&old.facts().der, &leaf, "localhost", later).unwrap();
    accepts(&new.facts().der, &leaf, "localhost", later + days(80)).unwrap();
    let ended = accepts(&old.facts().der, &leaf, "localhost", later + days(101)).unwrap_err();
    let is_late = |error: &rustls::Error| {
        matches!(error, rustls::Error::InvalidCertificate(CertificateError::ExpiredContext { .. }))
    };
    assert!(is_late(&ended), "{ended:?}");
}

#[test]
fn a_key_without_its_certificate_gets_one_and_a_certificate_without_its_key_gives_way() {
    let scene = Scene::new();
    let first = Authority::open(&scene.state(), today()).unwrap();
    let key = fs::read(scene.file("ca.key")).unwrap();
    for left in [None, Some("-----BEGIN CERTIFICATE-----\nMIIB"), Some("\u{0}")] {
        match left {
            None => fs::remove_file(scene.file("ca.pem")).unwrap(),
            Some(text) => fs::write(scene.file("ca.pem"), text).unwrap(),
        }
        let mended = Authority::find(&scene.state(), today()).unwrap().unwrap();
        assert_eq!(mended.facts().public_key, first.facts().public_key);
        assert_eq!(fs::read(scene.file("ca.key")).unwrap(), key);
    }
    fs::remove_file(scene.file("ca.key")).unwrap();
    assert!(Authority::find(&scene.state(), today()).unwrap().is_none());
    let other = Authority::open(&scene.state(), today()).unwrap();
    assert_ne!(other.facts().public_key, first.facts().public_key);
    let written = CertificateDer::from_pem_file(scene.file("ca.pem")).unwrap();
    assert_eq!(written, other.facts().der);
}

#[test]
fn a_damaged_key_is_not_replaced() {
    let scene = Scene::new();
    Authority::open(&scene.state(), today()).unwrap();
    fs::write(scene.file("ca.key"), "-----BEGIN PRIVATE KEY-----\n").unwrap();
    let refused = Authority::open(&scene.state(), today()).unwrap_err();
    assert_eq!(refused.exit_code(), 1);
    let said = refused.to_string();
    assert!(said.contains("ca.key holds no private key; put it back"), "{said}");
}

#[test]
fn many_at_once_make_one_authority() {
    for _ in 0..8 {
        let scene = Scene::new();
        let state = scene.state();
        #[expect(clippy::needless_collect, reason = "all of them run before one is waited for")]
        let threads: Vec<_> = (0..8)
            .map(|_| {
                let state = state.clone();
                std::thread::spawn(move || {
                    Authority::open(&state, today()).unwrap().pem().to_owned()
                })
            })
            .collect();
        let pems: BTreeSet<_> = threads.into_iter().map(|it| it.join().unwrap()).collect();
        assert_eq!(pems.len(), 1);
    }
}

#[test]
fn nothing_is_made_before_somebody_asks() {
    let scene = Scene::new();
    fs::create_dir(scene.state()).unwrap();
    fs::set_permissions(scene.state(), fs::Permissions::from_mode(0o700)).unwrap();
    let certificates =
        Certificates::new(&scene.state(), &ServerTls::LocalCa, Names::default()).unwrap();
    certificates.tend(Names::default());
    assert!(!certificates.is_ready());
    assert_eq!(fs::read_dir(scene.state()).unwrap().count(), 0);
    certificates.make_ready();
    assert!(certificates.is_ready());
    assert!(scene.file("ca.pem").exists());
}
