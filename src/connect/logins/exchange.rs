//! From the code to the pair, and from the pair to the portal that it is for.

use std::sync::Arc;

use crate::config::Endpoint;
use crate::connect::logins::table::Aim;
use crate::connect::{Connect, LoginId, Outcome};
use crate::credential::{Admitted, FailureKind, Grant, IntakeError, RefreshFailure, unix_now};
use crate::portal::Portal;
use crate::secret::Secret;

/// A login whose code has come; it ends with this, whatever happens.
pub(super) struct Exchange {
    connect: Arc<Connect>,
    id: LoginId,
    aim: Aim,
    outcome: Option<Outcome>,
}

impl Exchange {
    pub(super) fn new(connect: Arc<Connect>, id: LoginId, aim: Aim) -> Self {
        Self { connect, id, aim, outcome: None }
    }

    /// Exchanges the code and takes the pair in.
    pub(super) async fn run(mut self, code: &Secret) {
        let portal = self.aim.portal.clone();
        self.outcome = Some(match self.connected(code).await {
            Ok(text) => {
                tracing::info!(portal, "login finished");
                Outcome::Connected { portal, text }
            }
            Err(text) => {
                tracing::warn!(portal, reason = text, "login failed");
                self.connect.recent.tell(Some(&portal), format!("a login failed: {text}"));
                Outcome::Failed { portal, text }
            }
        });
    }

    async fn connected(&self, code: &Secret) -> Result<String, String> {
        let oauth = self.connect.custody.oauth();
        let answer = oauth.exchange_code(&self.aim.app, code).await;
        let grant = answer.and_then(|answer| answer.grant()).map_err(|it| self.no_pair(&it))?;
        let gone = || format!("portal {} is not served any more", self.aim.portal);
        let portal = self.connect.portals.by_name(&self.aim.portal).ok_or_else(gone)?;
        let credential = portal.credential().ok_or_else(gone)?;
        belongs(&portal, &grant)?;
        let user = grant.user_id;
        let adopted = credential.adopt(grant, self.aim.replace).await;
        let admitted = adopted.map_err(|error| not_taken(&error))?;
        self.connect.welcomed(&portal, unix_now(), None).await.map_err(|error| {
            format!("the pair is stored, and that the application is installed is not: {error}")
        })?;
        Ok(told(&admitted, user))
    }

    fn no_pair(&self, failure: &RefreshFailure) -> String {
        match failure.kind {
            FailureKind::Dead => format!(
                "{failure}: the code is no longer good, it lives 30 seconds and works once; begin \
                 the login again"
            ),
            FailureKind::Configuration => {
                let app = &self.aim.app.name;
                format!("{failure}: look at client_id and client_secret of [apps.{app}]")
            }
            FailureKind::Paused | FailureKind::Transient => {
                format!("{failure}; begin the login again")
            }
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let portal = self.aim.portal.clone();
        let outcome = self.outcome.take().unwrap_or_else(|| {
            let text = "the gateway could not finish the login; begin it again".to_owned();
            Outcome::Failed { portal, text }
        });
        self.connect.logins.end(&self.id, outcome);
    }
}

/// Whether the pair is this portal's. A code that somebody smuggled in is of another one, and the
/// only word about that is the OAuth server's, in the pair itself.
fn belongs(portal: &Portal, grant: &Grant) -> Result<(), String> {
    let arrived = || portal.standing.facts().arrived.as_ref().map(|it| it.member_id.clone());
    let known = portal.status().member_id.clone().or_else(arrived);
    let yes = if let (Some(known), Some(brought)) = (&known, &grant.member_id) {
        known.eq_ignore_ascii_case(brought)
    } else {
        let told = grant.client_endpoint.as_deref().and_then(Endpoint::of_url);
        told.is_some_and(|told| same_place(&told, &portal.site().endpoint))
    };
    if yes {
        return Ok(());
    }
    Err(format!(
        "the pair is another portal's, and was not taken: log in at {}; if that portal was set up \
         anew, `b24gate portal remove {}` forgets the old one",
        portal.site().endpoint,
        portal.name
    ))
}

/// Self-hosted portals are registered by either scheme, so the port counts within one only.
fn same_place(told: &Endpoint, site: &Endpoint) -> bool {
    told.host == site.host && (told.tls != site.tls || told.port == site.port)
}

fn not_taken(error: &IntakeError) -> String {
    match error {
        IntakeError::Store(error) => format!("the store did not take the pair: {error}"),
        IntakeError::Refused(_) | IntakeError::Exchange(_) => error.to_string(),
    }
}

fn told(admitted: &Admitted, user: Option<u64>) -> String {
    let whose = user.map_or_else(String::new, |user| format!(" with the rights of user {user}"));
    match admitted {
        Admitted::Active { generation, old_kept } => {
            let old = if *old_kept { "; the pair that was in use is kept as a spare" } else { "" };
            format!("connected{whose}, generation {generation}{old}")
        }
        Admitted::Spare { chain, .. } => format!(
            "connected as before; the new pair{whose} waits as a spare (chain {chain}) and takes \
             over when the one in use dies"
        ),
        Admitted::Known { .. } => "connected as before: this pair is here already".to_owned(),
    }
}
