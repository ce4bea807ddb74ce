//! The OAuth server's client: exchanges a refresh token for the next pair.
//!
//! Redirects are never followed, secrets travel in the body, and an answer is judged by its error
//! code alone: statuses differ between the server's versions, and texts are for people. Sources:
//! the vendor's documentation of `/oauth/token/` and the tests of its SDKs against live portals.
//!
//! Old portals are their own OAuth servers. They read the query and nothing else, so an application
//! with a `redirect_uri`, which only they want, is asked for with GET from the start, unless its
//! server is the vendor's; and they may answer with a redirect that carries the pair.

mod answer;
mod exchange;
mod person;
mod redirect;

use std::collections::HashSet;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use zeroize::Zeroizing;

use crate::config::{App, Endpoint};
use crate::credential::{RawAnswer, Secret};
use crate::store::Person;
use crate::transport::Connector;

pub use answer::{AppInfo, FailureKind, RefreshFailure};
use exchange::Verb;

/// Longest time from the first look-up to the last byte of the answer.
const TOTAL: Duration = Duration::from_secs(30);

/// Where refresh tokens are exchanged.
pub trait TokenEndpoint: fmt::Debug + Send + Sync + 'static {
    /// Exchanges a refresh token. After this the old one may be of no use, even when it fails: see
    /// [`RefreshFailure::sent`]. The answer is as it came, unread.
    fn exchange<'a>(&'a self, app: &'a App, refresh: &'a Secret) -> Exchanging<'a>;
}

/// An exchange under way.
pub type Exchanging<'a> =
    Pin<Box<dyn Future<Output = Result<RawAnswer, RefreshFailure>> + Send + 'a>>;

/// Talks to OAuth servers; cheap to clone.
#[derive(Clone, Debug)]
pub struct OAuth {
    connector: Connector,
    /// Servers that were seen to refuse POST.
    get_only: Arc<Mutex<HashSet<Endpoint>>>,
    total: Duration,
}

impl OAuth {
    /// A client that connects through `connector`.
    pub fn new(connector: Connector) -> Self {
        Self { connector, get_only: Arc::default(), total: TOTAL }
    }

    /// Asks the OAuth server what an access token is: the only answer about a token's portal and
    /// application that cannot be forged by whoever brings the token.
    pub async fn app_info(&self, app: &App, access: &Secret) -> Result<AppInfo, RefreshFailure> {
        let mut form = Zeroizing::new(String::with_capacity(FORM));
        pairs(&mut form, &[("auth", access.expose())]);
        self.call(&app.oauth_server, APP_INFO, &form, Verb::Post).await?.app_info()
    }

    /// Exchanges the code that a browser brought back from the authorization page; it lives 30 s and
    /// works once (Bitrix24 REST docs, OAuth). The answer is as it came, unread.
    pub async fn exchange_code(
        &self,
        app: &App,
        code: &Secret,
    ) -> Result<RawAnswer, RefreshFailure> {
        self.ask(app, &token_form(app, "authorization_code", "code", code)).await
    }

    /// Whose rights an access token carries, by name: `user.current` of the portal at `portal`,
    /// reached through `connector`; where the application lacks the scope for it, `profile`.
    pub async fn person(
        &self,
        connector: &Connector,
        portal: &Endpoint,
        access: &Secret,
    ) -> Result<Person, RefreshFailure> {
        let mut form = Zeroizing::new(String::with_capacity(FORM));
        pairs(&mut form, &[("auth", access.expose())]);
        let mut outcome = Err(RefreshFailure::unsent("no_method"));
        for method in person::METHODS {
            let request = Verb::Post.request(portal, method, &form)?;
            outcome = exchange::send(connector, portal, self.total, request).await?.person();
            if !outcome.as_ref().is_err_and(RefreshFailure::refuses_the_method) {
                break;
            }
        }
        outcome
    }

    /// Asks the token endpoint, with POST unless the server is known to want GET.
    async fn ask(&self, app: &App, form: &str) -> Result<RawAnswer, RefreshFailure> {
        let server = &app.oauth_server;
        if wants_get(app) || self.is_get_only(server) {
            return self.call(server, TOKEN, form, Verb::Get).await;
        }
        let answer = self.call(server, TOKEN, form, Verb::Post).await?;
        if !answer.refuses_post() {
            return Ok(answer);
        }
        let answer = self.call(server, TOKEN, form, Verb::Get).await?;
        if !answer.refuses_post() {
            // The query shows the secrets to whoever logs requests there.
            tracing::warn!(%server, "OAuth server takes no POST, asking with GET from now on");
            self.get_only.lock().unwrap_or_else(PoisonError::into_inner).insert(server.clone());
        }
        Ok(answer)
    }

    async fn call(
        &self,
        server: &Endpoint,
        path: &str,
        form: &str,
        verb: Verb,
    ) -> Result<RawAnswer, RefreshFailure> {
        exchange::send(&self.connector, server, self.total, verb.request(server, path, form)?).await
    }

    fn is_get_only(&self, server: &Endpoint) -> bool {
        self.get_only.lock().unwrap_or_else(PoisonError::into_inner).contains(server)
    }
}

impl TokenEndpoint for OAuth {
    fn exchange<'a>(&'a self, app: &'a App, refresh: &'a Secret) -> Exchanging<'a> {
        Box::pin(async move {
            self.ask(app, &token_form(app, "refresh_token", "refresh_token", refresh)).await
        })
    }
}

/// The token endpoint.
const TOKEN: &str = "/oauth/token/";

/// What a token is.
const APP_INFO: &str = "/rest/app.info";

/// Room for a form, bytes, so that it does not move and leave copies of its secrets behind.
const FORM: usize = 2048;

fn token_form(app: &App, kind: &str, name: &str, secret: &Secret) -> Zeroizing<String> {
    let mut form = Zeroizing::new(String::with_capacity(FORM));
    let mut fields = vec![
        ("grant_type", kind),
        ("client_id", app.client_id.as_str()),
        ("client_secret", app.client_secret.expose()),
        (name, secret.expose()),
    ];
    let optional = [("scope", &app.scope), ("redirect_uri", &app.redirect_uri)];
    fields.extend(optional.into_iter().filter_map(|(key, value)| Some((key, value.as_deref()?))));
    pairs(&mut form, &fields);
    form
}

/// Whether the application's server is a portal of the old kind, which answers a POST with a page.
fn wants_get(app: &App) -> bool {
    let host = app.oauth_server.host.as_str();
    let is_vendors = VENDORS.iter().any(|domain| {
        host.strip_suffix(domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    });
    app.redirect_uri.is_some() && !is_vendors
}

/// Domains below which the vendor's OAuth servers live.
const VENDORS: [&str; 2] = ["bitrix.info", "bitrix24.tech"];

fn pairs(form: &mut String, fields: &[(&str, &str)]) {
    form_urlencoded::Serializer::new(form).extend_pairs(fields);
}

#[cfg(test)]
pub(crate) mod tests;
