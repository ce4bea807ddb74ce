//! What the tests share: the real binary in front of the simulated portal, and a plain client.
//!
//! The gateway runs as a process of its own, on free ports, with a state directory of its own; the
//! portal runs in the test's process, so that its counters and faults are at hand.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stderr,
    reason = "a test fails loudly, and not every test uses everything"
)]

pub mod browser;
pub mod calls;
pub mod chain;
pub mod connected;
pub mod front;
pub mod http;
pub mod script;
pub mod trace;
pub mod wire;

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use b24gate::config::Config;
use b24gate::credential::Grant;
use b24gate::sandbox::{Sandbox, Seed};
use b24gate::store::{Seat, SqliteStore, StateDirectory, Store as _};

/// A gateway process.
#[derive(Debug)]
pub struct Gate {
    child: Child,
    pub address: SocketAddr,
    pub admin: SocketAddr,
    pub callback: SocketAddr,
    log: Arc<Log>,
    reader: Option<JoinHandle<()>>,
    setup: Setup,
}

/// How a gateway is started; kept, so that it can be started again on the same state.
#[derive(Clone, Debug)]
pub struct Setup {
    directory: Arc<tempfile::TempDir>,
    listen: String,
    gateway: String,
    admin: String,
    callback: String,
    app: String,
    portal: String,
    more: String,
    log_level: String,
    environment: Vec<(String, String)>,
    through: Vec<String>,
}

/// Everything the process has written to standard error.
#[derive(Debug, Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    grown: Condvar,
}

impl Setup {
    /// For the portal and OAuth server of `sandbox`.
    pub fn new(sandbox: &Sandbox) -> Self {
        Self::of(&sandbox.seed())
    }

    /// For any portal that `seed` describes.
    pub fn of(seed: &Seed) -> Self {
        Self {
            directory: Arc::new(tempfile::tempdir().unwrap()),
            listen: "\"127.0.0.1:0\"".to_owned(),
            gateway: String::new(),
            admin: String::new(),
            callback: String::new(),
            app: format!(
                "client_id = \"{}\"\nclient_secret = \"{}\"\noauth_server = \"{}\"\n",
                seed.client_id, seed.client_secret, seed.oauth_url
            ),
            portal: format!("url = \"{}\"\n", seed.portal_url),
            more: String::new(),
            log_level: "debug".to_owned(),
            environment: Vec::new(),
            through: Vec::new(),
        }
    }

    /// Adds an address to listen on.
    pub fn listen(mut self, address: &str) -> Self {
        self.listen = format!("{}, \"{address}\"", self.listen);
        self
    }

    /// Adds lines to `[gateway]`.
    pub fn gateway(mut self, lines: &str) -> Self {
        self.gateway.push_str(lines);
        self.gateway.push('\n');
        self
    }

    /// Adds lines to `[admin]`.
    pub fn admin(mut self, lines: &str) -> Self {
        self.admin.push_str(lines);
        self.admin.push('\n');
        self
    }

    /// Adds lines to `[callback]`.
    pub fn callback(mut self, lines: &str) -> Self {
        self.callback.push_str(lines);
        self.callback.push('\n');
        self
    }

    /// Adds lines to `[apps.main]`.
    pub fn app(mut self, lines: &str) -> Self {
        self.app.push_str(lines);
        self.app.push('\n');
        self
    }

    /// Adds lines to `[portals.acme]`.
    pub fn portal(mut self, lines: &str) -> Self {
        self.portal.push_str(lines);
        self.portal.push('\n');
        self
    }

    /// Replaces the lines of `[portals.acme]`.
    pub fn only_portal(mut self, lines: &str) -> Self {
        self.portal = format!("{lines}\n");
        self
    }

    /// Leaves `[portals.acme]` out; portals that install the application are taken in.
    pub fn without_portal(mut self) -> Self {
        self.app.push_str("accept_installs = true\n");
        self.portal.clear();
        self
    }

    /// Adds whole sections.
    pub fn more(mut self, lines: &str) -> Self {
        self.more.push_str(lines);
        self.more.push('\n');
        self
    }

    /// `B24GATE_LOG`
    pub fn log_level(mut self, level: &str) -> Self {
        level.clone_into(&mut self.log_level);
        self
    }

    /// Adds a variable to the environment of every process.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Has every process started by this command, which becomes it (`setpriv ... --`).
    pub fn through(mut self, command: &[&str]) -> Self {
        self.through = command.iter().map(|&word| word.to_owned()).collect();
        self
    }

    pub fn state(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    pub fn config(&self) -> PathBuf {
        self.directory.path().join("b24gate.toml")
    }

    /// The configuration file's text.
    pub fn text(&self) -> String {
        let header = if self.portal.is_empty() { "" } else { "[portals.acme]" };
        format!(
            "[gateway]\nlisten = [{}]\n{}\n[admin]\nlisten = \"127.0.0.1:0\"\n{}\n\
             [callback]\nlisten = \"127.0.0.1:0\"\n{}\n[apps.main]\n{}\n{header}\n{}\n{}",
            self.listen, self.gateway, self.admin, self.callback, self.app, self.portal, self.more
        )
    }

    /// Writes the configuration file.
    pub fn write(&self) {
        std::fs::write(self.config(), self.text()).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(self.config(), mode).unwrap();
    }

    /// Runs a command of `b24gate` with this configuration and state, to its end.
    pub fn command(&self, arguments: &[&str], input: &str) -> Output {
        let mut child = self
            .process(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A command that refuses before it reads closes its end; that is not the test's failure.
        drop(child.stdin.take().unwrap().write_all(input.as_bytes()));
        child.wait_with_output().unwrap()
    }

    /// Starts a command of `b24gate` and leaves it to the test.
    pub fn begin(&self, arguments: &[&str]) -> Child {
        let mut command = self.process(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// `b24gate portal import acme`, which must succeed.
    pub fn import(&self, seed: &Seed) {
        let output = self.command(&["portal", "import", "acme"], &seed.token_response.to_string());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Puts a pair into the state of a gateway that is not running, without its command line.
    pub async fn keep(&self, pairs: &[(&str, &Seed)], seat: Seat) {
        self.write();
        let config = Config::load(Some(&self.config())).unwrap();
        let state = StateDirectory::open(&self.state()).unwrap();
        let store = SqliteStore::open(&state, &config.store).await.unwrap();
        for (portal, seed) in pairs {
            let grant = Grant::parse(seed.token_response.to_string().as_bytes(), 0).unwrap();
            store.add(portal, &grant, seat).await.unwrap();
        }
        store.close().await;
    }

    /// Starts the gateway and waits until it listens.
    pub fn start(&self) -> Gate {
        let mut gate = self.launch();
        gate.wait_until_it_listens();
        gate
    }

    /// Starts the gateway and does not wait for it.
    pub fn launch(&self) -> Gate {
        self.write();
        let mut child =
            self.process(&["serve"]).stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let log = Arc::new(Log::default());
        let (lines, pipe) = (log.clone(), child.stderr.take().unwrap());
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                lines.lines.lock().unwrap().push(line);
                lines.grown.notify_all();
            }
        });
        Gate {
            child,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            admin: SocketAddr::from(([127, 0, 0, 1], 0)),
            callback: SocketAddr::from(([127, 0, 0, 1], 0)),
            log,
            reader: Some(reader),
            setup: self.clone(),
        }
    }

    fn process(&self, arguments: &[&str]) -> Command {
        let binary = env!("CARGO_BIN_EXE_b24gate");
        let mut command = match self.through.split_first() {
            None => Command::new(binary),
            Some((first, more)) => {
                let mut command = Command::new(first);
                command.args(more).arg(binary);
                command
            }
        };
        command.args(arguments).arg("--config").arg(self.config()).arg("--state").arg(self.state());
        command.env("B24GATE_LOG", &self.log_level).env_remove("STATE_DIRECTORY");
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }
}

impl Gate {
    /// The gateway in front of `sandbox`, with its credential imported.
    pub fn before(sandbox: &Sandbox) -> Self {
        Self::connected(&Setup::new(sandbox), &sandbox.seed())
    }

    /// A gateway with `seed` imported.
    pub fn connected(setup: &Setup, seed: &Seed) -> Self {
        setup.write();
        setup.import(seed);
        setup.start()
    }

    /// Learns the addresses; before, they have no port.
    pub fn wait_until_it_listens(&mut self) {
        self.address = address_in(&self.wait_for_log("gateway listening"));
        self.admin = address_in(&self.wait_for_log("status page"));
        self.callback = address_in(&self.wait_for_log("installations and events come in"));
    }

    pub fn setup(&self) -> &Setup {
        &self.setup
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All log lines so far.
    pub fn log(&self) -> String {
        let lines = self.log.lines.lock();
        lines.unwrap_or_else(PoisonError::into_inner).join("\n")
    }

    /// The first log line that holds `text`, waited for.
    pub fn wait_for_log(&self, text: &str) -> String {
        let found = |lines: &Vec<String>| lines.iter().find(|line| line.contains(text)).cloned();
        let guard = self.log.lines.lock().unwrap();
        let (guard, _) = self
            .log
            .grown
            .wait_timeout_while(guard, PATIENCE, |lines| found(lines).is_none())
            .unwrap();
        found(&guard).unwrap_or_else(|| panic!("no {text:?} in the log:\n{}", guard.join("\n")))
    }

    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &pid]).status().unwrap().success());
    }

    /// SIGTERM, and the exit status.
    pub fn stop(mut self) -> (ExitStatus, String) {
        self.signal("TERM");
        let status = self.child.wait().unwrap();
        (status, self.log())
    }

    /// SIGKILL; what is started next finds what a crash leaves.
    pub fn kill(mut self) -> Setup {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.setup.clone()
    }

    /// SIGKILL, and everything that the process has written.
    pub fn kill_for_log(mut self) -> String {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.reader.take().unwrap().join().unwrap();
        self.log()
    }

    /// Waits for an end that the process comes to by itself or by somebody else.
    pub fn ended(mut self) -> (ExitStatus, Setup) {
        let step = Duration::from_millis(2);
        for _ in 0..PATIENCE.as_millis() / step.as_millis() {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, self.setup.clone());
            }
            std::thread::sleep(step);
        }
        panic!("the gateway goes on");
    }

    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Resident memory in KiB (`VmRSS`).
    pub fn memory_kib(&self) -> u64 {
        self.memory_sampler()().unwrap()
    }

    /// As [`Gate::memory_kib`], for another thread; `None` once the process has ended.
    pub fn memory_sampler(&self) -> impl Fn() -> Option<u64> + Send + 'static {
        let path = format!("/proc/{}/status", self.pid());
        move || {
            let status = std::fs::read_to_string(&path).ok()?;
            let line = status.lines().find(|line| line.starts_with("VmRSS:"))?;
            line.split_whitespace().nth(1)?.parse().ok()
        }
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            eprintln!("=== log of the gateway\n{}", self.log());
        }
    }
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

/// The files of the repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn address_in(line: &str) -> SocketAddr {
    let after = line.split("http://").nth(1).unwrap();
    let text: String =
        after.chars().take_while(|c| c.is_ascii_digit() || *c == '.' || *c == ':').collect();
    text.parse().unwrap()
}

/// How long a test waits for something that must happen.
pub const PATIENCE: Duration = Duration::from_secs(20);
