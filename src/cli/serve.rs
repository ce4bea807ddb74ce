//! `b24gate serve`

use super::output::complain;
use super::{Exit, Global};
use crate::app::{App, Source, StartError};
use crate::config::Config;
use crate::store::StateDirectory;

/// Runs the gateway until it is told to stop.
pub(super) fn run(global: &Global) -> Exit {
    let (config, path) = match global.load_config().and_then(|config| {
        let path = global.state_directory()?;
        Ok((config, path))
    }) {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    let state = match StateDirectory::open(&path) {
        Ok(state) => state,
        Err(error) => {
            complain(&error.to_string());
            return Exit::UnsafeFiles;
        }
    };
    let runtime = match super::control_runtime() {
        Ok(runtime) => runtime,
        Err(exit) => return exit,
    };
    let source = Source::File(global.config.clone());
    let served: Result<(), StartError> = runtime.block_on(async {
        let waits = waits_for_installs(&config);
        let app = Box::pin(App::start(config, state)).await?;
        announce(&app, waits);
        Box::pin(app.run(source)).await;
        Ok(())
    });
    match served {
        Ok(()) => Exit::Done,
        Err(error) => {
            complain(&error.to_string());
            Exit::of_code(error.exit_code())
        }
    }
}

/// What is said where portals come by themselves.
fn waits_for_installs(config: &Config) -> Option<String> {
    let apps: Vec<_> = config.open_apps().map(|app| app.name.as_str()).collect();
    (!apps.is_empty()).then(|| {
        let url = config.install_url();
        format!("portals that install {} are taken in at {url}", apps.join(", "))
    })
}

/// The first lines of the log: where to call, and what is missing before a call can succeed.
fn announce(app: &App, waits: Option<String>) {
    for address in app.addresses() {
        tracing::info!(%address, "gateway listening");
    }
    for address in app.tls_addresses() {
        tracing::info!(%address, "the same with TLS; `b24gate ca` says how tools come to trust it");
    }
    tracing::info!(address = app.admin_url(), "status page");
    tracing::info!(address = app.callback_url(), "logins, installations and events come in");
    let portals = app.portals().all();
    if let Some(waits) = waits {
        tracing::info!("{waits}");
    } else if portals.is_empty() {
        tracing::warn!(
            "no portal is configured: add [apps.main] and [portals.NAME] to b24gate.toml (see \
             config.example.toml), then `b24gate portal connect NAME`"
        );
    }
    for portal in portals {
        let status = portal.status();
        if portal.standing.closed().is_some() {
            let code = status.state.code();
            tracing::warn!(portal = %portal.name, state = status.word(), code, "portal NOT served");
        } else if portal.credential().is_some_and(|credential| credential.current().is_none()) {
            tracing::warn!(
                portal = %portal.name, state = status.word(),
                "no credential: `b24gate portal connect {}`", portal.name
            );
        } else {
            let generation = status.generation.map_or(0, |generation| generation.0);
            tracing::info!(portal = %portal.name, state = status.word(), generation, "portal ready");
        }
    }
}
