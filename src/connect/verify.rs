//! Whether a pair that somebody brought is what it claims to be: only the configured OAuth server is
//! asked, and only what it answers is believed.

mod limits;

pub(super) use limits::{Claims, Pace};

use std::sync::Arc;

use crate::config::{App, Endpoint};
use crate::connect::Connect;
use crate::connect::claim::{Claim, public_place};
use crate::credential::{AppInfo, FailureKind, RefreshFailure};
use crate::portal::Portal;

/// What the OAuth server has said about a pair.
#[derive(Clone, Debug)]
pub(super) struct Verified {
    /// To which application it was issued.
    pub(super) app: Arc<App>,
    /// The portal's stable key.
    pub(super) member_id: String,
    /// Whose rights it carries.
    pub(super) user_id: Option<u64>,
    /// Where the portal's REST lives.
    pub(super) client_endpoint: String,
    /// The same, read.
    pub(super) endpoint: Endpoint,
    /// Whether the portal has finished the installation, if that is known.
    pub(super) installed: Option<bool>,
}

/// Why there is nothing to believe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// It is forged, spent, or of nobody we serve. A sentence without text from the request.
    Refused(&'static str),
    /// Nobody can say now.
    Later(String),
}

impl Connect {
    /// Asks the OAuth servers of the applications that `claim` can be of: those of the portals that
    /// we know by its `member_id` or its domain, and those that accept installations. Nothing that
    /// the claim itself names is called.
    pub(super) async fn verify(&self, claim: &Claim, pace: Pace) -> Result<Verified, Doubt> {
        let apps = self.applications(claim);
        if apps.is_empty() {
            return Err(Doubt::Refused("it is of no portal that is served here"));
        }
        let mark = claim.mark();
        if self.claims.has_failed(&mark) {
            return Err(Doubt::Refused("it was refused before"));
        }
        let _place = self.claims.place(pace).await?;
        let (mut passing, mut refused) = (None, "the OAuth server does not know its access token");
        for (number, app) in apps.iter().enumerate() {
            let earlier = apps.iter().take(number);
            if earlier.into_iter().any(|it| it.oauth_server == app.oauth_server) {
                continue;
            }
            match self.custody.oauth().app_info(app, &claim.access).await {
                Ok(info) => match judge(claim, &apps, app, info) {
                    Ok(verified) => return Ok(verified),
                    Err(reason) => refused = reason,
                },
                Err(failure) if is_passing(&failure) => passing = Some(failure.to_string()),
                Err(_refusal) => {}
            }
        }
        if let Some(reason) = passing {
            return Err(Doubt::Later(reason));
        }
        self.claims.remember_failed(mark);
        Err(Doubt::Refused(refused))
    }

    /// Whether it could be of a portal of ours at all; costs nothing.
    pub(super) fn may_be_ours(&self, claim: &Claim) -> bool {
        !self.applications(claim).is_empty()
    }

    /// Those of portals that we know stand first.
    fn applications(&self, claim: &Claim) -> Vec<Arc<App>> {
        let known = [
            self.portal_of_member(&claim.member_id),
            self.portals.by_domain(&claim.domain.to_string()),
        ];
        let known = known.into_iter().flatten().filter_map(|portal| application(&portal));
        let config = self.config.load();
        let open = config.apps.values().filter(|app| app.accept_installs).cloned();
        let mut apps: Vec<Arc<App>> = Vec::new();
        for app in known.chain(open) {
            if !apps.iter().any(|it| is_same(it, &app)) {
                apps.push(app);
            }
        }
        apps
    }
}

/// The application through which a portal is connected; one with a webhook has none.
pub(super) fn application(portal: &Portal) -> Option<Arc<App>> {
    portal.credential().map(|credential| credential.app())
}

/// Whether two entries are of the same application.
pub(super) fn is_same(one: &App, other: &App) -> bool {
    one.client_id == other.client_id && one.oauth_server == other.oauth_server
}

/// Compares what is claimed with what the OAuth server of `asked` says. Pure.
fn judge(
    claim: &Claim,
    apps: &[Arc<App>],
    asked: &App,
    info: AppInfo,
) -> Result<Verified, &'static str> {
    let ours =
        |app: &&Arc<App>| app.oauth_server == asked.oauth_server && app.client_id == info.client_id;
    let app = apps.iter().find(ours).ok_or("its access token is of another application")?;
    if info.member_id.as_deref() != Some(claim.member_id.as_str()) {
        return Err("its access token is of another portal");
    }
    if claim.user_id.is_some() && claim.user_id != info.user_id {
        return Err("its access token is of another user");
    }
    let client_endpoint = info.client_endpoint.filter(|url| is_plain(url)).ok_or(NOWHERE)?;
    let endpoint = Endpoint::of_url(&client_endpoint).ok_or(NOWHERE)?;
    if !claim.domain.is_of(&endpoint) {
        return Err("its portal does not live where it says");
    }
    if claim.client_endpoint.as_ref().is_some_and(|claimed| *claimed != endpoint) {
        return Err("its portal's REST does not live where it says");
    }
    Ok(Verified {
        app: app.clone(),
        member_id: claim.member_id.clone(),
        user_id: info.user_id,
        client_endpoint,
        endpoint,
        installed: info.installed,
    })
}

impl Verified {
    /// Whether the portal may live there without anybody having configured it.
    pub(super) fn may_arrive(&self) -> bool {
        let development = self.app.oauth_server.is_loopback() && self.endpoint.is_loopback();
        development || public_place(&self.client_endpoint).is_some()
    }
}

fn is_plain(url: &str) -> bool {
    url.len() <= URL_MAX && url.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Whether another attempt may end otherwise. What a server says about a token in a code of its own
/// is final, unless the code is about the server.
fn is_passing(failure: &RefreshFailure) -> bool {
    if failure.kind != FailureKind::Transient {
        return false;
    }
    let code = failure.code.to_ascii_lowercase();
    failure.sent || code.starts_with("http_") || PASSING.contains(&code.as_str())
}

/// Our own codes for what did not reach the server, and the server's about itself.
const PASSING: [&str; 11] = [
    "name",
    "connect",
    "connect_timeout",
    "tls",
    "tls_date",
    "connection_error",
    "query_limit_exceeded",
    "operation_time_limit",
    "overload_limit",
    "internal_server_error",
    "error_unexpected_answer",
];

const NOWHERE: &str = "the OAuth server does not say where its portal lives";
/// Longest `client_endpoint`, bytes.
const URL_MAX: usize = 512;

#[cfg(test)]
mod tests;
