//! Browser logins that are under way: from "Connect" to the pair that the OAuth server gives for the
//! code (RFC 6749, section 4.1; the defences of RFC 9700, sections 2.1 and 4.4).

use crate::connect::Connect;
use crate::credential::Replace;
use crate::secret::Secret;

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

/// The logins under way.
#[derive(Debug, Default)]
pub(super) struct Logins {}

impl Connect {
    /// Begins a login for a portal.
    pub fn begin_login(&self, portal: &str, way: Way, replace: Replace) -> Result<Login, String> {
        let (_, _) = (way, replace);
        Err(format!("portal {portal}: not built"))
    }

    /// A browser opens a start link: the ticket is used up.
    pub fn start_login(&self, _ticket: &str) -> Result<Start, CallbackError> {
        Err(CallbackError::Unknown)
    }

    /// A browser comes back. `cookies` is its `Cookie` field. On `Ok` the exchange has ended, in a
    /// task that the browser's hang-up does not cut short, and the number names its outcome.
    pub async fn finish_login(
        &self,
        _query: &str,
        _cookies: Option<&str>,
    ) -> Result<LoginId, CallbackError> {
        Err(CallbackError::Unknown)
    }

    /// The operator pastes the redirected URL or the bare code of a login begun with [`Way::Paste`].
    pub async fn paste_login(
        &self,
        _id: &LoginId,
        _pasted: Secret,
    ) -> Result<Outcome, CallbackError> {
        Err(CallbackError::Unknown)
    }

    /// How a login ended; `None` while it is under way. Unknown numbers and those of logins that
    /// ended long ago are an error.
    pub fn login_outcome(&self, _id: &LoginId) -> Result<Option<Outcome>, CallbackError> {
        Err(CallbackError::Unknown)
    }
}
