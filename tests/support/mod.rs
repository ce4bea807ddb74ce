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
pub mod clients;
pub mod connected;
pub mod front;
pub mod http;
pub mod script;
pub mod setup;
pub mod trace;
pub mod wire;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use b24gate::sandbox::{Sandbox, Seed};

pub use setup::Setup;

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

/// Everything the process has written to standard error.
#[derive(Debug, Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    grown: Condvar,
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
