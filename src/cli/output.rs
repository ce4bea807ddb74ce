//! What commands print. A reader that has gone away, as in `b24gate check | head -1`, is no
//! failure of the command.

use std::io::{self, Write};

/// Prints a line for whoever asked.
pub(crate) fn say(line: &str) {
    drop(writeln!(io::stdout(), "{line}"));
}

/// Prints what went wrong. Nothing stands before a file and its line, so that editors can follow.
pub(crate) fn complain(lines: &str) {
    drop(writeln!(io::stderr(), "{lines}"));
}
