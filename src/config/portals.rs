//! `[apps.NAME]` and `[portals.NAME]`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::document::{Findings, Flaws, Place, Reported, Table, nearest};
use super::values::Value;
use super::{Access, App, Endpoint, Inject, Plan, Portal, Refresh};
use super::{address, secrets, values};
use crate::secret::Secret;

/// The sections of one kind, by name.
pub(super) type Named<'i> = Vec<(String, Table<'i>)>;

/// An application, or the knowledge that its section is wrong: portals may name it all the same.
pub(super) type Apps = BTreeMap<String, Result<Arc<App>, Reported>>;

/// Every `[apps.NAME]`.
pub(super) fn apps(tables: Named<'_>, found: &mut Findings<'_>) -> Apps {
    let mut apps = Apps::new();
    for (name, mut table) in tables {
        let app = app(&name, &mut table, found).map(Arc::new);
        table.finish(found);
        apps.insert(name, app);
    }
    apps
}

/// Every `[portals.NAME]`; one that is wrong is left out, and reported.
pub(super) fn portals(
    tables: Named<'_>,
    apps: &Apps,
    found: &mut Findings<'_>,
) -> BTreeMap<String, Arc<Portal>> {
    let mut portals: BTreeMap<String, Arc<Portal>> = BTreeMap::new();
    for (name, mut table) in tables {
        let portal = portal(&name, &mut table, apps, found);
        let place = table.place("url");
        table.finish(found);
        let Ok(portal) = portal else { continue };
        let here = (&portal.url.host, portal.url.port);
        match portals.values().find(|other| (&other.url.host, other.url.port) == here) {
            Some(other) => {
                let other = &other.name;
                found.report(&place, format!("url: is the url of [portals.{other}] too; keep one"));
            }
            None => drop(portals.insert(name, Arc::new(portal))),
        }
    }
    portals
}

/// Settles the portal of requests that name none.
pub(super) fn default_portal(
    given: Option<String>,
    names: &[String],
    place: &Place,
    found: &mut Findings<'_>,
) -> Option<String> {
    let Some(given) = given else {
        let [only] = names else { return None };
        return Some(only.clone());
    };
    if names.contains(&given) {
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
    let oauth_server = table.required(found, "oauth_server", |value| {
        let server = address::endpoint(values::plain(value)?)?;
        address::require_tls(&server, "")?;
        Ok(server)
    });
    let scope = table.optional(found, "scope", values::text);
    let redirect_uri = table.optional(found, "redirect_uri", values::text);
    Ok(App {
        name: name.to_owned(),
        client_id: client_id?,
        client_secret: client_secret?,
        oauth_server: oauth_server?,
        scope: scope?,
        redirect_uri: redirect_uri?,
        accept_installs: false,
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
    let url = table.required(found, "url", |value| portal_url(value, permitted));
    let app = portal_app(table, apps, found);
    let inject = table.required(found, "inject", |value| values::choice(value, INJECT));
    let refresh = table.required(found, "refresh", refresh);
    let plan = table.required(found, "plan", |value| values::choice(value, PLAN));
    let base = found.base();
    let ca_file = table.optional(found, "ca_file", |value| Ok(base.join(values::text(value)?)));
    allow_http?;
    Ok(Portal {
        name: name.to_owned(),
        url: url?,
        access: Access::Application(app?),
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

fn portal_url(value: &Value<'_>, allow_http: bool) -> Result<Endpoint, Flaws> {
    let url = address::endpoint(values::plain(value)?)?;
    if !allow_http {
        address::require_tls(&url, ", or set allow_http = true if the network is yours")?;
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
        (None, _) => "app: there is no app; add [apps.main] with client_id and client_secret_file",
        (Some((first, _)), Some(_)) => {
            let text = format!("app is missing, and there are several; write app = {first:?}");
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
