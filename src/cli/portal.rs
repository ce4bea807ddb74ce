//! `b24gate portal`

use super::output::complain;
use super::{Exit, Global, PortalCommand};

/// Connects portals and looks at them.
pub(super) fn run(_global: &Global, command: &PortalCommand) -> Exit {
    complain(&format!("not linked yet: {command:?}"));
    Exit::Failed
}
