//! `b24gate portal ...`: through the control socket when a gateway runs, through the store when none
//! does. No token is ever printed.

mod connect;
mod import;
mod operate;
mod show;
pub(super) mod table;

use std::path::Path;

use self::connect::Browser;
use self::operate::Deed;
use super::output::{Failure, chain, failed, finish};
use super::{Exit, Global, PortalCommand, control_runtime};
use crate::config::Config;
use crate::control::{self, Reply, Request};
use crate::credential::Replace;
use crate::store::{OpenError, SqliteStore, StateDirectory, StateError};

/// The command was used in a wrong way.
const USAGE: u8 = 2;

/// Connects portals and looks at them.
pub(super) fn run(global: &Global, command: &PortalCommand) -> Exit {
    let found = global.load_config().and_then(|config| Ok((config, global.state_directory()?)));
    let (config, state) = match found {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    let runtime = match control_runtime() {
        Ok(runtime) => runtime,
        Err(exit) => return exit,
    };
    runtime.block_on(async {
        match command {
            PortalCommand::Connect { name, paste, replace, no_browser } => {
                let wish = connect::Wish { paste: *paste, replace: *replace };
                let browser = if *no_browser { Browser::Leave } else { Browser::Open };
                finish(connect::run(&state, name, wish, browser).await)
            }
            PortalCommand::Import { name, replace } => {
                let replace = if *replace { Replace::Yes } else { Replace::No };
                finish(import::run(&config, &state, name, replace).await)
            }
            PortalCommand::List => finish(show::list(&config, &state).await),
            PortalCommand::Show { name, ledger } => {
                finish(show::show(&config, &state, name, *ledger).await)
            }
            PortalCommand::Refresh { name } => finish(operate::refresh(&state, name).await),
            PortalCommand::Disable { name } => {
                finish(operate::run(&config, &state, name, Deed::Disable).await)
            }
            PortalCommand::Enable { name } => {
                finish(operate::run(&config, &state, name, Deed::Enable).await)
            }
            PortalCommand::Remove { name, yes: true } => {
                finish(operate::run(&config, &state, name, Deed::Remove).await)
            }
            PortalCommand::Remove { name, yes: false } => finish(Err(operate::unsure(name))),
        }
    })
}

/// The gateway's answer, if one runs; its refusals are failures.
async fn ask(state: &Path, request: &Request) -> Result<Option<Reply>, Failure> {
    match control::ask(state, request).await {
        Ok(Some(Reply::Refused(text))) => Err(failed(format!("the gateway refuses: {text}"))),
        Ok(reply) => Ok(reply),
        Err(error) => Err(failed(format!("the running gateway does not answer: {error}"))),
    }
}

/// As [`ask`], where only a running gateway can do it.
async fn ask_running(state: &Path, request: &Request) -> Result<Reply, Failure> {
    ask(state, request).await?.ok_or_else(|| {
        let place = state.display();
        failed(format!("no gateway runs on {place}; start `b24gate serve` first, and try again"))
    })
}

async fn open(config: &Config, state: &Path) -> Result<(StateDirectory, SqliteStore), Failure> {
    let state = StateDirectory::open(state).map_err(|error| {
        let hint = match error {
            StateError::Locked { .. } => ", which does not answer on its control socket",
            StateError::Nowhere | StateError::Unsafe { .. } | StateError::Io { .. } => "",
        };
        Failure { code: error.exit_code(), text: format!("{error}{hint}") }
    })?;
    let store = SqliteStore::open(&state, &config.store)
        .await
        .map_err(|error: OpenError| Failure { code: error.exit_code(), text: error.to_string() })?;
    Ok((state, store))
}

fn known(config: &Config, name: &str) -> Result<(), Failure> {
    if config.portals.contains_key(name) {
        return Ok(());
    }
    let mut text = format!("no portal {name:?} in the configuration; ");
    if config.portals.is_empty() {
        text.push_str("it has no [portals.NAME] section");
    } else {
        let names: Vec<_> = config.portals.keys().map(String::as_str).collect();
        text.push_str("known: ");
        text.push_str(&names.join(", "));
    }
    Err(Failure { code: USAGE, text })
}

fn unclear() -> Failure {
    failed("the gateway's answer is not clear")
}

#[cfg(test)]
mod tests;
