//! The app's page as a portal opens it: a form that the user's browser posts to the app, from a page
//! with a frame, or without a browser (`POST /sandbox/install`).
//!
//! It comes at every opening, the token in it is that of whoever opened it, and there is no
//! `client_id` in it (Bitrix24 REST docs, local apps; rest module, app.layout).

use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::answer::Answer;
use super::installs::Install;
use super::params;
use super::people;
use super::state::State;
use super::text;
use super::tokens::Owner;
use super::value::Value;
use super::wire::Request;
use super::{pages, sender};

/// An opening of the app's page.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Opening {
    /// The app's address; the `handler_url` switch if absent.
    url: Option<String>,
    member_id: Option<String>,
    user_id: Option<u32>,
    /// Replaces fields of the query; `null` leaves one out.
    query: Map<String, Json>,
    /// The same for the body.
    form: Map<String, Json>,
    /// Replaces headers, by their names in lower case.
    headers: Map<String, Json>,
}

/// What the browser posts.
struct Form {
    /// The app's address with the query.
    action: String,
    fields: Vec<(String, String)>,
    /// The portal's own address.
    portal: String,
    app_sid: String,
    owner: Owner,
}

/// Posts the form as the browser would, and tells what the app answered.
pub(super) async fn install(state: &State, order: &Json) -> Result<Json, String> {
    let opening = read(order)?;
    let form = form(state, &opening)?;
    let mut headers = Value::map([
        ("content-type", "application/x-www-form-urlencoded".into()),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64)".into()),
        ("accept", "text/html,application/xhtml+xml,*/*;q=0.8".into()),
        ("origin", form.portal.as_str().into()),
        ("referer", format!("{}/", form.portal).into()),
        ("sec-fetch-site", "cross-site".into()),
        ("sec-fetch-mode", "navigate".into()),
        ("sec-fetch-dest", "iframe".into()),
    ]);
    replace(&mut headers, &opening.headers);
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form.fields).finish();
    sender::post(&form.action, &texts(&headers), body).await
}

/// The portal's page around the app: `GET /sandbox/app?url=...&user_id=...&member_id=...`.
pub(super) fn page(state: &State, request: &Request) -> Result<Answer, String> {
    let query = params::from_query(&request.head);
    let text = |name: &str| query.get(name).and_then(Value::text).filter(|text| !text.is_empty());
    let visitor = state.visitor(&state.lock(), &request.head);
    let user_id = text("user_id").and_then(|id| id.parse().ok());
    let opening = Opening {
        url: text("url"),
        member_id: text("member_id").or(Some(visitor.member_id)),
        user_id: user_id.or(Some(visitor.user_id)),
        ..Opening::default()
    };
    let form = form(state, &opening)?;
    let inner = state.lock();
    let finished = inner.switches.installed || inner.installs.finished(&form.owner.member_id);
    drop(inner);
    let (scheme, rest) = form.action.split_once("://").unwrap_or_default();
    let origin = format!("{scheme}://{}", rest.split(['/', '?']).next().unwrap_or_default());
    let (host, protocol) = domain(&form.portal);
    let blanks = [
        ("user", people::name(form.owner.user_id)),
        ("state", if finished { "finished" } else { "waiting for the application" }.to_owned()),
        ("action", form.action),
        ("frame", format!("{host}|{protocol}|{}", form.app_sid)),
        ("sid", form.app_sid),
        ("origin", origin),
    ];
    let fields = form.fields.iter().map(|(name, value)| pages::hidden(name, value));
    Ok(pages::app(&blanks, &fields.collect::<String>()))
}

/// The app's page has called `BX24.installFinish()`.
pub(super) fn finish(state: &State, order: &Json) -> Result<Json, String> {
    let app_sid = order.get("app_sid").and_then(Json::as_str).unwrap_or_default();
    if state.lock().installs.finish(app_sid) {
        Ok(json!({"finished": true}))
    } else {
        Err("no page was rendered with this app_sid".to_owned())
    }
}

fn read(order: &Json) -> Result<Opening, String> {
    serde_json::from_value(order.clone()).map_err(|error| error.to_string())
}

fn form(state: &State, opening: &Opening) -> Result<Form, String> {
    let mut inner = state.lock();
    let switches = inner.switches.clone();
    let url = opening.url.clone().or_else(|| switches.handler_url.clone());
    let url = url.ok_or("the app has no address: give url, or throw handler_url")?;
    let identity = &state.identity;
    let owner = Owner {
        member_id: opening.member_id.clone().unwrap_or_else(|| identity.member_id.clone()),
        user_id: opening.user_id.or(switches.browser_user).unwrap_or(identity.user_id),
    };
    let app_sid = text::random_hex(16);
    inner.installs.open_page(&app_sid, &owner.member_id);
    let pair = inner.tokens.issue(owner.clone(), &switches);
    let install: Install = inner.installs.of(&owner.member_id).clone();
    let (portal, oauth) = (state.url_of(&inner, &owner.member_id), state.oauth_url(&switches));
    drop(inner);
    let (host, protocol) = domain(&portal);
    let mut query = Value::map([
        ("DOMAIN", host.into()),
        ("PROTOCOL", protocol.into()),
        ("LANG", "en".into()),
        ("APP_SID", app_sid.as_str().into()),
    ]);
    let mut fields = Value::map([
        ("AUTH_ID", pair.access_token.into()),
        ("AUTH_EXPIRES", pair.expires_in.to_string().into()),
        ("REFRESH_ID", pair.refresh_token.into()),
        ("SERVER_ENDPOINT", format!("{oauth}/rest/").into()),
    ]);
    if switches.page_application_token {
        fields.set("APPLICATION_TOKEN", install.application_token.into());
        fields.set("APPLICATION_SCOPE", super::SCOPES.join(",").into());
    }
    fields.set("member_id", owner.member_id.as_str().into());
    fields.set("status", "L".into());
    fields.set("PLACEMENT", "DEFAULT".into());
    fields.set("PLACEMENT_OPTIONS", "{\"any\":\"6\\/\"}".into());
    replace(&mut query, &opening.query);
    replace(&mut fields, &opening.form);
    let mark = if url.contains('?') { '&' } else { '?' };
    let action = format!("{url}{mark}{}", params::build_query(&query));
    Ok(Form { action, fields: texts(&fields), portal, app_sid, owner })
}

/// `host[:port]` as portals write it, and 1 for HTTPS.
fn domain(portal: &str) -> (String, &'static str) {
    let (scheme, host) = portal.split_once("://").unwrap_or(("http", portal));
    let (usual, protocol) = if scheme == "https" { (":443", "1") } else { (":80", "0") };
    (host.strip_suffix(usual).unwrap_or(host).to_owned(), protocol)
}

/// Puts other values in the place of these; `null` takes one out.
pub(super) fn replace(values: &mut Value, others: &Map<String, Json>) {
    for (name, value) in others {
        match value {
            Json::Null => drop(values.remove(name)),
            value => values.set(name, value.clone().into()),
        }
    }
}

fn texts(values: &Value) -> Vec<(String, String)> {
    let texts = values.entries().iter().map(|(name, value)| (name.clone(), value.text()));
    texts.filter_map(|(name, text)| Some((name, text?))).collect()
}
