//! The status page: one look says whether the portals are served, and what to do where they are not.
//! It is whole without a script; the script only keeps it fresh.

use http::header::{CONTENT_SECURITY_POLICY, HeaderName, LOCATION, REFERRER_POLICY};
use http::{HeaderValue, StatusCode};
use minijinja::value::Serde;
use minijinja::{Environment, UndefinedBehavior, Value};
use serde::Serialize;

use crate::connect::{Form, Happening};
use crate::credential::{Replace, unix_now};
use crate::door::{self, Answer, Asked};
use crate::views::PortalView;
use crate::views::clients::{self, ClientView};

use super::Admin;
use super::api::is_kind;
use super::deeds::Deed;
use super::refusal::Refusal;
use super::route::{self, Part};
use super::wall;
use super::words::{self, Moment};

/// What the page shows.
#[derive(Debug, Serialize)]
struct Shown {
    version: &'static str,
    uptime: String,
    now: u64,
    csrf: String,
    reasons: Vec<String>,
    cards: Vec<Card>,
    clients: Vec<Row>,
    events: Vec<Event>,
    calls: Calls,
    callback: String,
}

/// A portal.
#[derive(Debug, Serialize)]
struct Card {
    view: PortalView,
    /// Its name as part of a path.
    path: String,
    state: String,
    tone: &'static str,
    advice: Option<&'static str>,
    expires: Option<Moment>,
    refreshed: Option<Moment>,
}

/// A client.
#[derive(Debug, Serialize)]
struct Row {
    view: ClientView,
    rules: String,
    tone: &'static str,
    advice: Option<String>,
    expires: Option<Moment>,
    used: Option<Moment>,
}

/// Something that happened.
#[derive(Debug, Serialize)]
struct Event {
    at: Moment,
    portal: Option<String>,
    what: String,
}

/// Where tools call.
#[derive(Debug, Serialize)]
struct Calls {
    addresses: Vec<String>,
    curl: Option<String>,
}

impl Admin {
    /// The page, or with `?fragment` only what changes.
    pub(super) async fn page(&self, query: Option<&str>) -> Result<Answer, Refusal> {
        let shown = self.shown().await;
        let main = render("main.html", MAIN, Value::from(Serde(&shown)))?;
        if query == Some("fragment") {
            return Ok(html(StatusCode::OK, main));
        }
        whole(main)
    }

    async fn shown(&self) -> Shown {
        let now = unix_now();
        let views = self.portal_views().await;
        let clients = clients::of_running(&self.means.clients).await;
        let events = self.means.connect.recent().all();
        Shown {
            clients: clients.into_iter().map(|view| Row::new(view, now)).collect(),
            version: env!("CARGO_PKG_VERSION"),
            uptime: words::uptime(self.started.elapsed()),
            now,
            csrf: self.csrf.expose().to_owned(),
            reasons: self.means.readiness.reasons(),
            calls: Calls::of(&self.means.addresses, &views),
            cards: views.into_iter().map(|view| Card::new(view, now)).collect(),
            events: events.into_iter().map(|happening| Event::new(happening, now)).collect(),
            callback: self.means.config.load().callback.public_url.clone(),
        }
    }

    /// A button was pressed. Where that leads is not followed by the form, but by a page or a
    /// redirect of our own: a policy on forms holds for the whole chain of redirects behind them,
    /// and nobody knows where a portal sends its users to log in.
    pub(super) async fn form(
        &self,
        deed: Deed,
        name: String,
        asked: &Asked,
    ) -> Result<Answer, Refusal> {
        if !is_kind(asked.headers(), "application/x-www-form-urlencoded") {
            return Err(Refusal::unsupported("the body is a form of this page"));
        }
        let form = Form::parse(asked.body());
        wall::check_token(&self.csrf, asked.method(), form.text("csrf"))?;
        if deed == Deed::Connect {
            let replace = match form.text("replace") {
                Some(_checked) => Replace::Yes,
                None => Replace::No,
            };
            let link = self.begin(&name, replace)?.link;
            let shown = Value::from_pairs([("link", link), ("name", name)]);
            return Ok(html(StatusCode::OK, render("connect.html", CONNECT, shown)?));
        }
        self.carry_out(deed, &name).await?;
        let mut answer = door::text(StatusCode::SEE_OTHER, "done\n");
        answer.headers_mut().insert(LOCATION, HeaderValue::from_static("/"));
        Ok(answer)
    }
}

impl Card {
    fn new(view: PortalView, now: u64) -> Self {
        let moment = |at: Option<u64>| at.map(|at| Moment::new(at, now));
        Self {
            path: route::encode(&view.name),
            state: words::state(&view),
            tone: words::tone(&view),
            advice: words::advice(&view),
            expires: moment(view.expires_at),
            refreshed: moment(view.refreshed_at),
            view,
        }
    }
}

impl Row {
    fn new(view: ClientView, now: u64) -> Self {
        let moment = |at: Option<u64>| at.map(|at| Moment::new(at, now));
        let tone = match view.state.as_str() {
            "ready" => "good",
            "no key" => "idle",
            "expired" => "warn",
            _ => "bad",
        };
        Self {
            rules: view.rules(),
            tone,
            advice: view.advice(),
            expires: moment(view.expires_at),
            used: moment(view.last_used_at),
            view,
        }
    }
}

impl Event {
    fn new(happening: Happening, now: u64) -> Self {
        let Happening { at, portal, what } = happening;
        Self { at: Moment::new(at, now), portal, what }
    }
}

impl Calls {
    fn of(addresses: &[String], views: &[PortalView]) -> Self {
        // With one portal its name may be left out, and is.
        let path = match views {
            [] => None,
            [_one] => Some("/rest/server.time".to_owned()),
            [first, ..] => Some(format!("/{}/rest/server.time", first.name)),
        };
        let curl = addresses.first().zip(path).map(|(address, path)| {
            match address.strip_prefix("unix:") {
                Some(socket) => format!("curl --unix-socket {socket} http://localhost{path}"),
                None => format!("curl {address}{path}"),
            }
        });
        Self { addresses: addresses.to_vec(), curl }
    }
}

/// What a page loads besides.
pub(super) fn part(part: Part) -> Answer {
    let (kind, text) = match part {
        Part::Style => ("text/css; charset=utf-8", STYLE),
        Part::Script => ("text/javascript; charset=utf-8", SCRIPT),
        Part::Icon => ("image/svg+xml", ICON),
    };
    door::page(StatusCode::OK, kind, text)
}

/// A sentence for whoever looks at a browser.
pub(super) fn said(status: StatusCode, text: &str) -> Answer {
    let title = status.canonical_reason().unwrap_or("Refused");
    let shown = Value::from_pairs([("title", title), ("text", text)]);
    match render("said.html", SAID, shown) {
        Ok(page) => html(status, page),
        Err(_told) => door::text(status, format!("{text}\n")),
    }
}

/// A page of its own around what changes.
pub(super) fn whole(main: String) -> Result<Answer, Refusal> {
    let shown = Value::from_pairs([("main", Value::from_safe_string(main))]);
    Ok(html(StatusCode::OK, render("page.html", PAGE, shown)?))
}

pub(super) fn render(name: &str, template: &str, shown: Value) -> Result<String, Refusal> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.render_named_str(name, template, shown).map_err(|error| {
        tracing::error!(%error, "a page cannot be made");
        Refusal::later("this page cannot be made; see the gateway's log")
    })
}

pub(super) fn html(status: StatusCode, body: String) -> Answer {
    let mut answer = door::page(status, "text/html; charset=utf-8", body);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    // Without a referrer a browser would not say either that a form is from here.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    // Whoever opened this page in a window has no hold of it.
    let opener = HeaderName::from_static("cross-origin-opener-policy");
    headers.insert(opener, HeaderValue::from_static("same-origin"));
    // One address, two answers.
    headers.insert(http::header::VARY, HeaderValue::from_static("accept"));
    answer
}

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; form-action 'self'; base-uri 'none'; \
                      frame-ancestors 'none'";
const PAGE: &str = include_str!("page.html");
const MAIN: &str = include_str!("main.html");
const CONNECT: &str = include_str!("connect.html");
const SAID: &str = include_str!("said.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
const ICON: &str = include_str!("icon.svg");

#[cfg(test)]
mod tests;
