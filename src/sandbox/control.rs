//! The switches and counters for tests in the same process. `/sandbox/` over HTTP offers the same.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::Seed;
use super::events;
use super::frame;
use super::journal::Entry;
use super::oauth;
use super::state::{Closed, Place, State};
use super::switches::Switches;
use super::text;
use super::tokens::{Owner, Pair};

/// A handle on a running sandbox; clones are handles on the same one.
#[derive(Clone, Debug)]
pub struct Control {
    state: Arc<State>,
}

impl Control {
    pub(super) fn new(state: Arc<State>) -> Self {
        Self { state }
    }

    /// Issues a fresh pair.
    pub fn seed(&self) -> Seed {
        seed(&self.state, None, None, None)
    }

    /// Issues a fresh pair for another portal or user; many portals can live at one address.
    pub fn seed_for(&self, member_id: &str, user_id: u32) -> Seed {
        seed(&self.state, Some(member_id), Some(user_id), None)
    }

    /// As [`Control::seed_for`], for a portal that has `http://host:port` for itself: another name
    /// for this sandbox.
    pub fn seed_at(&self, member_id: &str, user_id: u32, portal_url: &str) -> Seed {
        seed(&self.state, Some(member_id), Some(user_id), Some(portal_url))
    }

    /// Issues an authorization code; it lives 30 s.
    pub fn code(&self) -> String {
        code(&self.state, None, None)
    }

    /// Issues an authorization code of another portal or user.
    pub fn code_for(&self, member_id: &str, user_id: u32) -> String {
        code(&self.state, Some(member_id), Some(user_id))
    }

    /// Posts the app's page as a browser would; the JSON is that of `POST /sandbox/install`.
    pub async fn install(&self, order: &Json) -> Result<Json, String> {
        frame::install(&self.state, order).await
    }

    /// Posts an event; the JSON is that of `POST /sandbox/event`.
    pub async fn event(&self, order: &Json) -> Result<Json, String> {
        events::send(&self.state, order).await
    }

    /// Takes the app away; the JSON is that of `POST /sandbox/uninstall`.
    pub async fn uninstall(&self, order: &Json) -> Result<Json, String> {
        events::uninstall(&self.state, order).await
    }

    /// Installs the app anew; the JSON is that of `POST /sandbox/reinstall`.
    pub fn reinstall(&self, order: &Json) -> Result<Json, String> {
        events::reinstall(&self.state, order)
    }

    /// The `application_token` of a portal.
    pub fn application_token(&self, member_id: &str) -> String {
        self.state.lock().installs.of(member_id).application_token.clone()
    }

    /// Ends the life of every access token.
    pub fn expire(&self) {
        self.state.lock().tokens.expire_all();
    }

    /// Makes every refresh token `invalid_grant`.
    pub fn kill_chain(&self) {
        self.state.lock().tokens.kill_all();
    }

    /// Makes the portal forget an access token: `invalid_token`.
    pub fn forget(&self, access_token: &str) {
        self.state.lock().tokens.forget(access_token);
    }

    /// Switches faults on; the JSON is that of `POST /sandbox/fault`.
    pub async fn fault(&self, fault: &Json) -> Result<(), String> {
        set_fault(&self.state, fault).await
    }

    /// Switches all faults off.
    pub async fn clear_faults(&self) {
        clear_faults(&self.state).await;
    }

    /// Throws switches; the JSON is that of `POST /sandbox/switch`.
    pub fn switch(&self, changes: &Json) -> Result<(), String> {
        throw(&self.state, changes)
    }

    /// The switches as they are.
    pub fn switches(&self) -> Switches {
        self.state.lock().switches.clone()
    }

    /// Counters, tokens and faults, as `GET /sandbox/state` gives them.
    pub fn state(&self) -> Json {
        describe(&self.state)
    }

    /// The text of every token that was issued, for whoever searches for leaks. Not offered over
    /// HTTP.
    pub fn tokens(&self) -> Vec<String> {
        self.state.lock().tokens.texts()
    }

    /// The latest requests, the latest last.
    pub fn log(&self) -> Vec<Entry> {
        self.state.lock().journal.entries()
    }

    /// Forgets the requests.
    pub fn clear_log(&self) {
        self.state.lock().journal.clear();
    }

    /// How often a method's body has run.
    pub fn executions(&self, method: &str) -> u64 {
        self.state.lock().counters.executions.get(method).copied().unwrap_or(0)
    }

    /// How often each marked call has run: `<method> id=<id>` and `<method> request=<X-Request-Id>`.
    pub fn marked_executions(&self) -> BTreeMap<String, u64> {
        self.state.lock().counters.marked().clone().into_iter().collect()
    }

    /// How many pairs the OAuth server has issued for refresh tokens and codes.
    pub fn exchanges(&self) -> u64 {
        self.state.lock().counters.exchanges
    }
}

/// Issues a pair, and says everything that a gateway must be told.
pub(super) fn seed(
    state: &State,
    member_id: Option<&str>,
    user_id: Option<u32>,
    portal_url: Option<&str>,
) -> Seed {
    let identity = &state.identity;
    let owner = owner(state, member_id, user_id);
    let mut inner = state.lock();
    let install = inner.installs.of(&owner.member_id);
    if let Some(url) = portal_url {
        install.portal_url = Some(url.trim_end_matches('/').to_owned());
    }
    let portal_url = state.url_of(&inner, &owner.member_id);
    let switches = inner.switches.clone();
    let pair = inner.tokens.issue(owner, &switches);
    let response = oauth::token_response(state, &inner, &pair);
    drop(inner);
    let token_response = serde_json::to_value(response).unwrap_or_default();
    let Pair { access_token, refresh_token, owner, expires_in, expires: _ } = pair;
    Seed {
        client_id: identity.client_id.clone(),
        client_secret: identity.client_secret.clone(),
        portal_url,
        oauth_url: state.oauth_url(&switches),
        webhook: format!("{}/{}", identity.user_id, identity.webhook),
        member_id: owner.member_id,
        user_id: owner.user_id,
        access_token,
        refresh_token,
        expires_in,
        token_response,
    }
}

pub(super) fn code(state: &State, member_id: Option<&str>, user_id: Option<u32>) -> String {
    let owner = owner(state, member_id, user_id);
    state.lock().tokens.issue_code(owner)
}

fn owner(state: &State, member_id: Option<&str>, user_id: Option<u32>) -> Owner {
    let identity = &state.identity;
    Owner {
        member_id: member_id.unwrap_or(&identity.member_id).to_owned(),
        user_id: user_id.unwrap_or(identity.user_id),
    }
}

pub(super) async fn set_fault(state: &State, fault: &Json) -> Result<(), String> {
    state.lock().faults.add(fault)?;
    settle(state).await;
    Ok(())
}

pub(super) async fn clear_faults(state: &State) {
    state.lock().faults.clear();
    settle(state).await;
}

pub(super) fn throw(state: &State, changes: &Json) -> Result<(), String> {
    let mut inner = state.lock();
    inner.switches = inner.switches.with(changes)?;
    Ok(())
}

pub(super) fn describe(state: &State) -> Json {
    let inner = state.lock();
    let live: Vec<Json> = inner
        .tokens
        .live()
        .into_iter()
        .map(|(token, age, left)| json!({"access_token": token, "age_ms": age, "left_ms": left}))
        .collect();
    json!({
        "counters": inner.counters,
        "live_access_tokens": live,
        "refresh_tokens": inner.tokens.history,
        "faults": inner.faults.describe(),
        "switches": inner.switches,
        "client_id": state.identity.client_id,
        "member_id": state.identity.member_id,
        "installs": inner.installs.all(),
        "deals": inner.records.deals.len(),
        "uptime_ms": text::millis(state.started.elapsed()),
    })
}

/// Waits until the listeners have closed or opened as the faults demand.
async fn settle(state: &State) {
    state.weather.send_modify(|changes| *changes += 1);
    let own_oauth = state.addresses.oauth.is_some();
    let wanted = Closed {
        portal: state.should_close(Place::Portal),
        oauth: own_oauth && state.should_close(Place::Oauth),
    };
    let mut closed = state.closed.subscribe();
    let settled = closed.wait_for(|closed| *closed == wanted);
    if tokio::time::timeout(SETTLE_MAX, settled).await.is_err() {
        tracing::warn!("listeners_unsettled");
    }
}

const SETTLE_MAX: Duration = Duration::from_secs(2);
