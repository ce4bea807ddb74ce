//! Events as Bitrix24's servers post them: a form with PHP's brackets in its names, in which
//! everything is a string (Bitrix24 REST docs, events; rest module, event/sender.php). They come
//! from the cloud and not from the portal, and are never sent again.

use serde::Deserialize;
use serde_json::{Map, Value as Json, json};

use super::frame::replace;
use super::params;
use super::sender;
use super::state::{Inner, State};
use super::text;
use super::tokens::Owner;
use super::value::Value;

/// An event to be sent.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Order {
    event: String,
    /// The app's address; the `event_url` switch if absent.
    url: Option<String>,
    member_id: Option<String>,
    /// Whose action it was.
    user_id: Option<u32>,
    /// Nobody's: a robot's or an agent's. Then there are no tokens in it.
    without_user: bool,
    /// Replaces fields of `data`; `null` leaves one out.
    data: Map<String, Json>,
    /// The same for `auth`.
    auth: Map<String, Json>,
    /// When, unix seconds.
    ts: Option<u64>,
}

/// An uninstallation or a new installation.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Change {
    /// Where ONAPPUNINSTALL is posted to, if anywhere.
    url: Option<String>,
    member_id: Option<String>,
    /// Whether the user wants the app's settings gone, too.
    clean: bool,
    /// When, unix seconds.
    ts: Option<u64>,
}

/// Sends an event and tells what the app answered. It changes nothing here.
pub(super) async fn send(state: &State, order: &Json) -> Result<Json, String> {
    let order: Order = read(order)?;
    if order.event.is_empty() {
        return Err("which event? such as {\"event\": \"ONAPPINSTALL\"}".to_owned());
    }
    let url = order.url.clone().or_else(|| state.lock().switches.event_url.clone());
    let url = url.ok_or("the app has no address: give url, or throw event_url")?;
    let body = params::build_query(&event(state, &order));
    sender::post(&url, &headers(), body).await
}

/// Ends every token of the portal, and tells the app.
pub(super) async fn uninstall(state: &State, order: &Json) -> Result<Json, String> {
    let change: Change = read(order)?;
    let member_id = change.member_id.unwrap_or_else(|| state.identity.member_id.clone());
    remove(state, &member_id);
    let url = change.url.or_else(|| state.lock().switches.event_url.clone());
    let Some(url) = url else {
        return Ok(json!({"uninstalled": member_id}));
    };
    let mut data = Map::new();
    data.insert("CLEAN".to_owned(), json!(if change.clean { "1" } else { "0" }));
    let event = json!({
        "event": "ONAPPUNINSTALL", "url": url, "member_id": member_id, "data": data,
        "ts": change.ts,
    });
    let told = send(state, &event).await?;
    Ok(json!({"uninstalled": member_id, "event": told}))
}

/// Installs the app anew: with a new `application_token`, and none of the old tokens.
pub(super) fn reinstall(state: &State, order: &Json) -> Result<Json, String> {
    let change: Change = read(order)?;
    let member_id = change.member_id.unwrap_or_else(|| state.identity.member_id.clone());
    let mut inner = state.lock();
    inner.tokens.uninstall(&member_id);
    inner.installs.renew(&member_id);
    let application_token = inner.installs.of(&member_id).application_token.clone();
    Ok(json!({"installed": member_id, "application_token": application_token}))
}

fn remove(state: &State, member_id: &str) {
    let mut inner = state.lock();
    inner.installs.remove(member_id);
    inner.tokens.uninstall(member_id);
}

fn read<T: for<'de> Deserialize<'de>>(order: &Json) -> Result<T, String> {
    serde_json::from_value(order.clone()).map_err(|error| error.to_string())
}

fn event(state: &State, order: &Order) -> Value {
    let name = order.event.to_ascii_uppercase();
    let mut inner = state.lock();
    let owner = Owner {
        member_id: order.member_id.clone().unwrap_or_else(|| state.identity.member_id.clone()),
        user_id: order.user_id.unwrap_or(state.identity.user_id),
    };
    let mut data = data(&name, &owner, &mut inner);
    let mut auth = auth(state, &mut inner, &name, owner, order.without_user);
    replace(&mut data, &order.data);
    replace(&mut auth, &order.auth);
    let mut event = Value::map([("event", name.into())]);
    if !OF_THE_APP.contains(&order.event.to_ascii_uppercase().as_str()) {
        event.set("event_handler_id", "185".into());
    }
    event.set("data", data);
    event.set("ts", order.ts.unwrap_or_else(text::unix_seconds).into());
    event.set("auth", auth);
    event
}

/// What each event tells.
fn data(event: &str, owner: &Owner, inner: &mut Inner) -> Value {
    let language = ("LANGUAGE_ID", Value::from("en"));
    match event {
        "ONAPPINSTALL" => {
            let finished = inner.switches.installed || inner.installs.finished(&owner.member_id);
            let installed = if finished { "Y" } else { "N" };
            let version = ("VERSION", "1".into());
            Value::map([version, ("ACTIVE", "Y".into()), ("INSTALLED", installed.into()), language])
        }
        "ONAPPUPDATE" => {
            Value::map([("VERSION", "2".into()), ("PREVIOUS_VERSION", "1".into()), language])
        }
        "ONAPPUNINSTALL" => Value::map([language, ("CLEAN", "0".into())]),
        "ONAPPPAYMENT" => Value::map([
            ("CODE", "sandbox".into()),
            ("VERSION", "1".into()),
            ("STATUS", "S".into()),
            ("PAYMENT_EXPIRED", "N".into()),
            ("DAYS", "30".into()),
            language,
        ]),
        "ONAPPMETHODCONFIRM" => {
            let switches = inner.switches.clone();
            let token = inner.tokens.issue_access(owner.clone(), &switches).access_token;
            let method = ("METHOD", "user.add".into());
            Value::map([("TOKEN", token.into()), method, ("CONFIRMED", "1".into()), language])
        }
        _ => Value::map([("FIELDS", Value::map([("ID", "7405".into())]))]),
    }
}

/// The `auth` block: events of the app's own life carry no tokens, and only a few carry a refresh
/// token.
fn auth(state: &State, inner: &mut Inner, event: &str, owner: Owner, nobody: bool) -> Value {
    let switches = inner.switches.clone();
    let (portal, oauth) = (state.url_of(inner, &owner.member_id), state.oauth_url(&switches));
    let domain = portal.split("://").nth(1).unwrap_or_default().to_owned();
    let member_id = owner.member_id.clone();
    let user_id = owner.user_id;
    let mut auth = Value::EMPTY;
    let tokens = !nobody && !WITHOUT_TOKENS.contains(&event);
    let with_refresh = WITH_REFRESH_TOKEN.contains(&event);
    let pair = tokens.then(|| {
        if with_refresh {
            inner.tokens.issue(owner, &switches)
        } else {
            inner.tokens.issue_access(owner, &switches)
        }
    });
    if let Some(pair) = &pair {
        auth.set("access_token", pair.access_token.as_str().into());
        auth.set("expires", pair.expires.into());
        auth.set("expires_in", pair.expires_in.into());
        auth.set("scope", super::SCOPES.join(",").into());
    }
    auth.set("domain", domain.into());
    auth.set("server_endpoint", format!("{oauth}/rest/").into());
    if tokens {
        auth.set("status", "L".into());
    }
    auth.set("client_endpoint", format!("{portal}/rest/").into());
    auth.set("member_id", member_id.as_str().into());
    if let Some(pair) = &pair {
        auth.set("user_id", i64::from(user_id).into());
        if with_refresh {
            auth.set("refresh_token", pair.refresh_token.as_str().into());
        }
    }
    if event != "ONAPPPAYMENT" {
        let token = inner.installs.of(&member_id).application_token.clone();
        auth.set("application_token", token.into());
    }
    auth
}

fn headers() -> Vec<(String, String)> {
    let fields = [
        ("user-agent", "Bitrix24 Webhook Engine"),
        ("content-type", "application/x-www-form-urlencoded"),
        ("accept", "*/*"),
    ];
    fields.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec()
}

/// Events without tokens (rest module; the table of the REST docs).
const WITHOUT_TOKENS: [&str; 3] = ["ONAPPUNINSTALL", "ONAPPPAYMENT", "ONAPPMETHODCONFIRM"];
/// Events with a refresh token (rest module, `sendRefreshToken`).
const WITH_REFRESH_TOKEN: [&str; 5] =
    ["ONAPPINSTALL", "ONAPPUPDATE", "ONSUBSCRIPTIONRENEW", "ONAPPTEST", "ONOFFLINEEVENT"];
/// Events that are sent to an address of the app's settings and not to a bound handler.
const OF_THE_APP: [&str; 1] = ["ONAPPINSTALL"];
