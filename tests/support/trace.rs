//! strace on a running gateway: what it asks of the system, with a signal or an error in the place of
//! one call.
//!
//! strace counts calls per thread. What belongs to the database is done by one thread, and what
//! belongs to a slot of the journal is done once per refresh, so that the N-th call of a kind on one
//! of those files is always the same one.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};

use super::{Gate, Setup};

/// A strace that is attached.
#[derive(Debug)]
pub struct Trace {
    strace: Child,
    complaints: BufReader<ChildStderr>,
    folder: tempfile::TempDir,
}

/// The files whose calls count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    /// The database, its write-ahead log, and the directory that they are in.
    Database,
    /// The slot of the portal's first chain, a new file in its place, and their directory.
    Journal,
    /// All of the state directory.
    State,
    /// That, and the spool that all gateways of this user have in common.
    Everywhere,
}

impl Trace {
    /// Whether the system lets this process trace another; if not, says so.
    pub fn is_allowed() -> bool {
        let mut idle = Command::new("sleep").arg("60").spawn().unwrap();
        let attached = Self::try_attach(&[idle.id()], &["-f"], 1);
        if let Err(why) = &attached {
            eprintln!("SKIPPED: strace cannot attach here: {why}");
        }
        let allowed = attached.is_ok();
        drop(attached);
        idle.kill().unwrap();
        idle.wait().unwrap();
        allowed
    }

    /// Traces all threads, as far as they touch `files`; `expressions` as for strace's `-e`.
    pub fn of_files(gate: &Gate, files: Files, expressions: &[&str]) -> Self {
        let paths = files.of(gate.setup());
        let paths = paths.iter().flat_map(|path| ["-P", path.to_str().unwrap()]);
        let arguments: Vec<_> = ["-f"].into_iter().chain(paths).chain(each(expressions)).collect();
        Self::attach(&[gate.pid()], &arguments, 1)
    }

    /// Traces all threads in everything.
    pub fn of_all(gate: &Gate, expressions: &[&str]) -> Self {
        let arguments: Vec<_> = ["-f"].into_iter().chain(each(expressions)).collect();
        Self::attach(&[gate.pid()], &arguments, 1)
    }

    /// Traces the threads that refresh, and not those that serve.
    pub fn of_refreshes(gate: &Gate, expressions: &[&str]) -> Self {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", gate.pid())).unwrap();
        let threads: Vec<u32> = tasks
            .map(|task| task.unwrap().path())
            .filter(|task| {
                std::fs::read_to_string(task.join("comm")).unwrap().starts_with("tokio-rt-worker")
            })
            .map(|task| task.file_name().unwrap().to_str().unwrap().parse().unwrap())
            .collect();
        assert!(threads.len() >= 2, "{threads:?}");
        Self::attach(&threads, &each(expressions).collect::<Vec<_>>(), threads.len())
    }

    /// Detaches, if the process has not ended yet, and gives everything that was seen.
    pub fn end(mut self) -> String {
        self.detach();
        self.log()
    }

    /// Everything that was seen so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.file()).unwrap()
    }

    fn attach(pids: &[u32], arguments: &[&str], count: usize) -> Self {
        Self::try_attach(pids, arguments, count).unwrap()
    }

    fn try_attach(pids: &[u32], arguments: &[&str], count: usize) -> Result<Self, String> {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("strace");
        command.args(["-y", "-ttt", "-T", "-s", "48", "-o"]).arg(folder.path().join("log"));
        command.args(arguments);
        for pid in pids {
            command.args(["-p", &pid.to_string()]);
        }
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut strace =
            command.spawn().expect("strace is not installed; scripts/test installs it");
        let complaints = BufReader::new(strace.stderr.take().unwrap());
        let mut trace = Self { strace, complaints, folder };
        let mut said = String::new();
        for _ in 0..count {
            let line = loop {
                let mut line = String::new();
                let read = trace.complaints.read_line(&mut line).unwrap();
                said.push_str(&line);
                if read == 0 || line.contains(" attached") {
                    break line;
                }
            };
            if line.is_empty() {
                return Err(said);
            }
        }
        Ok(trace)
    }

    fn detach(&mut self) {
        if self.strace.try_wait().unwrap().is_none() {
            let pid = self.strace.id().to_string();
            // It may end by itself in this moment.
            drop(Command::new("kill").args(["-s", "INT", &pid]).stderr(Stdio::null()).status());
            self.strace.wait().unwrap();
        }
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("log")
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        self.detach();
        if std::thread::panicking() {
            eprintln!("=== log of strace\n{}", self.log());
        }
    }
}

impl Files {
    fn of(self, setup: &Setup) -> Vec<PathBuf> {
        let state = setup.state();
        let database = ["", "b24gate.db", "b24gate.db-wal", "b24gate.db-shm"];
        let journal = ["journal", "journal/acme-1.answer", "journal/acme-1.answer.new"];
        let names = match self {
            Self::Database => database.to_vec(),
            Self::Journal => journal.to_vec(),
            Self::State | Self::Everywhere => [&database[..], &journal[..]].concat(),
        };
        let user = rustix::process::geteuid().as_raw();
        let common = PathBuf::from(format!("/dev/shm/b24gate-{user}"));
        names
            .into_iter()
            .map(|name| if name.is_empty() { state.clone() } else { state.join(name) })
            .chain((self == Self::Everywhere).then_some(common))
            .collect()
    }
}

/// The slot of the portal's first chain.
pub fn slot(setup: &Setup) -> PathBuf {
    setup.state().join("journal/acme-1.answer")
}

/// The lines in which the call of this name begins.
pub fn calls<'a>(log: &'a str, name: &str) -> Vec<&'a str> {
    let begin = format!(" {name}(");
    log.lines().filter(|line| line.contains(&begin)).collect()
}

/// How many such calls the thread made that made the most of them.
pub fn most_calls(log: &str, name: &str) -> usize {
    let calls = calls(log, name);
    let thread = |line: &str| line.split(' ').next().unwrap().to_owned();
    let of_one = |one: &&str| calls.iter().filter(|line| thread(line) == thread(one)).count();
    calls.iter().map(of_one).max().unwrap_or(0)
}

/// `-e` before each; an empty one is none.
fn each<'a>(expressions: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    expressions.iter().filter(|it| !it.is_empty()).flat_map(|expression| ["-e", expression])
}
