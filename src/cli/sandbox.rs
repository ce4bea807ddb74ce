//! `b24gate sandbox`

use super::output::complain;
use super::{Exit, Global, SandboxOptions};

/// Runs the simulated portal, and the gateway before it unless it is not wanted.
pub(super) fn run(_global: &Global, options: &SandboxOptions) -> Exit {
    complain(&format!("not linked yet: {options:?}"));
    Exit::Failed
}
