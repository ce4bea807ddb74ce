//! Browser logins that are under way: from "Connect" to the pair that the OAuth server gives for the
//! code (RFC 6749, section 4.1; the defences of RFC 9700, sections 2.1 and 4.4).

mod exchange;
mod table;

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::config::Endpoint;
use crate::connect::{Connect, Form};
use crate::credential::Replace;
use crate::secret::Secret;

use self::exchange::Exchange;
use self::table::Aim;
pub(super) use self::table::Logins;

/// The number by which whoever began a login asks for its outcome; it opens nothing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LoginId(pub String);

/// How the code comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// By the browser, to the callback listener.
    Browser,
    /// By hand: the operator pastes what the browser was redirected to.
    Paste,
}

/// A login that was begun.
#[derive(Clone, Debug)]
pub struct Login {
    /// For asking how it ended.
    pub id: LoginId,
    /// What to open in a browser. For [`Way::Browser`] it is `<public_url>/oauth/start?ticket=...`,
    /// works once, and leads on to the portal; for [`Way::Paste`] the portal's own page.
    pub link: String,
    /// How long it is good, seconds.
    pub expires_in: u64,
}

/// Where a browser that opened a start link goes next.
#[derive(Clone, Debug)]
pub struct Start {
    /// The portal's authorization page, with the state.
    pub authorize: String,
    /// The cookie that binds the login to this browser: its name and value.
    pub cookie: (String, Secret),
    /// How long the cookie is good, seconds.
    pub expires_in: u64,
    /// Whether the cookie may travel by HTTPS only.
    pub secure: bool,
}

/// How a login ended, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The portal has a credential; the sentence says which.
    Connected {
        /// The portal's name.
        portal: String,
        /// What has become of the pair.
        text: String,
    },
    /// There is none by this login; the sentence says why and what to do.
    Failed {
        /// The portal's name.
        portal: String,
        /// Why, and what to do.
        text: String,
    },
}

/// Why a callback is not taken. None of these made an OAuth call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallbackError {
    /// No login is under way with this state: unknown, expired, or used already.
    #[error(
        "this login is not under way: it was used already, took longer than 10 minutes, or was \
             never begun here; begin it again"
    )]
    Unknown,
    /// It was begun in another browser.
    #[error("this login was begun in another browser; open the link there")]
    AnotherBrowser,
    /// It lacks `code` or `state`, or has them twice.
    #[error("this is not an answer of a portal's authorization page")]
    Malformed,
}

impl Connect {
    /// Begins a login for a portal.
    pub fn begin_login(&self, portal: &str, way: Way, replace: Replace) -> Result<Login, String> {
        let found = self.portals.by_name(portal).ok_or_else(|| self.no_portal(portal))?;
        let Some(credential) = found.credential() else {
            return Err(format!(
                "portal {portal} is opened by its webhook, which needs no login; to log in, name an \
                 app in the place of webhook_url"
            ));
        };
        let aim = Aim { portal: found.name.clone(), app: credential.app(), replace };
        let site = found.site().endpoint.clone();
        let (id, link) = match way {
            Way::Browser => {
                let (id, ticket) = self.logins.begin(aim)?;
                let public = self.config.load().callback.public_url.clone();
                (id, format!("{public}/oauth/start?ticket={}", ticket.expose()))
            }
            Way::Paste => {
                let (id, state) = self.logins.begin_pasting(aim.clone())?;
                (id, authorize(&site, &aim, &state))
            }
        };
        tracing::info!(portal, ?way, "login begun");
        Ok(Login { id, link, expires_in: table::LIFE.as_secs() })
    }

    /// A browser opens a start link: the ticket is used up.
    pub fn start_login(&self, ticket: &str) -> Result<Start, CallbackError> {
        let (aim, state, cookie) = self.logins.start(ticket)?;
        let portal = self.portals.by_name(&aim.portal).ok_or(CallbackError::Unknown)?;
        Ok(Start {
            authorize: authorize(&portal.site().endpoint, &aim, &state),
            cookie,
            expires_in: table::LIFE.as_secs(),
            secure: self.config.load().callback.public_url.starts_with("https://"),
        })
    }

    /// A browser comes back. `cookies` is its `Cookie` field. On `Ok` the exchange has ended, in a
    /// task that the browser's hang-up does not cut short, and the number names its outcome.
    pub async fn finish_login(
        self: &Arc<Self>,
        query: &str,
        cookies: Option<&str>,
    ) -> Result<LoginId, CallbackError> {
        let (code, state) = answered(query)?;
        let (id, aim) = self.logins.claim(state.expose(), cookies)?;
        self.exchange(&id, aim, code).await;
        Ok(id)
    }

    /// The operator pastes the redirected URL or the bare code of a login begun with [`Way::Paste`].
    /// What is not taken does not use the login up.
    pub async fn paste_login(
        self: &Arc<Self>,
        id: &LoginId,
        pasted: Secret,
    ) -> Result<Outcome, CallbackError> {
        let text = pasted.expose().trim();
        let (code, state) = match text.split_once('?') {
            Some((_, query)) => {
                let (code, state) = answered(query.split('#').next().unwrap_or_default())?;
                (code, Some(state))
            }
            None => (bare_code(text)?, None),
        };
        let aim = self.logins.claim_pasted(id, state.as_ref().map(Secret::expose))?;
        self.exchange(id, aim, code).await;
        self.logins.outcome(id)?.ok_or(CallbackError::Unknown)
    }

    /// How a login ended; `None` while it is under way. Unknown numbers and those of logins that
    /// ended long ago are an error.
    pub fn login_outcome(&self, id: &LoginId) -> Result<Option<Outcome>, CallbackError> {
        self.logins.outcome(id)
    }

    /// Brings the login to its end, in a task that whoever asked cannot cut short.
    async fn exchange(self: &Arc<Self>, id: &LoginId, aim: Aim, code: Secret) {
        let (landed, landing) = oneshot::channel::<()>();
        let exchange = Exchange::new(self.clone(), id.clone(), aim);
        self.custody.flights().spawn(async move {
            exchange.run(&code).await;
            drop(landed);
        });
        // Nothing is ever sent: the end of the task, a panic included, closes the channel.
        landing.await.unwrap_or_default();
    }

    fn no_portal(&self, name: &str) -> String {
        format!("there is no portal {name}; there are: {}", self.portals.names().join(", "))
    }
}

/// The portal's page on which a person lets the application in (Bitrix24 REST docs, OAuth): it reads
/// `client_id` and `state`; the rest is for servers that are older than that.
fn authorize(site: &Endpoint, aim: &Aim, state: &Secret) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.append_pair("client_id", &aim.app.client_id).append_pair("state", state.expose());
    if aim.app.redirect_uri.is_some() || aim.app.scope.is_some() {
        query.append_pair("response_type", "code");
    }
    for (name, value) in [("redirect_uri", &aim.app.redirect_uri), ("scope", &aim.app.scope)] {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    format!("{site}/oauth/authorize/?{}", query.finish())
}

/// `code` and `state`, each there once. What else is in the query (`domain`, `server_domain`,
/// `member_id`, `scope`) anybody can have written, and nobody reads it.
fn answered(query: &str) -> Result<(Secret, Secret), CallbackError> {
    let form = Form::parse(query.as_bytes());
    match (form.secret("code"), form.secret("state")) {
        (Some(code), Some(state)) => Ok((code.clone(), state.clone())),
        _ => Err(CallbackError::Malformed),
    }
}

/// A code as the portal shows it where the application has no address to come back to.
fn bare_code(text: &str) -> Result<Secret, CallbackError> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    if (1..=CODE_MAX).contains(&text.len()) && text.bytes().all(good) {
        return Ok(Secret::new(text));
    }
    Err(CallbackError::Malformed)
}

/// Longest code taken, bytes; the vendor's have 70 at most.
const CODE_MAX: usize = 256;
