//! `b24gate portal refresh|disable|enable|remove`.

use std::path::Path;

use super::show::came_by_itself;
use super::{Failure, USAGE, ask, ask_running, chain, failed, known, open, unclear};
use crate::config::{Access, Config};
use crate::control::{Reply, Request};
use crate::store::{Registry as _, SqliteStore, Store as _, StoreError};

/// What can be done to a portal with and without a running gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Disable,
    Enable,
    Remove,
}

/// Has the running gateway renew the token.
pub(super) async fn refresh(state: &Path, name: &str) -> Result<String, Failure> {
    match ask_running(state, &Request::Refresh { portal: name.to_owned() }).await? {
        Reply::Refreshed(generation) => {
            Ok(format!("portal {name}: token renewed, generation {generation}"))
        }
        _ => Err(unclear()),
    }
}

/// Does it, durably.
pub(super) async fn run(
    config: &Config,
    state: &Path,
    name: &str,
    deed: Deed,
) -> Result<String, Failure> {
    match ask(state, &deed.request(name)).await? {
        Some(Reply::Done) => {}
        Some(_) => return Err(unclear()),
        None => do_in_store(config, state, name, deed).await?,
    }
    Ok(format!("portal {name}: {}", deed.told()))
}

/// The command was given without `--yes`.
pub(super) fn unsure(name: &str) -> Failure {
    let text = format!(
        "the tokens of portal {name} would be taken out of use, and it would have to be connected \
         again; if that is meant:\n  b24gate portal remove {name} --yes\nTo stop its calls and \
         keep its tokens: b24gate portal disable {name}"
    );
    Failure { code: USAGE, text }
}

async fn do_in_store(config: &Config, state: &Path, name: &str, deed: Deed) -> Result<(), Failure> {
    if deed == Deed::Remove
        && let Some(settings) = config.portals.get(name)
        && matches!(settings.access, Access::IncomingWebhook(_))
    {
        let text = "is opened by its webhook, of which nothing is kept here; change webhook_url in \
                    the configuration, or delete the webhook in the portal";
        return Err(failed(format!("portal {name} {text}")));
    }
    if !SqliteStore::is_there(state, &config.store) {
        // A misspelt name must not make a store.
        known(config, name)?;
    }
    let (_state, store) = open(config, state).await?;
    let found = store.load().await.map(|records| {
        records.iter().any(|record| record.portal == name && came_by_itself(config, record))
    });
    let done = match found {
        Ok(true) => deed.write(&store, name).await.map_err(|error| failed(chain(&error))),
        Ok(false) => match known(config, name) {
            Ok(()) => deed.write(&store, name).await.map_err(|error| failed(chain(&error))),
            Err(unknown) => Err(unknown),
        },
        Err(error) => Err(failed(chain(&error))),
    };
    store.close().await;
    done
}

impl Deed {
    fn request(self, name: &str) -> Request {
        let portal = name.to_owned();
        match self {
            Self::Disable => Request::SetDisabled { portal, disabled: true },
            Self::Enable => Request::SetDisabled { portal, disabled: false },
            Self::Remove => Request::Remove { portal },
        }
    }

    async fn write(self, store: &SqliteStore, name: &str) -> Result<(), StoreError> {
        match self {
            Self::Disable => store.set_disabled(name, true).await,
            Self::Enable => store.set_disabled(name, false).await,
            Self::Remove => store.remove(name).await,
        }
    }

    fn told(self) -> &'static str {
        match self {
            Self::Disable => "disabled; its credential is kept",
            Self::Enable => "enabled",
            Self::Remove => "removed; its tokens are out of use",
        }
    }
}
