//! What the running gateway answers over its control socket.

use std::path::Path;
use std::sync::Arc;

use crate::control::{BackupView, Desk, Reply, Request};
use crate::credential::{Custody, Replace};
use crate::portal::Portals;
use crate::store::{Origin, SqliteStore};
use crate::views;

/// The store, and where it lies.
pub(super) type Stored = (Arc<SqliteStore>, Origin);

/// Answers for `portals`, whose credentials are in `custody`, and writes backups of the store.
pub(super) fn desk(portals: Arc<Portals>, custody: Arc<Custody>, store: Stored) -> Desk {
    let store = Arc::new(store);
    Arc::new(move |request| {
        let (portals, custody, store) = (portals.clone(), custody.clone(), store.clone());
        Box::pin(async move { answer(&portals, &custody, &store, request).await })
    })
}

async fn answer(portals: &Portals, custody: &Custody, store: &Stored, request: Request) -> Reply {
    match request {
        Request::Backup { file } => back_up(store, Path::new(&file)).await,
        Request::List => Reply::Portals(views::all(portals, &**custody.store()).await),
        Request::Show { portal, ledger } => match portals.by_name(&portal) {
            Some(portal) => {
                Reply::Portal(Box::new(views::one(&portal, &**custody.store(), ledger).await))
            }
            None => unknown(portals, &portal),
        },
        Request::Import { portal, grant, replace } => match portals.by_name(&portal) {
            Some(portal) => {
                let replace = if replace { Replace::Yes } else { Replace::No };
                let Some(credential) = portal.credential() else {
                    return Reply::Refused(format!("portal {} has a webhook", portal.name));
                };
                match credential.adopt(grant, replace).await {
                    Ok(admitted) => Reply::Imported(admitted),
                    Err(error) => Reply::Refused(error.to_string()),
                }
            }
            None => unknown(portals, &portal),
        },
    }
}

async fn back_up((store, origin): &Stored, file: &Path) -> Reply {
    match store.back_up(origin, file).await {
        Ok(backup) => {
            tracing::info!(file = %file.display(), portals = backup.portals, "backup written");
            Reply::BackedUp(BackupView { portals: backup.portals, chains: backup.chains })
        }
        Err(error) => Reply::Refused(error.to_string()),
    }
}

fn unknown(portals: &Portals, name: &str) -> Reply {
    Reply::Refused(format!(
        "the running gateway has no portal {name}; it knows: {}; after a change of the \
         configuration send it SIGHUP",
        portals.names().join(", ")
    ))
}
