//! What commands print. A reader that has gone away, as in `b24gate check | head -1`, is no
//! failure of the command.

use std::io::{self, Write};

use super::Exit;

/// Prints a line for whoever asked.
pub(crate) fn say(line: &str) {
    drop(writeln!(io::stdout(), "{line}"));
}

/// Prints what must not get lost.
pub(crate) fn print_all(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// As [`say`], for whoever goes on until nobody reads any more.
pub(crate) fn try_say(line: &str) -> io::Result<()> {
    let mut to = io::stdout().lock();
    writeln!(to, "{line}")?;
    to.flush()
}

/// Prints what went wrong. Nothing stands before a file and its line, so that editors can follow.
pub(crate) fn complain(lines: &str) {
    drop(writeln!(io::stderr(), "{lines}"));
}

/// An exit code and what to print before it.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) text: String,
}

/// The code of a command that failed for no other reason.
pub(crate) const FAILED: u8 = 1;

/// The command failed.
pub(crate) fn failed(text: impl Into<String>) -> Failure {
    Failure { code: FAILED, text: text.into() }
}

/// An error with all its causes that it does not tell itself.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| {
        let cause = cause.to_string();
        if text.contains(&cause) { text } else { format!("{text}: {cause}") }
    })
}

/// Prints how a command ended.
pub(crate) fn finish(outcome: Result<String, Failure>) -> Exit {
    match outcome {
        Ok(text) => {
            say(&text);
            Exit::Done
        }
        Err(failure) => {
            complain(&failure.text);
            Exit::of_code(failure.code)
        }
    }
}
