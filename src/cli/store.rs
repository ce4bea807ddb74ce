//! `b24gate store backup|restore|rekey`. A backup is written by the running gateway, if there is
//! one; everything else needs the state directory for itself.

use std::path::{Path, PathBuf};

use super::output::{Failure, chain, failed, finish};
use super::{Exit, Global, StoreCommand, control_runtime};
use crate::config::{Config, KeySource};
use crate::control::{self, BackupView, Reply, Request};
use crate::store::{
    After, BackupError, Older, Origin, Restore, SqliteStore, StateDirectory, StateError,
    Whereabouts, rekey,
};

/// Looks after the store as a whole.
pub(super) fn run(global: &Global, command: &StoreCommand) -> Exit {
    let found = global.load_config().and_then(|config| Ok((config, global.state_directory()?)));
    let (config, state) = match found {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    let runtime = match control_runtime() {
        Ok(runtime) => runtime,
        Err(exit) => return exit,
    };
    let outcome = runtime.block_on(async {
        match command {
            StoreCommand::Backup { file, retire: false } => back_up(&config, &state, file).await,
            StoreCommand::Backup { file, retire: true } => retire(&config, &state, file).await,
            StoreCommand::Restore { file, source_is_gone, force_older } => {
                let whereabouts =
                    if *source_is_gone { Whereabouts::Gone } else { Whereabouts::Look };
                let older = if *force_older { Older::Insist } else { Older::Refuse };
                restore(&config, &state, file, (whereabouts, older)).await
            }
            StoreCommand::Rekey { new_key_file } => {
                change_key(&config, &state, new_key_file.as_deref()).await
            }
        }
    });
    finish(outcome)
}

async fn back_up(config: &Config, state: &Path, file: &Path) -> Result<String, Failure> {
    let file = absolute(file)?;
    let unnamed = || BackupError::Name { path: file.clone() };
    let request = Request::Backup { file: file.to_str().ok_or_else(unnamed)?.to_owned() };
    let view = match control::ask(state, &request).await {
        Ok(Some(Reply::BackedUp(view))) => view,
        Ok(Some(Reply::Refused(text))) => {
            return Err(failed(format!("the gateway refuses: {text}")));
        }
        Ok(Some(_)) => return Err(failed("the gateway's answer is not clear")),
        Ok(None) => {
            there(config, state)?;
            let state = open(state, ", which does not answer on its control socket")?;
            let after = After::Serve;
            let backup = SqliteStore::back_up_at_rest(&state, &config.store, &file, after).await?;
            BackupView { portals: backup.portals, chains: backup.chains }
        }
        Err(error) => {
            return Err(failed(format!("the running gateway does not answer: {error}")));
        }
    };
    if file.symlink_metadata().is_err() {
        return Err(failed(format!(
            "the gateway has written {}, which cannot be seen from here: it runs with a file \
             system of its own (PrivateTmp= of systemd, a container); name a place that both see",
            file.display()
        )));
    }
    Ok(format!(
        "{}\nIts tokens are good until the next refresh of each portal, and no longer. This store \
         goes on: never serve both.",
        written(config, state, &file, view)?
    ))
}

async fn retire(config: &Config, state: &Path, file: &Path) -> Result<String, Failure> {
    let file = absolute(file)?;
    there(config, state)?;
    let locked = open(state, "; --retire takes the store out of service, so stop it first")?;
    let after = After::Retire;
    let backup = SqliteStore::back_up_at_rest(&locked, &config.store, &file, after).await?;
    let view = BackupView { portals: backup.portals, chains: backup.chains };
    let mut text = format!(
        "{}\nThis store is retired: its tokens go on where the backup is restored, and no gateway \
         will serve it again.",
        written(config, state, &file, view)?
    );
    if let Some(earlier) = backup.earlier {
        text = format!(
            "{text}\nIt was retired before ({earlier}). Restore only one of these backups, ever."
        );
    }
    Ok(text)
}

async fn restore(
    config: &Config,
    state: &Path,
    file: &Path,
    (whereabouts, older): (Whereabouts, Older),
) -> Result<String, Failure> {
    let locked = open(state, "; stop it first")?;
    let request = Restore { file, state: &locked, settings: &config.store, whereabouts, older };
    let restored = request.run().await?;
    let mut lines =
        vec![format!("restored to {}: {}", state.display(), count(restored.portals, "portal"))];
    if let Some(replaced) = restored.replaced {
        lines.push(format!("the store that was in place is now {}", replaced.display()));
    }
    if let Some(retired) = restored.retired {
        lines.push(format!(
            "the store that the backup was made from is retired: {}",
            retired.display()
        ));
    }
    if !restored.marked {
        lines.push(format!(
            "{} cannot be written, so it does not know that it was used: never restore it again",
            file.display()
        ));
    }
    lines.push(
        "A portal that was refreshed after the backup was made gets its newer pair from the journal \
         in the state directory, if that is this store's; else it has to be connected again. \
         `b24gate serve` and the first call of each portal show it."
            .to_owned(),
    );
    Ok(lines.join("\n"))
}

async fn change_key(config: &Config, state: &Path, new: Option<&Path>) -> Result<String, Failure> {
    there(config, state)?;
    let locked = open(state, "; stop it first")?;
    let new = new.map(absolute).transpose()?;
    let rekeyed = rekey(&locked, &config.store, new.as_deref())
        .await
        .map_err(|error| Failure { code: error.exit_code(), text: error.to_string() })?;
    let mut text = format!("{} sealed with the new key", count(rekeyed.chains, "chain"));
    if let Some(path) = new {
        let path = path.display();
        let setting = match &config.store.key {
            KeySource::Environment(_) => format!(
                "give the variable named by key_env the content of {path}, or set [store] key_file \
                 = \"{path}\" instead of key_env"
            ),
            KeySource::File(_) => format!("set [store] key_file = \"{path}\""),
            KeySource::StateDirectory => format!(
                "set [store] key_file = \"{path}\"; b24gate.key in {} is of no use to this store \
                 any more",
                state.display()
            ),
        };
        text = format!("{text}.\nBefore the next start, {setting}");
    }
    text.push_str(".\nBackups made before open with the old key only: make a new one now.");
    Ok(text)
}

/// What is in the file, and what is not.
fn written(
    config: &Config,
    state: &Path,
    file: &Path,
    view: BackupView,
) -> Result<String, Failure> {
    let origin = Origin::new(state, &config.store).map_err(BackupError::from)?;
    Ok(format!(
        "{}: {} with {}, sealed.\nThe key is not in it: {}. Without that key the backup opens for \
         nobody; keep a copy of the key, and not beside the backup.",
        file.display(),
        count(view.portals, "portal"),
        count(view.chains, "chain"),
        origin.key()
    ))
}

/// The state directory for this command alone. `hint` follows when a gateway has it.
fn open(state: &Path, hint: &str) -> Result<StateDirectory, Failure> {
    StateDirectory::open(state).map_err(|error| {
        let hint = match error {
            StateError::Locked { .. } => hint,
            StateError::Nowhere | StateError::Unsafe { .. } | StateError::Io { .. } => "",
        };
        Failure { code: error.exit_code(), text: format!("{error}{hint}") }
    })
}

/// A command about a store that is not there must not make one.
fn there(config: &Config, state: &Path) -> Result<(), Failure> {
    if SqliteStore::is_there(state, &config.store) {
        return Ok(());
    }
    Err(failed(format!("there is no store in {} (--state names another place)", state.display())))
}

fn absolute(path: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(path).map_err(|error| failed(format!("{}: {error}", path.display())))
}

fn count(number: u64, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        let code = error.exit_code();
        Self { code, text: chain(&error) }
    }
}
