//! What follows when a portal's pair was taken: the portal has the application, and somebody's name
//! is behind its credential.

use std::sync::Arc;

use crate::connect::{Connect, Recent};
use crate::credential::{Custody, Secret, unix_now};
use crate::portal::Portal;
use crate::store::{Registry, StoreError};

impl Connect {
    /// An operator brought a pair for `portal`: it counts as an installation of this moment.
    pub async fn imported(&self, portal: &Arc<Portal>) {
        if let Err(error) = self.welcomed(portal, unix_now(), None).await {
            tracing::warn!(portal = %portal.name, %error, "the import is stored, its time is not");
        }
    }

    /// Notes, durably, that `portal` had the application at `at` (unix seconds), which lifts an
    /// uninstallation; then finds out in the background whose rights its credential carries.
    pub(in crate::connect) async fn welcomed(
        &self,
        portal: &Arc<Portal>,
        at: u64,
        application_token: Option<&Secret>,
    ) -> Result<(), StoreError> {
        self.registry.note_install(&portal.name, at, application_token).await?;
        portal.standing.note(|facts| {
            facts.uninstalled = false;
            facts.installed_at = facts.installed_at.max(Some(at));
            if let Some(token) = application_token {
                facts.application_token = Some(token.clone());
            }
        });
        let (custody, registry) = (self.custody.clone(), self.registry.clone());
        let (portal, recent) = (portal.clone(), self.recent.clone());
        self.custody.flights().spawn(async move {
            introduce(&portal, &custody, &*registry, &recent).await;
        });
        Ok(())
    }
}

/// Finds out whose rights the credential carries. Nothing depends on it but what people read.
async fn introduce(portal: &Portal, custody: &Custody, registry: &dyn Registry, recent: &Recent) {
    let name = &portal.name;
    let token = portal.credential().and_then(|credential| credential.current().clone());
    let Some(token) = token else { return };
    let site = portal.site().clone();
    let asked = custody.oauth().person(&site.connector, &site.endpoint, &token.access);
    match asked.await {
        Ok(person) => {
            if let Err(error) = registry.note_person(name, &person).await {
                tracing::warn!(portal = %name, %error, "the user's name is not remembered");
            }
            let user = person.user_id;
            portal.standing.note(|facts| facts.person = Some(person));
            tracing::info!(portal = %name, user, "connected");
            recent.tell(Some(name), format!("connected, with the rights of user {user}"));
        }
        Err(failure) => {
            let user = portal.status().user_id;
            tracing::info!(portal = %name, user, code = failure.code, "connected, name unknown");
            recent.tell(
                Some(name),
                match user {
                    Some(user) => format!("connected, with the rights of user {user}"),
                    None => "connected".to_owned(),
                },
            );
        }
    }
}
