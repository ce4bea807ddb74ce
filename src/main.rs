//! The `b24gate` command; everything it does is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    b24gate::cli::run()
}
