//! How a gateway is started: its configuration, written line by line.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;

use b24gate::config::Config;
use b24gate::credential::Grant;
use b24gate::sandbox::{Sandbox, Seed};
use b24gate::store::{Seat, SqliteStore, StateDirectory, Store as _};

use super::{Gate, Log};

/// How a gateway is started; kept, so that it can be started again on the same state.
#[derive(Clone, Debug)]
pub struct Setup {
    pub(super) directory: Arc<tempfile::TempDir>,
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

    pub(super) fn process(&self, arguments: &[&str]) -> Command {
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
