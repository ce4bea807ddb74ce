//! A portal, a gateway and one library's way to it.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use b24gate::sandbox::{Entry, Options, Sandbox, Seed};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::Value;

use super::{Library, Program};
use crate::support::front::Front;
use crate::support::{Gate, Setup, http, repository};

/// A portal that can be renamed, and the gateway before it.
pub(super) struct World {
    pub(super) portal: Sandbox,
    pub(super) gate: Gate,
    secure: Option<Secure>,
}

/// One line of a program's output.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) name: String,
    pub(super) ok: bool,
    pub(super) result: Value,
}

/// Where the gateway takes https, and the file with the authority to trust.
struct Secure {
    address: String,
    ca: PathBuf,
    _front: Front,
    folder: tempfile::TempDir,
}

impl World {
    pub(super) async fn new(library: &Library) -> Self {
        Self::with(library, |setup| setup).await
    }

    /// As [`World::new`], with other settings.
    pub(super) async fn with(library: &Library, change: impl FnOnce(Setup) -> Setup) -> Self {
        let portal = Sandbox::start(Options::apart()).await.unwrap();
        let setup = change(Setup::new(&portal));
        let seed = portal.seed();
        Self::connected(library, portal, &setup, &seed).await
    }

    /// As [`World::new`], with a pair whose access token has lived its life.
    pub(super) async fn idle_for_an_hour(library: &Library) -> Self {
        let portal = Sandbox::start(Options::apart()).await.unwrap();
        let mut seed = portal.seed();
        seed.token_response["expires"] = 1_700_000_000.into();
        let setup = Setup::of(&seed);
        Self::connected(library, portal, &setup, &seed).await
    }

    async fn connected(library: &Library, portal: Sandbox, setup: &Setup, seed: &Seed) -> Self {
        let gate = Gate::connected(setup, seed);
        let secure = if library.secure { Some(https_address(&gate).await) } else { None };
        Self { portal, gate, secure }
    }

    /// Runs some steps of a library's program to its end.
    pub(super) async fn run(&self, library: &Library, steps: &[&str]) -> Vec<Step> {
        let mut command = program(library.program, self.secure.as_ref());
        command.arg(library.name);
        match &self.secure {
            None => command.arg(format!("http://localhost:{}", self.gate.address.port())),
            Some(secure) => command
                .arg(&secure.address)
                .env("REQUESTS_CA_BUNDLE", &secure.ca)
                .env("SSL_CERT_FILE", &secure.ca)
                .env("NODE_EXTRA_CA_CERTS", &secure.ca)
                .env("CURL_CA_BUNDLE", &secure.ca),
        };
        command.arg(client_key(&self.gate)).args(steps);
        for name in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env_remove(name);
        }
        // Beside the portal, which lives on this thread.
        let run = move || command.stdin(Stdio::null()).output();
        let output = tokio::task::spawn_blocking(run).await.unwrap();
        let output = output.expect("a program is missing; scripts/test installs it");
        let said = String::from_utf8_lossy(&output.stdout);
        let lines: Vec<_> = said.lines().filter_map(Step::read).collect();
        let complained = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "scripts/test installs what is missing\n{complained}");
        assert_eq!(lines.len(), steps.len(), "{}: {said}\n{complained}", library.name);
        lines
    }

    /// From now on the library trusts an authority that knows nothing of the gateway.
    pub(super) fn distrust(&mut self) {
        let secure = self.secure.as_mut().unwrap();
        let other = CertifiedIssuer::self_signed(authority(), KeyPair::generate().unwrap());
        secure.ca = secure.folder.path().join("other.pem");
        std::fs::write(&secure.ca, other.unwrap().pem()).unwrap();
    }

    /// Waits until this many requests have been answered; there must not be more.
    pub(super) async fn assert_requests(&self, count: u64, when: &str) {
        let mut seen = 0;
        for _ in 0..200 {
            seen = self.requests().await;
            if seen >= count {
                break;
            }
            // A request is counted when its answer has gone.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(seen, count, "requests of the library, {when}");
    }

    /// The calls that the portal has seen.
    pub(super) fn calls(&self) -> Vec<Entry> {
        let log = self.portal.control().log();
        log.into_iter().filter(|entry| entry.target.starts_with("/rest/")).collect()
    }

    /// Requests that the gateway has answered.
    async fn requests(&self) -> u64 {
        let page = http::get(self.gate.admin, "/metrics").await.text();
        let counts = page.lines().filter(|line| line.starts_with("b24gate_requests_total{"));
        counts.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
    }
}

impl Step {
    fn read(line: &str) -> Option<Self> {
        let mut line: Value = serde_json::from_str(line).ok()?;
        let result = line["result"].take();
        Some(Self { name: line["step"].as_str()?.to_owned(), ok: line["ok"].as_bool()?, result })
    }
}

/// What a tool shows to be let in.
pub(super) fn client_key(_gate: &Gate) -> &'static str {
    "abcdefghij012345"
}

/// An address of the gateway that takes https.
async fn https_address(gate: &Gate) -> Secure {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let key = KeyPair::generate().unwrap();
    let issuer = CertifiedIssuer::self_signed(authority(), key).unwrap();
    std::fs::write(&ca, issuer.pem()).unwrap();

    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, &issuer).unwrap().der().clone();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ServerConfig::builder_with_provider(provider);
    let tls = tls.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let tls = Arc::new(tls.with_single_cert(vec![certificate], key).unwrap());
    let front = Front::before(gate.address, tls).await;
    let address = format!("https://localhost:{}", front.address.port());
    Secure { address, ca, _front: front, folder }
}

fn authority() -> CertificateParams {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    // Python and Node.js take a leaf that has its authority's name for one that signed itself.
    params.distinguished_name.push(DnType::CommonName, "authority of a test");
    params
}

fn program(program: Program, secure: Option<&Secure>) -> Command {
    let at = |path: &str| repository().join(path);
    let python = || {
        let mut command = Command::new(at("target/clients/bin/python"));
        command.arg(at("tests/clients/python_calls.py"));
        command
    };
    match program {
        Program::Python => python(),
        Program::HurriedPython => {
            let mut command = python();
            command.env("CLOCK_RATE", "10");
            command
        }
        Program::Node => {
            let mut command = Command::new("node");
            // A link to the program, so that it finds its libraries beside it.
            command.arg("--preserve-symlinks-main").arg(at("target/clients-js/calls.mjs"));
            command
        }
        Program::Php => {
            let mut command = Command::new("php");
            if let Some(secure) = secure {
                command.arg("-d").arg(format!("curl.cainfo={}", secure.ca.display()));
            }
            command.arg(at("tests/clients/php_calls.php"));
            command
        }
    }
}
