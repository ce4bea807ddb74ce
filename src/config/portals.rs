//! `[apps.NAME]` and `[portals.NAME]`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::document::{Findings, Flaws, Place, Reported, Table, nearest};
use super::values::Value;
use super::{Access, App, Endpoint, IncomingWebhook, Inject, Plan, Portal, Refresh};
use super::{address, secrets, values};
use crate::secret::Secret;

/// The sections of one kind, by name.
pub(super) type Named<'i> = Vec<(String, Table<'i>)>;

/// An application, or the knowledge that its section is wrong: portals may name it all the same.
pub(super) type Apps = BTreeMap<String, Result<Arc<App>, Reported>>;

/// An application whose OAuth server speaks plain HTTP to another machine, and where that stands.
#[derive(Debug)]
pub(super) struct Unencrypted {
    app: Arc<App>,
    place: Place,
}

/// Every `[apps.NAME]`, and those whose OAuth server speaks plain HTTP, which only their portals
/// can allow.
pub(super) fn apps(tables: Named<'_>, found: &mut Findings<'_>) -> (Apps, Vec<Unencrypted>) {
    let mut apps = Apps::new();
    let mut unencrypted = Vec::new();
    for (name, mut table) in tables {
        let app = app(&name, &mut table, found).map(Arc::new);
        let place = table.place("oauth_server");
        table.finish(found);
        if let Ok(app) = &app
            && address::require_tls(&app.oauth_server, "").is_err()
        {
            unencrypted.push(Unencrypted { app: app.clone(), place });
        }
        apps.insert(name, app);
    }
    (apps, unencrypted)
}

/// Every `[portals.NAME]`; those that are wrong are reported, and leave nothing.
pub(super) fn portals(
    tables: Named<'_>,
    apps: &Apps,
    found: &mut Findings<'_>,
) -> Result<BTreeMap<String, Arc<Portal>>, Reported> {
    let mut portals: BTreeMap<String, Arc<Portal>> = BTreeMap::new();
    let mut wrong = false;
    for (name, mut table) in tables {
        let portal = portal(&name, &mut table, apps, found);
        let (key, place) = url_key(&table);
        table.finish(found);
        let Ok(portal) = portal else {
            wrong = true;
            continue;
        };
        let here = (&portal.url.host, portal.url.port);
        match portals.values().find(|other| (&other.url.host, other.url.port) == here) {
            Some(other) => {
                let text = format!("{key}: is the url of [portals.{}] too; keep one", other.name);
                found.report(&place, text);
                wrong = true;
            }
            None => drop(portals.insert(name, Arc::new(portal))),
        }
    }
    if wrong { Err(Reported) } else { Ok(portals) }
}

/// Reports OAuth servers that would get the application's secret unencrypted, unless they are a
/// portal for which that is allowed.
pub(super) fn check_unencrypted(
    apps: &[Unencrypted],
    portals: &BTreeMap<String, Arc<Portal>>,
    found: &mut Findings<'_>,
) {
    for Unencrypted { app, place } in apps {
        let server = &app.oauth_server;
        // A portal has such a url only where it says allow_http.
        let allows = |portal: &Arc<Portal>| {
            let uses = matches!(&portal.access, Access::Application(used) if used.name == app.name);
            uses && portal.url == *server
        };
        if !portals.values().any(allows) {
            let name = &app.name;
            let text = format!(
                "oauth_server: http:// would send credentials unencrypted; write https://, or, for \
                 an old portal that issues its own tokens, give it a [portals.NAME] with \
                 app = \"{name}\", url = \"{server}\" and allow_http = true"
            );
            found.report(place, text);
        }
    }
}

/// Settles the portal of requests that name none. Where portals come by themselves, it may be one
/// that has not come yet, by its domain.
pub(super) fn default_portal(
    given: Option<String>,
    names: &[String],
    (place, apps): (&Place, &Apps),
    found: &mut Findings<'_>,
) -> Option<String> {
    let Some(given) = given else {
        let [only] = names else { return None };
        return Some(only.clone());
    };
    let accepts = || apps.values().flatten().any(|app| app.accept_installs);
    if names.contains(&given) || (given.contains(['.', ':']) && accepts()) {
        return Some(given);
    }
    let hint = choose(&given, names, "portals");
    found.report(
        place,
        format!("default_portal: no portal is called {}; {hint}", values::echo(&given)),
    );
    None
}

fn app(name: &str, table: &mut Table<'_>, found: &mut Findings<'_>) -> Result<App, Reported> {
    let client_id = table.required(found, "client_id", client_id);
    let client_secret = client_secret(table, found);
    let oauth_server = table
        .required(found, "oauth_server", |value| Ok(address::endpoint(values::plain(value)?)?));
    let scope = table.optional(found, "scope", values::text);
    let redirect_uri = table.optional(found, "redirect_uri", values::text);
    let accept_installs = table.required(found, "accept_installs", values::boolean);
    Ok(App {
        name: name.to_owned(),
        client_id: client_id?,
        client_secret: client_secret?,
        oauth_server: oauth_server?,
        scope: scope?,
        redirect_uri: redirect_uri?,
        accept_installs: accept_installs?,
    })
}

fn client_id(value: &Value<'_>) -> Result<String, Flaws> {
    let id = values::text(value)?;
    if id.chars().any(char::is_whitespace) {
        return Err("holds a blank; copy it as Bitrix24 shows it".into());
    }
    Ok(id)
}

/// The one secret of an application, from exactly one of three places.
fn client_secret(table: &mut Table<'_>, found: &mut Findings<'_>) -> Result<Secret, Reported> {
    if let Some((_, secret)) = secrets::given(table, found, &CLIENT_SECRET)? {
        return Ok(secret);
    }
    let which = "client_secret_file, client_secret_env or client_secret";
    let text = format!("client_secret is missing; give one of {which}");
    found.report(&table.place("client_secret"), text);
    Err(Reported)
}

fn portal(
    name: &str,
    table: &mut Table<'_>,
    apps: &Apps,
    found: &mut Findings<'_>,
) -> Result<Portal, Reported> {
    let allow_http = table.required(found, "allow_http", values::boolean);
    let permitted = allow_http.unwrap_or(true);
    let opened = opened(table, apps, found, permitted);
    let inject = table.required(found, "inject", |value| values::choice(value, INJECT));
    let refresh = table.required(found, "refresh", refresh);
    if let Ok((_, Access::IncomingWebhook(_))) = opened {
        let unmeant = [
            ("inject", matches!(inject, Ok(Inject::Bearer | Inject::Parameter))),
            ("refresh", matches!(refresh, Ok(Refresh::Every(_)))),
        ];
        for (key, _) in unmeant.into_iter().filter(|(_, given)| *given) {
            let text = format!("{key}: a webhook holds no token to {key}; leave it out");
            found.report(&table.place(key), text);
        }
    }
    let plan = table.required(found, "plan", |value| values::choice(value, PLAN));
    let base = found.base();
    let ca_file = table.optional(found, "ca_file", |value| Ok(base.join(values::text(value)?)));
    allow_http?;
    let (url, access) = opened?;
    Ok(Portal {
        name: name.to_owned(),
        url,
        access,
        inject: inject?,
        refresh: refresh?,
        plan: plan?,
        ca_file: ca_file?,
    })
}

/// What works and should be better.
pub(super) fn warning(portal: &Portal) -> Option<String> {
    let Refresh::Every(_) = portal.refresh else { return None };
    Some(format!(
        "portals.{}: refresh on a timer: Bitrix24 asks applications not to, and may block those \
         that do; write refresh = \"lazy\" unless you must",
        portal.name
    ))
}

/// `"lazy"`, or how long to wait between two renewals.
fn refresh(value: &Value<'_>) -> Result<Refresh, Flaws> {
    let given = values::plain(value)?;
    if given == "lazy" {
        return Ok(Refresh::Lazy);
    }
    if !given.starts_with(|c: char| c.is_ascii_digit()) {
        let given = values::echo(given);
        let text = format!("{given} is neither \"lazy\" nor an interval such as \"25m\"");
        return Err(text.into());
    }
    values::duration(value, REFRESH_MIN..=REFRESH_MAX).map(Refresh::Every)
}

/// Where a portal lives and what opens it: an application, or a webhook, which says both.
fn opened(
    table: &mut Table<'_>,
    apps: &Apps,
    found: &mut Findings<'_>,
    allow_http: bool,
) -> Result<(Endpoint, Access), Reported> {
    let webhook = webhook(table, found, allow_http);
    if matches!(webhook, Ok(None)) {
        let url = table.required(found, "url", |value| portal_url(value, allow_http));
        let app = portal_app(table, apps, found);
        return Ok((url?, Access::Application(app?)));
    }
    // Asked for, so that they are known, and wrong where they are.
    let url = table.optional(found, "url", |value| portal_url(value, allow_http));
    let app = table.optional(found, "app", values::text);
    let Some((endpoint, webhook)) = webhook? else { return Err(Reported) };
    if app?.is_some() {
        let text = "app and webhook_url exclude each other; keep one";
        found.report(&table.place("app"), text);
        return Err(Reported);
    }
    if url?.is_some_and(|url| url != endpoint) {
        let text = format!("url: is not where the webhook leads, {endpoint}; leave it out");
        found.report(&table.place("url"), text);
        return Err(Reported);
    }
    Ok((endpoint, Access::IncomingWebhook(Arc::new(webhook))))
}

fn webhook(
    table: &mut Table<'_>,
    found: &mut Findings<'_>,
    allow_http: bool,
) -> Result<Option<(Endpoint, IncomingWebhook)>, Reported> {
    let Some((key, url)) = secrets::given(table, found, &WEBHOOK_URL)? else {
        return Ok(None);
    };
    let read = address::incoming_webhook(url.expose()).and_then(|(endpoint, webhook)| {
        if !allow_http {
            address::require_tls(&endpoint, ALLOW_HTTP)?;
        }
        Ok((endpoint, webhook))
    });
    read.map(Some).map_err(|wrong| {
        found.report(&table.place(key), format!("{key}: {wrong}"));
        Reported
    })
}

/// The key that says where a portal lives.
fn url_key(table: &Table<'_>) -> (&'static str, Place) {
    let secrets::Keys { file, environment, inline } = WEBHOOK_URL;
    let given = [file, environment, inline].into_iter().find(|key| table.gives(key));
    let key = given.filter(|_| !table.gives("url")).unwrap_or("url");
    (key, table.place(key))
}

fn portal_url(value: &Value<'_>, allow_http: bool) -> Result<Endpoint, Flaws> {
    let url = address::endpoint(values::plain(value)?)?;
    if !allow_http {
        address::require_tls(&url, ALLOW_HTTP)?;
    }
    Ok(url)
}

fn portal_app(
    table: &mut Table<'_>,
    apps: &Apps,
    found: &mut Findings<'_>,
) -> Result<Arc<App>, Reported> {
    if let Some(name) = table.optional(found, "app", values::text)? {
        return apps.get(&name).cloned().unwrap_or_else(|| {
            let names: Vec<_> = apps.keys().cloned().collect();
            let hint = choose(&name, &names, "apps");
            let name = values::echo(&name);
            found.report(&table.place("app"), format!("app: no app is called {name}; {hint}"));
            Err(Reported)
        });
    }
    let mut all = apps.iter();
    let text = match (all.next(), all.next()) {
        (Some((_, only)), None) => return only.clone(),
        (None, _) => {
            "app: there is no app; add [apps.main] with client_id and client_secret_file, or give \
             the portal a webhook_url_file"
        }
        (Some((first, _)), Some(_)) => {
            let text = format!(
                "app is missing, and there are several; write app = {first:?}, or give the portal a \
                 webhook_url_file"
            );
            found.report(&table.place("app"), text);
            return Err(Reported);
        }
    };
    found.report(&table.place("app"), text);
    Err(Reported)
}

/// How to mend a name that names nothing.
fn choose(given: &str, names: &[String], section: &str) -> String {
    if let Some(near) = nearest(given, names.iter().map(String::as_str)) {
        return format!("did you mean {near:?}?");
    }
    if names.is_empty() {
        return format!("there is none, add [{section}.NAME]");
    }
    format!("choose from {}", names.join(", "))
}

/// How the secret of an application may be given.
const CLIENT_SECRET: secrets::Keys = secrets::Keys {
    file: "client_secret_file",
    environment: "client_secret_env",
    inline: "client_secret",
};

/// How an incoming webhook may be given.
const WEBHOOK_URL: secrets::Keys = secrets::Keys {
    file: "webhook_url_file",
    environment: "webhook_url_env",
    inline: "webhook_url",
};

const ALLOW_HTTP: &str = ", or set allow_http = true if the network is yours";

/// More often, and the application does little else.
const REFRESH_MIN: Duration = Duration::from_mins(1);
/// A token lives an hour; less often is the same as when it is needed.
const REFRESH_MAX: Duration = Duration::from_mins(55);

const INJECT: &[(&str, Inject)] =
    &[("auto", Inject::Auto), ("bearer", Inject::Bearer), ("parameter", Inject::Parameter)];

const PLAN: &[(&str, Plan)] = &[
    ("standard", Plan::Standard),
    ("enterprise", Plan::Enterprise),
    ("unlimited", Plan::Unlimited),
];
