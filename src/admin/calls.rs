//! The latest calls: a page for the operator, a list for programs.

use http::StatusCode;
use minijinja::Value;
use minijinja::value::Serde;
use serde::Serialize;
use serde_json::json;

use crate::audit::{Entry, Filter};
use crate::credential::unix_now;
use crate::door::Answer;

use super::Admin;
use super::api::limit;
use super::page::{html, render, whole};
use super::refusal::{Refusal, json as answer};
use super::words::Moment;

/// What the page shows.
#[derive(Debug, Serialize)]
struct Shown {
    now: u64,
    /// Whether calls are kept at all.
    keeps: bool,
    calls: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    at: Moment,
    tone: &'static str,
    call: Entry,
}

impl Admin {
    /// The page, or with `?fragment` only what changes.
    pub(super) async fn calls_page(&self, query: Option<&str>) -> Result<Answer, Refusal> {
        let now = unix_now();
        let calls = self.latest(&Filter::default(), LINES).await?;
        let shown = Shown {
            now,
            keeps: self.means.config.load().audit.keep.is_some(),
            calls: calls.into_iter().map(|call| Row::new(call, now)).collect(),
        };
        let main = render("calls.html", CALLS, Value::from(Serde(&shown)))?;
        if query == Some("fragment") {
            return Ok(html(StatusCode::OK, main));
        }
        whole(main)
    }

    /// `/api/v1/calls`
    pub(super) async fn calls(&self, query: &str) -> Result<Answer, Refusal> {
        let filter = Filter {
            client: name(query, "client")?,
            portal: name(query, "portal")?,
            ..Filter::default()
        };
        let calls = self.latest(&filter, limit(query, LINES)?).await?;
        Ok(answer(StatusCode::OK, &json!({"calls": calls})))
    }

    async fn latest(&self, filter: &Filter, limit: u32) -> Result<Vec<Entry>, Refusal> {
        self.means.calls.latest(filter, limit).await.map_err(|error| {
            tracing::warn!(%error, "calls cannot be shown");
            Refusal::later("the calls that are kept cannot be read now; see the gateway's log")
        })
    }
}

impl Row {
    fn new(call: Entry, now: u64) -> Self {
        let is_unknown = call.executed.as_deref() == Some("unknown");
        let tone = match call.status {
            _ if is_unknown || call.not_kept.is_some() => "warn",
            Some(status) if status < 400 => "good",
            Some(_) => "bad",
            None => "idle",
        };
        Self { at: Moment::new(call.at_ms / 1_000, now), tone, call }
    }
}

/// A parameter that is a name: once, and of what names are made of.
fn name(query: &str, wanted: &str) -> Result<Option<String>, Refusal> {
    let mut given = form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == wanted);
    let Some((_, text)) = given.next() else { return Ok(None) };
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_name = text.len() <= NAME_BYTES_MAX
        && text.bytes().next().is_some_and(fits)
        && text.bytes().all(|byte| fits(byte) || b".:-".contains(&byte));
    if !is_name || given.next().is_some() {
        return Err(Refusal::bad_request(format!("{wanted} is one name, such as acme")));
    }
    Ok(Some(text.into_owned()))
}

const CALLS: &str = include_str!("calls.html");
/// A screen full.
const LINES: u32 = 50;
/// The longest domain name, and a portal that came by itself is called by it.
const NAME_BYTES_MAX: usize = 255;
