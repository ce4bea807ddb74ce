//! Where the state directory is.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// The first place that is named: `--state`, `$STATE_DIRECTORY`, `$XDG_STATE_HOME/b24gate`,
/// `~/.local/state/b24gate`.
pub(super) fn directory(
    named: Option<PathBuf>,
    environment: impl Fn(&str) -> Option<OsString>,
) -> Option<PathBuf> {
    let variable = |name| environment(name).filter(|value| !value.is_empty());
    let absolute = |name| variable(name).map(PathBuf::from).filter(|path| path.is_absolute());
    named
        .or_else(|| variable("STATE_DIRECTORY").map(first_of))
        // The specification asks to ignore relative paths here.
        .or_else(|| absolute("XDG_STATE_HOME").map(|dir| dir.join("b24gate")))
        .or_else(|| absolute("HOME").map(|home| home.join(".local/state/b24gate")))
}

/// systemd separates several directories by colons.
fn first_of(directories: OsString) -> PathBuf {
    match directories.to_str().and_then(|text| text.split(':').next()) {
        Some(first) => Path::new(first).to_owned(),
        None => PathBuf::from(directories),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(named: Option<&str>, environment: &[(&str, &str)], expected: Option<&str>) {
        let lookup = |name: &str| {
            environment.iter().find(|(key, _)| *key == name).map(|(_, value)| OsString::from(value))
        };
        assert_eq!(directory(named.map(PathBuf::from), lookup), expected.map(PathBuf::from));
    }

    #[test]
    fn the_first_place_that_is_named_is_the_state_directory() {
        let all = [("STATE_DIRECTORY", "/s"), ("XDG_STATE_HOME", "/x"), ("HOME", "/h")];
        check(Some("n"), &all, Some("n"));
        check(None, &all, Some("/s"));
        check(None, &all[1..], Some("/x/b24gate"));
        check(None, &all[2..], Some("/h/.local/state/b24gate"));
        check(None, &[], None);
    }

    #[test]
    fn empty_and_relative_variables_and_lists_are_understood() {
        check(None, &[("STATE_DIRECTORY", ""), ("HOME", "/h")], Some("/h/.local/state/b24gate"));
        check(None, &[("STATE_DIRECTORY", "/a:/b")], Some("/a"));
        check(None, &[("XDG_STATE_HOME", "x"), ("HOME", "/h")], Some("/h/.local/state/b24gate"));
    }
}
