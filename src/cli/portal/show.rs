//! `b24gate portal list` and `b24gate portal show`: what is known of portals, without a token.

use std::fmt::Write as _;
use std::path::Path;

use super::table::{cell, table};
use super::{Failure, ask, chain, failed, known, open, unclear};
use crate::config::Config;
use crate::control::{Reply, Request};
use crate::credential::{Status, unix_now, utc};
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
    Ok(config.portals.keys().map(|name| view(config, name, record_of(&records, name))).collect())
}

pub(super) async fn details(
    config: &Config,
    state: &Path,
    name: &str,
    lines: u32,
) -> Result<Details, Failure> {
    known(config, name)?;
    match ask(state, &Request::Show { portal: name.to_owned(), ledger: lines }).await? {
        Some(Reply::Portal(details)) => return Ok(*details),
        Some(_) => return Err(unclear()),
        None => {}
    }
    let (records, ledger) = look(config, state, Some((name, lines))).await?;
    let record = record_of(&records, name);
    Ok(Details::new(view(config, name, record), record, ledger))
}

fn view(config: &Config, name: &str, record: Option<&Record>) -> PortalView {
    let status = Status::of(record.and_then(|record| record.credential.as_ref()));
    let url = config.portals.get(name).map(|portal| portal.url.to_string());
    PortalView::new(name, url.unwrap_or_default(), &status, record)
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
    let head = ["NAME", "STATE", "GENERATION", "EXPIRES", &spares("SPARES"), "URL"];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(views.iter().map(|view| {
        [
            view.name.clone(),
            view.state.clone(),
            cell(view.generation),
            cell(view.expires_at.map(|at| distance(at, unix_now()))),
            spares(&view.spares.to_string()),
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

fn lines(view: &PortalView) -> String {
    let now = unix_now();
    let number = |number: Option<u64>| number.map(|number| number.to_string());
    let lines = [
        ("name", Some(view.name.clone())),
        ("url", Some(view.url.clone())),
        ("state", Some(view.state.clone())),
        ("reason", view.code.clone()),
        ("generation", number(view.generation)),
        ("expires", view.expires_at.map(|at| distance(at, now))),
        ("renewed", view.refreshed_at.map(|at| distance(at, now))),
        ("user", number(view.user_id)),
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
pub(super) fn distance(at: u64, now: u64) -> String {
    let seconds = at.abs_diff(now);
    let span = match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    };
    if at > now { format!("in {span}") } else { format!("{span} ago") }
}
