//! What the running gateway answers over its control socket.

use std::path::Path;
use std::sync::Arc;

use crate::admin::Readiness;
use crate::app::clients::Clients;
use crate::connect::{Connect, Login, LoginId, OperateError, Outcome, Way};
use crate::control::{BackupView, Desk, Reply, Request};
use crate::credential::{Custody, Grant, Replace, State};
use crate::portal::Portals;
use crate::store::{Origin, SqliteStore};
use crate::views;

/// What the desk works with.
#[derive(Debug)]
pub(super) struct Rooms {
    pub(super) portals: Arc<Portals>,
    pub(super) custody: Arc<Custody>,
    /// The store, and where it lies.
    pub(super) store: (Arc<SqliteStore>, Origin),
    pub(super) connect: Arc<Connect>,
    pub(super) readiness: Arc<Readiness>,
    pub(super) clients: Clients,
}

/// Answers what commands ask.
pub(super) fn desk(rooms: Rooms) -> Desk {
    let rooms = Arc::new(rooms);
    Arc::new(move |request| {
        let rooms = rooms.clone();
        Box::pin(async move { rooms.answer(request).await })
    })
}

impl Rooms {
    async fn answer(&self, request: Request) -> Reply {
        let store = &**self.custody.store();
        match request {
            Request::Backup { file } => back_up(&self.store, Path::new(&file)).await,
            Request::List => Reply::Portals(views::all(&self.portals, store).await),
            Request::Show { portal, ledger } => match self.portals.by_name(&portal) {
                Some(portal) => Reply::Portal(Box::new(views::one(&portal, store, ledger).await)),
                None => unknown(&self.portals, &portal),
            },
            Request::Import { portal, grant, replace } => {
                self.import(&portal, grant, replacing(replace)).await
            }
            Request::Connect { portal, paste, replace } => {
                let way = if paste { Way::Paste } else { Way::Browser };
                match self.connect.begin_login(&portal, way, replacing(replace)) {
                    Ok(Login { id, link, expires_in }) => {
                        Reply::Login { id: id.0, link, expires_in }
                    }
                    Err(text) => Reply::Refused(text),
                }
            }
            Request::LoginOutcome { id } => match self.connect.login_outcome(&LoginId(id)) {
                Ok(Some(outcome)) => ended(outcome),
                Ok(None) => Reply::UnderWay,
                Err(error) => Reply::Refused(error.to_string()),
            },
            Request::Paste { id, pasted } => {
                match self.connect.paste_login(&LoginId(id), pasted).await {
                    Ok(outcome) => ended(outcome),
                    Err(error) => Reply::Refused(error.to_string()),
                }
            }
            Request::Refresh { portal } => match self.connect.refresh(&portal).await {
                Ok(generation) => Reply::Refreshed(generation),
                Err(error) => self.not_done(&portal, &error),
            },
            Request::SetDisabled { portal, disabled } => {
                self.done(&portal, self.connect.set_disabled(&portal, disabled).await)
            }
            Request::Remove { portal } => self.done(&portal, self.connect.remove(&portal).await),
            Request::Client(request) => self.clients.answer(request).await,
            Request::Readiness { portal } => Reply::Readiness(self.reasons(portal.as_deref())),
        }
    }

    async fn import(&self, name: &str, grant: Grant, replace: Replace) -> Reply {
        let Some(portal) = self.portals.by_name(name) else {
            return unknown(&self.portals, name);
        };
        let Some(credential) = portal.credential() else {
            return Reply::Refused(format!("portal {name} has a webhook"));
        };
        match credential.adopt(grant, replace).await {
            Ok(admitted) => {
                self.connect.imported(&portal).await;
                Reply::Imported(admitted)
            }
            Err(error) => Reply::Refused(error.to_string()),
        }
    }

    /// What stands in the way of calls, to one portal or to any.
    fn reasons(&self, name: Option<&str>) -> Vec<String> {
        let mut reasons = self.readiness.reasons();
        let Some(name) = name else { return reasons };
        let Some(portal) = self.portals.by_name(name) else {
            return vec![format!("{name}: the running gateway has no such portal")];
        };
        let others: Vec<_> = self.portals.names().into_iter().filter(|it| it != name).collect();
        let of_another = |reason: &String| {
            let of =
                |other: &String| reason.strip_prefix(other).is_some_and(|it| it.starts_with(": "));
            others.iter().any(of)
        };
        reasons.retain(|reason| !of_another(reason));
        let status = portal.status();
        if status.state == State::NotConnected {
            reasons.push(format!("{name}: {}", status.word()));
        }
        reasons
    }

    fn done(&self, name: &str, outcome: Result<(), OperateError>) -> Reply {
        match outcome {
            Ok(()) => Reply::Done,
            Err(error) => self.not_done(name, &error),
        }
    }

    fn not_done(&self, name: &str, error: &OperateError) -> Reply {
        match error {
            OperateError::Unknown(_) => unknown(&self.portals, name),
            OperateError::Refused(text) | OperateError::Later(text) => Reply::Refused(text.clone()),
        }
    }
}

fn replacing(replace: bool) -> Replace {
    if replace { Replace::Yes } else { Replace::No }
}

fn ended(outcome: Outcome) -> Reply {
    match outcome {
        Outcome::Connected { text, .. } => Reply::Connected(text),
        Outcome::Failed { text, .. } => Reply::NotConnected(text),
    }
}

async fn back_up((store, origin): &(Arc<SqliteStore>, Origin), file: &Path) -> Reply {
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
