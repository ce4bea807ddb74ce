//! What the running gateway answers over its control socket.

use std::path::Path;
use std::sync::Arc;

use crate::control::{BackupView, Desk, PortalView, Reply, Request};
use crate::portal::{Portal, Portals};
use crate::store::{Origin, SqliteStore};

/// The store, and where it lies.
pub(super) type Custodian = (Arc<SqliteStore>, Origin);

/// Answers for `portals`, and writes backups of the store.
pub(super) fn desk(portals: Arc<Portals>, store: Custodian) -> Desk {
    let store = Arc::new(store);
    Arc::new(move |request| {
        let (portals, store) = (portals.clone(), store.clone());
        Box::pin(async move { answer(&portals, &store, request).await })
    })
}

async fn answer(portals: &Portals, store: &Custodian, request: Request) -> Reply {
    match request {
        Request::Backup { file } => back_up(store, Path::new(&file)).await,
        Request::List => Reply::Portals(portals.all().iter().map(|portal| view(portal)).collect()),
        Request::Show { portal } => match portals.by_name(&portal) {
            Some(portal) => Reply::Portal(view(&portal)),
            None => unknown(portals, &portal),
        },
        Request::Import { portal, grant } => match portals.by_name(&portal) {
            Some(portal) => match portal.credential.adopt(grant).await {
                Ok(_) => Reply::Stored(view(&portal)),
                Err(error) => Reply::Refused(error.to_string()),
            },
            None => unknown(portals, &portal),
        },
    }
}

async fn back_up((store, origin): &Custodian, file: &Path) -> Reply {
    match store.back_up(origin, file).await {
        Ok(backup) => {
            tracing::info!(file = %file.display(), portals = backup.portals, "backup written");
            Reply::BackedUp(BackupView { portals: backup.portals, chains: backup.chains })
        }
        Err(error) => Reply::Refused(error.to_string()),
    }
}

fn view(portal: &Portal) -> PortalView {
    PortalView::new(&portal.name, portal.site().endpoint.to_string(), &portal.credential.state())
}

fn unknown(portals: &Portals, name: &str) -> Reply {
    Reply::Refused(format!(
        "the running gateway has no portal {name}; it knows: {}; after a change of the \
         configuration send it SIGHUP",
        portals.names().join(", ")
    ))
}
