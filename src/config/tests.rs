//! The configuration as an operator meets it: what is accepted, and what is said about the rest.

mod defaults;
mod errors;
mod files;

use std::path::Path;

use super::{Config, ConfigError};

/// An application to append to a configuration that needs one.
const APP: &str = "[apps.main]\nclient_id = \"local.1\"\nclient_secret = \"S-canary\"\n";

/// A portal for [`APP`].
const PORTAL: &str = "[portals.acme]\nurl = \"https://acme.bitrix24.com\"\n";

fn parse(text: &str) -> Result<Config, ConfigError> {
    Config::parse(text, Path::new("/etc/b24gate/b24gate.toml"))
}

fn accepted(text: &str) -> Config {
    parse(text).unwrap_or_else(|error| panic!("refused:\n{error}\nin:\n{text}"))
}
