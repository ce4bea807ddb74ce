//! What the running gateway answers over its control socket.

use std::path::Path;
use std::sync::Arc;

use crate::control::{BackupView, Desk, Details, PortalView, Reply, Request};
use crate::credential::{Custody, Replace};
use crate::portal::{Portal, Portals};
use crate::store::{Origin, Record, SqliteStore, StoreError};

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
        Request::List => Reply::Portals(list(portals, custody).await),
        Request::Show { portal, ledger } => match portals.by_name(&portal) {
            Some(portal) => Reply::Portal(Box::new(show(&portal, custody, ledger).await)),
            None => unknown(portals, &portal),
        },
        Request::Import { portal, grant, replace } => match portals.by_name(&portal) {
            Some(portal) => {
                let replace = if replace { Replace::Yes } else { Replace::No };
                match portal.credential.adopt(grant, replace).await {
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

/// A store that cannot be read hides no portal: what is lent is in memory.
async fn list(portals: &Portals, custody: &Custody) -> Vec<PortalView> {
    let records = custody.store().load().await.unwrap_or_else(|error| {
        tracing::warn!(%error, "spares are not counted: the store cannot be read");
        Vec::new()
    });
    let view = |portal: &Arc<Portal>| view(portal, record_of(&records, &portal.name));
    portals.all().iter().map(view).collect()
}

async fn show(portal: &Portal, custody: &Custody, ledger: u32) -> Details {
    let store = custody.store();
    let found: Result<_, StoreError> =
        async { Ok((store.load().await?, store.ledger(&portal.name, ledger).await?)) }.await;
    match found {
        Ok((records, ledger)) => {
            let record = record_of(&records, &portal.name);
            Details::new(view(portal, record), record, ledger)
        }
        Err(error) => {
            let view = view(portal, None);
            Details { view, trouble: Some(error.to_string()), ..Details::default() }
        }
    }
}

fn record_of<'a>(records: &'a [Record], name: &str) -> Option<&'a Record> {
    records.iter().find(|record| record.portal == name)
}

fn view(portal: &Portal, record: Option<&Record>) -> PortalView {
    let url = portal.site().endpoint.to_string();
    PortalView::new(&portal.name, url, &portal.credential.state(), record)
}

fn unknown(portals: &Portals, name: &str) -> Reply {
    Reply::Refused(format!(
        "the running gateway has no portal {name}; it knows: {}; after a change of the \
         configuration send it SIGHUP",
        portals.names().join(", ")
    ))
}
