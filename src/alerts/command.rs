//! An alert by a program: the alert on its standard input, nothing of the gateway's environment but
//! what any program needs, and an end after half a minute.

use std::convert::Infallible;
use std::future::pending;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::config;

/// Starts it and waits for its end; exit code 0 is success.
pub(super) async fn run(command: &config::Command, text: &str) -> Result<(), String> {
    let group = Group(start(command).map_err(|error| format!("cannot be started: {error}"))?);
    let limit = TOTAL.as_secs();
    let status = timeout(TOTAL, group.serve(text))
        .await
        .map_err(|_elapsed| format!("killed: not finished after {limit} s"))?
        .map_err(|error| format!("its end is not known: {error}"))?;
    if status.success() { Ok(()) } else { Err(status.to_string()) }
}

fn start(command: &config::Command) -> std::io::Result<Child> {
    // What it says is read only when somebody wants to see it.
    let output =
        || if tracing::enabled!(tracing::Level::DEBUG) { Stdio::piped() } else { Stdio::null() };
    let kept = KEPT.iter().filter_map(|name| Some((name, std::env::var_os(name)?)));
    Command::new(&command.program)
        .args(&command.arguments)
        .env_clear()
        .envs(kept)
        .stdin(Stdio::piped())
        .stdout(output())
        .stderr(output())
        // A script is killed with what it has started.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

/// A program and all that it has started, which end together.
#[derive(Debug)]
struct Group(Child);

impl Group {
    async fn serve(mut self, text: &str) -> std::io::Result<ExitStatus> {
        let (input, output, errors) =
            (self.0.stdin.take(), self.0.stdout.take(), self.0.stderr.take());
        let feed = async {
            if let Some(mut input) = input {
                // One that does not read its input may be content all the same.
                drop(input.write_all(text.as_bytes()).await);
            }
            pending::<Infallible>().await
        };
        let (mut said, mut complained) = (Vec::new(), Vec::new());
        let status = tokio::select! {
            // In this order, so that its last words are heard before its end.
            biased;
            never = feed => match never {},
            never = listen(output, &mut said) => match never {},
            never = listen(errors, &mut complained) => match never {},
            status = self.0.wait() => status,
        };
        for text in [said, complained].iter().filter(|text| !text.is_empty()) {
            tracing::debug!(output = %String::from_utf8_lossy(text), "alert command said");
        }
        status
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Without an id it has ended and been waited for.
        let id = self.0.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
        if let Some(id) = id
            && let Err(error) = kill_process_group(id, Signal::KILL)
        {
            tracing::debug!(%error, "alert command not killed");
        }
    }
}

/// Reads to the end and beyond, and keeps the beginning.
async fn listen(pipe: Option<impl AsyncRead + Unpin>, kept: &mut Vec<u8>) -> Infallible {
    if let Some(mut pipe) = pipe {
        let mut part = [0; 1024];
        while let Ok(count @ 1..) = pipe.read(&mut part).await {
            let room = OUTPUT_MAX.saturating_sub(kept.len());
            kept.extend(part.iter().take(count.min(room)));
        }
    }
    pending().await
}

/// What a program needs to find others, its user's files and its language.
const KEPT: [&str; 3] = ["PATH", "HOME", "LANG"];
const TOTAL: Duration = Duration::from_secs(30);
/// The most of its output that is logged, bytes, for each of the two.
const OUTPUT_MAX: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> config::Command {
        let arguments = vec!["-c".to_owned(), script.to_owned()];
        config::Command { program: "/bin/sh".into(), arguments }
    }

    fn runs(id: &str) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", id.trim()));
        // One that nobody has waited for yet does nothing any more.
        stat.is_ok_and(|stat| !stat.contains(") Z "))
    }

    /// Blocks the clock of the test as well, which would not stop for a process.
    fn wait(is_so: impl Fn() -> bool) {
        for _ in 0..2_000 {
            if is_so() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        panic!("never");
    }

    #[tokio::test(start_paused = true)]
    async fn a_program_that_does_not_end_is_killed_with_all_that_it_has_started() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("id");
        let script = format!("sleep 1000 & echo $! > {}; wait", file.display());
        let running = tokio::spawn(async move { run(&shell(&script), "{}").await });
        tokio::task::yield_now().await;
        let id = || std::fs::read_to_string(&file).unwrap_or_default();
        wait(|| id().ends_with('\n'));
        assert!(runs(&id()));
        let outcome = running.await.unwrap();
        assert_eq!(outcome, Err("killed: not finished after 30 s".to_owned()));
        wait(|| !runs(&id()));
    }

    #[tokio::test]
    async fn a_program_that_does_not_read_its_input_may_succeed_all_the_same() {
        assert_eq!(run(&shell("exit 0"), &"x".repeat(1 << 20)).await, Ok(()));
    }

    #[tokio::test]
    async fn a_failure_says_how_it_ended() {
        let failed = |outcome: Result<(), String>| outcome.unwrap_err();
        assert_eq!(failed(run(&shell("exit 3"), "{}").await), "exit status: 3");
        let killed = failed(run(&shell("kill -9 $$"), "{}").await);
        assert!(killed.starts_with("signal: 9"), "{killed}");
        let gone = config::Command { program: "/nowhere/page-me".into(), arguments: Vec::new() };
        assert!(failed(run(&gone, "{}").await).starts_with("cannot be started: "));
    }
}
