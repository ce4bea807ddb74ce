//! The JSON API, as `openapi.json` describes it. Times are unix seconds; no answer holds a secret,
//! but that of `/token`.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::connect::{LoginId, Outcome};
use crate::credential::Replace;
use crate::door::{self, Answer, Asked};
use crate::views::{self, Details, PortalView};

use super::Admin;
use super::deeds::Deed;
use super::refusal::{Refusal, json as answer};
use super::route::Api;
use super::wall;

/// What a login begins with.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Wish {
    /// Whether another user's credential may take the place of the one in use.
    replace: bool,
}

/// What was done.
#[derive(Debug, Serialize)]
struct Did<'a> {
    portal: &'a str,
    done: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<u64>,
}

impl Admin {
    /// Answers a program whose request has passed the wall.
    pub(super) async fn api(&self, api: Api, asked: &Asked) -> Result<Answer, Refusal> {
        let given = asked.headers().get("x-csrf-token").and_then(|token| token.to_str().ok());
        wall::check_token(&self.csrf, asked.method(), given)?;
        match api {
            Api::Description => Ok(door::page(StatusCode::OK, "application/json", DESCRIPTION)),
            Api::Calls => self.calls(asked.uri().query().unwrap_or_default()).await,
            Api::Session => Ok(ok(&json!({"csrf": self.csrf.expose()}))),
            Api::Events => Ok(ok(&json!({"events": self.means.connect.recent().all()}))),
            Api::Clients => {
                let views = views::clients::of_running(&self.means.clients).await;
                Ok(ok(&json!({"clients": views, "lost": self.means.clients.are_lost()})))
            }
            Api::Portals => {
                let (portals, custody) = (&self.means.portals, &self.means.custody);
                let views = views::all(portals, &**custody.store()).await;
                Ok(ok(&json!({"portals": views})))
            }
            Api::Portal(name) if *asked.method() == Method::DELETE => {
                self.done(Deed::Remove, &name).await
            }
            Api::Portal(name) => {
                // What a store that cannot be read does not tell is left out.
                Ok(ok(&self.details(&name, 0).await?.view))
            }
            Api::Chains(name) => {
                let Details { chains, .. } = readable(self.details(&name, 0).await?)?;
                Ok(ok(&json!({"chains": chains})))
            }
            Api::Ledger(name) => {
                let limit = limit(asked.uri().query().unwrap_or_default(), LEDGER_LINES)?;
                let Details { ledger, .. } = readable(self.details(&name, limit).await?)?;
                Ok(ok(&json!({"ledger": ledger})))
            }
            Api::Token(name) => self.token(&name, asked.headers()).await,
            Api::Do(Deed::Connect, name) => {
                let replace = wish(asked)?;
                let login = self.begin(&name, replace)?;
                let (id, link) = (&login.id.0, &login.link);
                Ok(ok(&json!({"id": id, "link": link, "expires_in": login.expires_in})))
            }
            Api::Do(deed, name) => self.done(deed, &name).await,
            Api::Login(id) => self.login(id),
        }
    }

    async fn details(&self, name: &str, lines: u32) -> Result<Details, Refusal> {
        let portal = self.portal(name)?;
        Ok(views::one(&portal, &**self.means.custody.store(), lines).await)
    }

    async fn done(&self, deed: Deed, name: &str) -> Result<Answer, Refusal> {
        let generation = self.carry_out(deed, name).await?;
        Ok(ok(&Did { portal: name, done: deed.done(), generation }))
    }

    fn login(&self, id: String) -> Result<Answer, Refusal> {
        let outcome = self.means.connect.login_outcome(&LoginId(id));
        let outcome = outcome.map_err(|_unknown| {
            Refusal::not_found("there is no such login, or it ended long ago")
        })?;
        Ok(ok(&match outcome {
            None => json!({"state": "waiting"}),
            Some(Outcome::Connected { portal, text }) => {
                json!({"state": "connected", "portal": portal, "text": text})
            }
            Some(Outcome::Failed { portal, text }) => {
                json!({"state": "failed", "portal": portal, "text": text})
            }
        }))
    }

    /// Everything that is shown of portals, for the page.
    pub(super) async fn portal_views(&self) -> Vec<PortalView> {
        views::all(&self.means.portals, &**self.means.custody.store()).await
    }
}

fn ok(value: &impl Serialize) -> Answer {
    answer(StatusCode::OK, value)
}

fn readable(details: Details) -> Result<Details, Refusal> {
    match &details.trouble {
        None => Ok(details),
        Some(trouble) => Err(Refusal::later(trouble.clone())),
    }
}

/// How many lines: once, and a number.
pub(super) fn limit(query: &str, default: u32) -> Result<u32, Refusal> {
    let refused = || Refusal::bad_request(format!("limit is a number from 1 to {LINES_MAX}"));
    let mut given = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "limit");
    let Some((_, text)) = given.next() else { return Ok(default) };
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse::<u32>().ok().filter(|number| (1..=LINES_MAX).contains(number));
    match (number, given.next()) {
        (Some(number), None) if digits => Ok(number),
        _ => Err(refused()),
    }
}

/// What the body says; without one it is the default.
fn wish(asked: &Asked) -> Result<Replace, Refusal> {
    let body = asked.body();
    if body.is_empty() {
        return Ok(Replace::No);
    }
    if !is_kind(asked.headers(), "application/json") {
        return Err(Refusal::unsupported("the body is application/json"));
    }
    // A list of fields would be read, too.
    let is_object = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    let wish = serde_json::from_slice::<Wish>(body).ok().filter(|_| is_object);
    let wish = wish.ok_or_else(|| Refusal::bad_request(r#"the body is {"replace": true}"#))?;
    Ok(if wish.replace { Replace::Yes } else { Replace::No })
}

/// Whether the body is of this type, whatever its parameters.
pub(super) fn is_kind(headers: &HeaderMap, wanted: &str) -> bool {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(wanted))
}

const DESCRIPTION: &str = include_str!("openapi.json");
/// A screen full.
const LEDGER_LINES: u32 = 20;
/// As much as anybody reads at once.
const LINES_MAX: u32 = 1_000;
