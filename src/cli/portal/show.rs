//! `b24gate portal list` and `b24gate portal show`: what is known of portals, without a token.

use std::fmt::Write as _;
use std::path::Path;

use super::{Failure, ask, chain, failed, known, open, unclear};
use crate::cli::table::{cell, table};
use crate::config::{Access, Config};
use crate::control::{Reply, Request};
use crate::credential::{State, Status, unix_now, utc};
use crate::store::{LedgerEntry, Record, SqliteStore, Store as _, StoreError};
use crate::views::{ChainView, Details, PortalView};

/// A table of the portals.
pub(super) async fn list(config: &Config, state: &Path) -> Result<String, Failure> {
    Ok(summary(&views(config, state).await?))
}

/// What is known of one portal, with the latest `lines` of its ledger.
pub(super) async fn show(
    config: &Config,
    state: &Path,
    name: &str,
    lines: u32,
) -> Result<String, Failure> {
    Ok(page(&details(config, state, name, lines).await?))
}

pub(super) async fn views(config: &Config, state: &Path) -> Result<Vec<PortalView>, Failure> {
    match ask(state, &Request::List).await? {
        Some(Reply::Portals(views)) => return Ok(views),
        Some(_) => return Err(unclear()),
        None => {}
    }
    let (records, _) = look(config, state, None).await?;
    let arrived = records.iter().filter(|record| came_by_itself(config, record));
    let names = config.portals.keys().chain(arrived.map(|record| &record.portal));
    Ok(names.map(|name| view(config, name, record_of(&records, name))).collect())
}

pub(super) async fn details(
    config: &Config,
    state: &Path,
    name: &str,
    lines: u32,
) -> Result<Details, Failure> {
    match ask(state, &Request::Show { portal: name.to_owned(), ledger: lines }).await {
        Ok(Some(Reply::Portal(details))) => return Ok(*details),
        Ok(Some(_)) => return Err(unclear()),
        Ok(None) => {}
        // A misspelt name is not the gateway's failure.
        Err(refused) => return known(config, name).and(Err(refused)),
    }
    let (records, ledger) = look(config, state, Some((name, lines))).await?;
    let record = record_of(&records, name);
    if !record.is_some_and(|record| came_by_itself(config, record)) {
        known(config, name)?;
    }
    Ok(Details::new(view(config, name, record), record, ledger))
}

/// What is known of a portal where no gateway runs.
fn view(config: &Config, name: &str, record: Option<&Record>) -> PortalView {
    let settings = config.portals.get(name);
    let facts = record.map(|record| &record.facts);
    let webhook = settings.and_then(|settings| match &settings.access {
        Access::IncomingWebhook(webhook) => Some(webhook),
        Access::Application(_) => None,
    });
    let mut status = Status::of(record.and_then(|record| record.credential.as_ref()));
    if let Some(webhook) = webhook {
        (status.state, status.user_id) = (State::Connected, Some(webhook.user_id));
    }
    if facts.is_some_and(|facts| facts.disabled) {
        status.state = State::Paused { code: "disabled".to_owned() };
    } else if facts.is_some_and(|facts| facts.uninstalled) {
        status.state = State::Dead { code: "uninstalled".to_owned() };
    }
    let url = settings.map(|settings| &settings.url);
    let url = url.or_else(|| record?.endpoint.as_ref()).map(ToString::to_string);
    let person = facts.and_then(|facts| facts.person.as_ref());
    let named = person.filter(|person| Some(person.user_id) == status.user_id);
    PortalView {
        user_name: named.map(|person| person.name.clone()),
        webhook: webhook.is_some(),
        arrived: facts.is_some_and(|facts| facts.arrived.is_some()),
        disabled: facts.is_some_and(|facts| facts.disabled),
        ..PortalView::new(name, url.unwrap_or_default(), &status, record)
    }
}

/// Whether it is served though the configuration does not name it.
pub(in crate::cli) fn came_by_itself(config: &Config, record: &Record) -> bool {
    record.facts.arrived.is_some() && !config.portals.contains_key(&record.portal)
}

fn record_of<'a>(records: &'a [Record], name: &str) -> Option<&'a Record> {
    records.iter().find(|record| record.portal == name)
}

/// What the store holds, and the ledger of a portal when it is asked for.
async fn look(
    config: &Config,
    state: &Path,
    ledger: Option<(&str, u32)>,
) -> Result<(Vec<Record>, Vec<LedgerEntry>), Failure> {
    // Looking must not make a state directory or a key.
    if !SqliteStore::is_there(state, &config.store) {
        return Ok((Vec::new(), Vec::new()));
    }
    let (_state, store) = open(config, state).await?;
    let found = async {
        let records = store.load().await?;
        let lines = match ledger {
            Some((portal, lines)) => store.ledger(portal, lines).await?,
            None => Vec::new(),
        };
        Ok((records, lines))
    };
    let found = found.await;
    store.close().await;
    found.map_err(|error: StoreError| failed(chain(&error)))
}

pub(super) fn summary(views: &[PortalView]) -> String {
    // A column of noughts would say nothing to those who have no spares; an empty one is left out.
    let any_spares = views.iter().any(|view| view.spares > 0);
    let spares = |text: &str| if any_spares { text } else { "" }.to_owned();
    let title = |title: &str, any: bool| if any { title } else { "" }.to_owned();
    let user = title("USER", views.iter().any(|view| view.user_name.is_some()));
    let kinds = title("KIND", views.iter().any(|view| !kind(view).is_empty()));
    let [name, state, generation, expires, url] =
        ["NAME", "STATE", "GENERATION", "EXPIRES", "URL"].map(str::to_owned);
    let head = [name, state, generation, expires, spares("SPARES"), user, kinds, url];
    let mut rows = vec![head];
    rows.extend(views.iter().map(|view| {
        [
            view.name.clone(),
            word(view).to_owned(),
            cell(view.generation),
            cell(view.expires_at.map(|at| distance(at, unix_now()))),
            spares(&view.spares.to_string()),
            view.user_name.clone().unwrap_or_default(),
            kind(view).to_owned(),
            view.url.clone(),
        ]
    }));
    table(&rows)
}

pub(super) fn page(details: &Details) -> String {
    let mut text = lines(&details.view);
    if let Some(trouble) = &details.trouble {
        text = format!("{text}\nchains      {trouble}");
    }
    if !details.chains.is_empty() {
        text = format!("{text}\n\n{}", chains(&details.chains));
    }
    if !details.ledger.is_empty() {
        text = format!("{text}\n\n{}", ledger(&details.ledger));
    }
    text
}

/// The state in a word; what the operator decided comes first.
fn word(view: &PortalView) -> &str {
    if view.disabled { "disabled" } else { &view.state }
}

fn kind(view: &PortalView) -> &'static str {
    match (view.webhook, view.arrived) {
        (true, _) => "webhook",
        (false, true) => "arrived",
        (false, false) => "",
    }
}

fn user(view: &PortalView) -> Option<String> {
    let number = view.user_id?.to_string();
    Some(match &view.user_name {
        Some(name) => format!("{number}, {name}"),
        None => number,
    })
}

fn lines(view: &PortalView) -> String {
    let now = unix_now();
    let number = |number: Option<u64>| number.map(|number| number.to_string());
    let lines = [
        ("name", Some(view.name.clone())),
        ("url", Some(view.url.clone())),
        ("state", Some(word(view).to_owned())),
        ("reason", view.code.clone().filter(|_| !view.disabled)),
        ("kind", Some(kind(view).to_owned()).filter(|kind| !kind.is_empty())),
        ("generation", number(view.generation)),
        ("expires", view.expires_at.map(|at| distance(at, now))),
        ("renewed", view.refreshed_at.map(|at| distance(at, now))),
        ("user", user(view)),
        ("member_id", view.member_id.clone()),
        ("last error", view.last_error.clone()),
        ("stored", view.unsaved.then(|| "NO, do not stop the gateway now".to_owned())),
    ];
    let mut text = String::new();
    for (name, value) in lines {
        if let Some(value) = value {
            // Writing to a String cannot fail.
            writeln!(text, "{name:<12}{value}").unwrap_or_default();
        }
    }
    text.trim_end().to_owned()
}

fn chains(chains: &[ChainView]) -> String {
    let now = unix_now();
    let head = ["CHAIN", "ROLE", "GENERATION", "USER", "ISSUED", "STATE"].map(str::to_owned);
    let rows = chains.iter().map(|chain| {
        [
            cell(chain.chain),
            chain.role.word().to_owned(),
            cell(chain.generation),
            cell(chain.user_id),
            cell(chain.issued_at.map(|at| distance(at, now))),
            chain.state.clone(),
        ]
    });
    table(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
}

fn ledger(entries: &[LedgerEntry]) -> String {
    let head = ["WHEN", "CHAIN", "GENERATION", "TOKEN", "OUTCOME"].map(str::to_owned);
    let rows = entries.iter().map(|entry| {
        [
            utc(entry.at),
            entry.chain.to_string(),
            entry.generation.to_string(),
            entry.refresh_hash.clone(),
            entry.outcome.clone(),
        ]
    });
    table(&std::iter::once(head).chain(rows).collect::<Vec<_>>())
}

/// How far `at` is from `now`, both unix seconds: `in 59 min`, `3 h ago`.
pub(in crate::cli) fn distance(at: u64, now: u64) -> String {
    let seconds = at.abs_diff(now);
    let span = match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    };
    if at > now { format!("in {span}") } else { format!("{span} ago") }
}
