//! A portal, a gateway and one library's way to it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use b24gate::sandbox::{Entry, Options, Sandbox, Seed};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose,
};
use serde_json::Value;

use super::{Library, Program};
use crate::support::clients::client_key;
use crate::support::{Gate, Setup, http, repository};

/// A portal that can be renamed, and the gateway before it, which lets in nobody without a key.
pub(super) struct World {
    pub(super) portal: Sandbox,
    pub(super) gate: Gate,
    /// Where the portal was when the gateway was told of it.
    pub(super) portal_url: String,
    /// What the library shows to be let in: the key of the client `tools`.
    pub(super) key: String,
    /// The file with the authority to trust, where the gateway is called by https.
    authority: Option<PathBuf>,
}

/// One line of a program's output.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) name: String,
    pub(super) ok: bool,
    pub(super) result: Value,
}

impl World {
    pub(super) async fn new(library: &Library) -> Self {
        Self::with(library, |setup| setup).await
    }

    /// As [`World::new`], with other settings; what is added to the end goes on in
    /// `[clients.tools]`.
    pub(super) async fn with(library: &Library, change: impl FnOnce(Setup) -> Setup) -> Self {
        let portal = Sandbox::start(Options::apart()).await.unwrap();
        let setup = change(keyed(Setup::new(&portal)));
        let seed = portal.seed();
        Self::connected(library, portal, &setup, &seed)
    }

    /// As [`World::new`], with a pair whose access token has lived its life.
    pub(super) async fn idle_for_an_hour(library: &Library) -> Self {
        let portal = Sandbox::start(Options::apart()).await.unwrap();
        let mut seed = portal.seed();
        seed.token_response["expires"] = 1_700_000_000.into();
        let setup = keyed(Setup::of(&seed));
        Self::connected(library, portal, &setup, &seed)
    }

    /// As [`World::new`], for a library whose key is nobody's.
    pub(super) async fn of_a_stranger(library: &Library) -> Self {
        let mut world = Self::new(library).await;
        world.key = world.key.chars().rev().collect();
        world
    }

    fn connected(library: &Library, portal: Sandbox, setup: &Setup, seed: &Seed) -> Self {
        let gate = Gate::connected(setup, seed);
        let key = client_key(&gate, "tools", &[]);
        let authority = library.secure.then(|| authority_of(&gate));
        Self { portal, gate, portal_url: seed.portal_url.clone(), key, authority }
    }

    /// Runs some steps of a library's program to its end.
    pub(super) async fn run(&self, library: &Library, steps: &[&str]) -> Vec<Step> {
        let mut command = program(library.program, self.authority.as_deref());
        let scheme = if self.authority.is_some() { "https" } else { "http" };
        command.arg(library.name);
        command.arg(format!("{scheme}://localhost:{}", self.gate.address.port()));
        command.arg(&self.key).args(steps);
        let said = self.output(command).await;
        let lines: Vec<_> = said.lines().filter_map(Step::read).collect();
        assert_eq!(lines.len(), steps.len(), "{}: {said}", library.name);
        lines
    }

    /// Runs a program that trusts the gateway's authority to its end, and gives what it said.
    pub(super) async fn output(&self, mut command: Command) -> String {
        if let Some(file) = &self.authority {
            for name in
                ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "CURL_CA_BUNDLE"]
            {
                command.env(name, file);
            }
        }
        for name in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
            command.env_remove(name);
        }
        // Beside the portal, which lives on this thread.
        let run = move || command.stdin(Stdio::null()).output();
        let output = tokio::task::spawn_blocking(run).await.unwrap();
        let output = output.expect("a program is missing; scripts/test installs it");
        let complained = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "scripts/test installs what is missing\n{complained}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// From now on the library trusts an authority that knows nothing of the gateway.
    pub(super) fn distrust(&mut self) {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, "another authority");
        let other = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap());
        let file = self.gate.setup().config().with_file_name("other.pem");
        std::fs::write(&file, other.unwrap().pem()).unwrap();
        self.authority = Some(file);
    }

    /// Waits until this many requests of the client have been answered; there must not be more, nor
    /// any of somebody else.
    pub(super) async fn assert_requests(&self, count: u64, when: &str) {
        self.assert_counted("tools", count, when).await;
    }

    /// The same, of those whose key is nobody's: every one of them was refused.
    pub(super) async fn assert_refused(&self, count: u64, when: &str) {
        self.assert_counted("anonymous", count, when).await;
        let page = http::get(self.gate.admin, "/metrics").await.text();
        assert_eq!(counted(&page, "status=\"403\""), count, "{when}: {page}");
    }

    async fn assert_counted(&self, client: &str, count: u64, when: &str) {
        let mut seen = (0, 0);
        for _ in 0..200 {
            let page = http::get(self.gate.admin, "/metrics").await.text();
            seen = (counted(&page, ""), counted(&page, &format!("client=\"{client}\"")));
            if seen.0 >= count {
                break;
            }
            // A request is counted when its answer has gone.
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(seen, (count, count), "requests in all, and of {client}, {when}");
    }

    /// The calls that the portal has seen.
    pub(super) fn calls(&self) -> Vec<Entry> {
        let log = self.portal.control().log();
        log.into_iter().filter(|entry| entry.target.starts_with("/rest/")).collect()
    }
}

impl Step {
    fn read(line: &str) -> Option<Self> {
        let mut line: Value = serde_json::from_str(line).ok()?;
        let result = line["result"].take();
        Some(Self { name: line["step"].as_str()?.to_owned(), ok: line["ok"].as_bool()?, result })
    }
}

/// Has a client `tools`, and lets in nobody else.
fn keyed(setup: Setup) -> Setup {
    setup.gateway("require_key = true").more("[clients.tools]")
}

/// The file of the gateway's own authority, made as people make it.
fn authority_of(gate: &Gate) -> PathBuf {
    let output = gate.setup().command(&["ca"], "");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let file = gate.setup().state().join("ca.pem");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains(file.to_str().unwrap()), "{said}");
    file
}

/// The sum of the requests that the gateway has answered whose labels hold this.
fn counted(page: &str, label: &str) -> u64 {
    let lines = page.lines().filter(|line| line.starts_with("b24gate_requests_total{"));
    let lines = lines.filter(|line| line.contains(label));
    lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
}

/// Python with the libraries that `scripts/test` installs.
pub(super) fn python() -> Command {
    Command::new(repository().join("target/clients/bin/python"))
}

/// Node.js where it finds the libraries that `scripts/test` installs.
pub(super) fn node() -> Command {
    let mut command = Command::new("node");
    command.current_dir(repository().join("target/clients-js"));
    command
}

fn program(program: Program, authority: Option<&Path>) -> Command {
    let at = |path: &str| repository().join(path);
    let mut command;
    match program {
        Program::Python => {
            command = python();
            command.arg(at("tests/clients/python_calls.py"));
        }
        Program::HurriedPython => {
            command = python();
            command.arg(at("tests/clients/python_calls.py")).env("CLOCK_RATE", "10");
        }
        Program::Node => {
            command = node();
            // A link to the program, so that it finds its libraries beside it.
            command.args(["--preserve-symlinks-main", "calls.mjs"]);
        }
        Program::Php => {
            command = Command::new("php");
            if let Some(file) = authority {
                command.arg("-d").arg(format!("curl.cainfo={}", file.display()));
            }
            command.arg(at("tests/clients/php_calls.php"));
        }
    }
    command
}
