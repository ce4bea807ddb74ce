//! `b24gate serve`

use super::output::complain;
use super::{Exit, Global};

/// Runs the gateway until it is told to stop.
pub(super) fn run(global: &Global) -> Exit {
    if let Err(exit) = global.load_config().and_then(|_| global.state_directory()) {
        return exit;
    }
    complain("not linked yet");
    Exit::Failed
}
