//! Which portal a verified pair belongs to, by its `member_id`; a new one where its application
//! accepts installations.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Mutex;

use crate::connect::Connect;
use crate::connect::verify::{Doubt, Verified, application, is_same};
use crate::portal::{Arrival, Portal};
use crate::store::{Arrived, StoreError};

/// Installations that are under way, by the portal's name: a portal that has come for one that fails
/// goes again, unless another one is at it.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    under_way: Mutex<HashMap<String, usize>>,
}

/// How an installation has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ending {
    /// The portal has a credential, or may still get one.
    Stays,
    /// Nothing came of it.
    Failed,
}

impl Connect {
    /// The portal of what was verified; told to [`Connect::leave`] when its installation has ended.
    pub(super) async fn enter(&self, verified: &Verified) -> Result<Arc<Portal>, Doubt> {
        let mut under_way = self.arrivals.under_way.lock().await;
        let portal = match self.portal_of_member(&verified.member_id) {
            Some(portal) => self.met_again(portal, verified)?,
            None => match self.portals.by_domain(&verified.endpoint.authority()) {
                Some(portal) => self.expected(portal, verified)?,
                None => self.arrive(verified).await?,
            },
        };
        *under_way.entry(portal.name.clone()).or_default() += 1;
        Ok(portal)
    }

    /// Takes a portal out again that has come for nothing.
    pub(super) async fn leave(&self, portal: &Arc<Portal>, ending: Ending) {
        let mut under_way = self.arrivals.under_way.lock().await;
        if let Some(count) = under_way.get_mut(&portal.name) {
            *count -= 1;
            if *count > 0 {
                return;
            }
        }
        under_way.remove(&portal.name);
        let empty = portal.status().generation.is_none();
        if ending == Ending::Stays || !empty || portal.standing.facts().arrived.is_none() {
            return;
        }
        let _nobody_else = self.portals.changing().await;
        if let Err(error) = self.registry.remove(&portal.name).await {
            // It stays as it is: not connected. The next installation finds it.
            tracing::error!(portal = %portal.name, %error, "a portal that came for nothing stays");
            return;
        }
        self.portals.remove(&portal.name);
        tracing::info!(portal = %portal.name, "a portal that came for nothing is taken out again");
    }

    /// The portal of this stable key.
    pub(super) fn portal_of_member(&self, member_id: &str) -> Option<Arc<Portal>> {
        self.portals.by_member(member_id)
    }

    fn met_again(&self, portal: Arc<Portal>, verified: &Verified) -> Result<Arc<Portal>, Doubt> {
        same_application(&portal, verified)?;
        let there = self.portals.by_domain(&verified.endpoint.authority());
        if there.is_some_and(|other| other.name != portal.name) {
            return Err(Doubt::Refused("its portal claims the place of another one"));
        }
        if portal.site().endpoint == verified.endpoint {
            return Ok(portal);
        }
        if portal.standing.facts().arrived.is_some() && !verified.may_arrive() {
            return Err(Doubt::Refused(NO_PLACE));
        }
        portal.relocate(&verified.endpoint);
        self.portals.list_domain(&portal);
        Ok(portal)
    }

    /// A portal of the configuration that has not been connected yet. If it has been, its domain was
    /// given to somebody else since, and nothing of theirs may get under its name.
    fn expected(&self, portal: Arc<Portal>, verified: &Verified) -> Result<Arc<Portal>, Doubt> {
        same_application(&portal, verified)?;
        if portal.status().member_id.is_none() && portal.standing.facts().arrived.is_none() {
            return Ok(portal);
        }
        tracing::warn!(
            portal = %portal.name,
            "an installation REFUSED: another portal lives under this one's domain now; if that is \
             meant, take the old credential out of use with `b24gate portal remove` first"
        );
        self.recent.tell(Some(&portal.name), "an installation was refused: it is another portal's");
        Err(Doubt::Refused("another portal lives under this domain here"))
    }

    async fn arrive(&self, verified: &Verified) -> Result<Arc<Portal>, Doubt> {
        if !self.accepts_installs(verified) {
            return Err(Doubt::Refused("its application accepts no installations here"));
        }
        if !verified.may_arrive() {
            return Err(Doubt::Refused(NO_PLACE));
        }
        let name = verified.endpoint.authority();
        if self.portals.by_name(&name).is_some() {
            return Err(Doubt::Refused(NAME_TAKEN));
        }
        let came = |portal: &Arc<Portal>| portal.standing.facts().arrived.is_some();
        if self.portals.all().iter().filter(|portal| came(portal)).count() >= ARRIVED_MAX {
            tracing::error!("an installation REFUSED: {ARRIVED_MAX} portals have come already");
            return Err(Doubt::Refused("as many portals have come as there is room for"));
        }
        let arrived = Arrived {
            client_id: verified.app.client_id.clone(),
            member_id: verified.member_id.clone(),
        };
        let noted = self.registry.note_arrival(&name, &arrived, &verified.endpoint).await;
        noted.map_err(|error| Doubt::Later(not_written(&error)))?;
        let (app, endpoint) = (verified.app.clone(), verified.endpoint.clone());
        let arrival = Arrival { name: name.clone(), endpoint, app, arrived, record: None };
        // Boxed: it is large, and hardly any installation gets here.
        let arriving = Box::pin(self.portals.arrive(arrival, &self.custody, &self.connector));
        let portal = arriving.await.map_err(|_taken| Doubt::Refused(NAME_TAKEN))?;
        tracing::info!(portal = %name, "a portal has come by itself");
        Ok(portal)
    }

    fn accepts_installs(&self, verified: &Verified) -> bool {
        let config = self.config.load();
        config.apps.values().any(|app| app.accept_installs && is_same(app, &verified.app))
    }
}

fn same_application(portal: &Portal, verified: &Verified) -> Result<(), Doubt> {
    match application(portal) {
        Some(app) if is_same(&app, &verified.app) => Ok(()),
        Some(_) => Err(Doubt::Refused("its portal is connected through another application")),
        None => Err(Doubt::Refused("its portal is opened by a webhook here")),
    }
}

/// The store's trouble, for whoever may try again.
pub(super) fn not_written(error: &StoreError) -> String {
    tracing::error!(%error, "what came in cannot be written down");
    error.to_string()
}

const NO_PLACE: &str = "its portal lives where no portal may come from by itself";
const NAME_TAKEN: &str = "its name is another portal's";
/// Portals that come by themselves; each costs memory and a line on every page.
const ARRIVED_MAX: usize = 1_000;
