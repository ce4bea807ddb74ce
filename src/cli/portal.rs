//! `b24gate portal import|list|show`: through the control socket when a gateway runs, through the
//! store when none does. No token is ever printed.

use std::fmt::Write as _;
use std::io::{IsTerminal as _, Read};
use std::path::Path;

use zeroize::Zeroizing;

use super::output::{complain, say};
use super::{Exit, Global, PortalCommand, control_runtime};
use crate::config::Config;
use crate::control::{self, PortalView, Reply, Request};
use crate::credential::{Grant, Status, unix_now};
use crate::store::{OpenError, Record, Seat, SqliteStore, StateDirectory, StateError, Store as _};

/// Longest token response read, bytes.
const INPUT_MAX: u64 = 64 * 1024;

/// The command failed.
const FAILED: u8 = 1;

/// The command was used in a wrong way.
const USAGE: u8 = 2;

/// An exit code and what to print before it.
#[derive(Debug)]
struct Failure {
    code: u8,
    text: String,
}

/// Connects portals and looks at them.
pub(super) fn run(global: &Global, command: &PortalCommand) -> Exit {
    let found = global.load_config().and_then(|config| Ok((config, global.state_directory()?)));
    let (config, state) = match found {
        Ok(found) => found,
        Err(exit) => return exit,
    };
    let runtime = match control_runtime() {
        Ok(runtime) => runtime,
        Err(exit) => return exit,
    };
    runtime.block_on(async {
        match command {
            PortalCommand::Import { name } => import(&config, &state, name).await,
            PortalCommand::List => list(&config, &state).await,
            PortalCommand::Show { name } => show(&config, &state, name).await,
        }
    })
}

/// Reads a token response from standard input and makes it the portal's credential.
async fn import(config: &Config, state: &Path, name: &str) -> Exit {
    let input = std::io::stdin();
    if input.is_terminal() {
        let text = format!(
            "nothing is piped in; give the token response as JSON on standard input:\n  \
             b24gate portal import {name} < token.json"
        );
        return finish(Err(Failure { code: USAGE, text }));
    }
    finish(import_from(config, state, name, input).await)
}

/// Prints a table of the portals.
async fn list(config: &Config, state: &Path) -> Exit {
    finish(views(config, state).await.map(|views| table(&views)))
}

/// Prints what is known of one portal.
async fn show(config: &Config, state: &Path, name: &str) -> Exit {
    finish(view(config, state, name).await.map(|view| details(&view)))
}

fn finish(outcome: Result<String, Failure>) -> Exit {
    match outcome {
        Ok(text) => {
            say(&text);
            Exit::Done
        }
        Err(failure) => {
            complain(&failure.text);
            Exit::of_code(failure.code)
        }
    }
}

async fn import_from(
    config: &Config,
    state: &Path,
    name: &str,
    input: impl Read,
) -> Result<String, Failure> {
    known(config, name)?;
    let grant = read(input)?;
    let expires_at = grant.expires_at;
    let request = Request::Import { portal: name.to_owned(), grant };
    let generation = match ask(state, &request).await? {
        Some(Reply::Stored(view)) => view.generation,
        Some(_) => return Err(failed("the gateway's answer is not clear")),
        None => {
            let Request::Import { grant, .. } = request else {
                return Err(failed("no grant"));
            };
            let (_state, store) = open(config, state).await?;
            let stored = store.add(name, &grant, Seat::Active { keep_old: false }).await;
            store.close().await;
            Some(stored.map_err(|error| failed(chain(&error)))?.generation.0)
        }
    };
    let generation = generation.map_or_else(|| "unknown".to_owned(), |number| number.to_string());
    let expiry = expiry(expires_at);
    Ok(format!("portal {name}: credential stored, generation {generation}, {expiry}"))
}

fn read(input: impl Read) -> Result<Grant, Failure> {
    let mut body = Zeroizing::new(Vec::with_capacity(16 * 1024));
    input
        .take(INPUT_MAX + 1)
        .read_to_end(&mut body)
        .map_err(|error| failed(format!("standard input: {error}")))?;
    if body.len() as u64 > INPUT_MAX {
        return Err(failed("standard input is longer than 64 KiB: not a token response"));
    }
    Grant::parse(&body, unix_now()).map_err(|error| {
        failed(format!(
            "standard input: {error}; a token response is wanted, such as \
             {{\"access_token\": \"...\", \"refresh_token\": \"...\", \"expires_in\": 3600}}"
        ))
    })
}

async fn views(config: &Config, state: &Path) -> Result<Vec<PortalView>, Failure> {
    match ask(state, &Request::List).await? {
        Some(Reply::Portals(views)) => return Ok(views),
        Some(_) => return Err(failed("the gateway's answer is not clear")),
        None => {}
    }
    let records = records(config, state).await?;
    let view = |name: &String| {
        let record = records.iter().find(|record| record.portal == *name);
        let status = Status::of(record.and_then(|record| record.credential.as_ref()));
        let url = config.portals.get(name).map(|portal| portal.url.to_string());
        PortalView::new(name, url.unwrap_or_default(), &status)
    };
    Ok(config.portals.keys().map(view).collect())
}

async fn view(config: &Config, state: &Path, name: &str) -> Result<PortalView, Failure> {
    known(config, name)?;
    match ask(state, &Request::Show { portal: name.to_owned() }).await? {
        Some(Reply::Portal(view)) => return Ok(view),
        Some(_) => return Err(failed("the gateway's answer is not clear")),
        None => {}
    }
    let mut views = views(config, state).await?.into_iter();
    views.find(|view| view.name == name).ok_or_else(|| failed(format!("no portal {name}")))
}

/// The gateway's answer, if one runs; its refusals are failures.
async fn ask(state: &Path, request: &Request) -> Result<Option<Reply>, Failure> {
    match control::ask(state, request).await {
        Ok(Some(Reply::Refused(text))) => Err(failed(format!("the gateway refuses: {text}"))),
        Ok(reply) => Ok(reply),
        Err(error) => Err(failed(format!("the running gateway does not answer: {error}"))),
    }
}

async fn records(config: &Config, state: &Path) -> Result<Vec<Record>, Failure> {
    // Looking must not make a state directory or a key.
    if !SqliteStore::is_there(state, &config.store) {
        return Ok(Vec::new());
    }
    let (_state, store) = open(config, state).await?;
    let records = store.load().await;
    store.close().await;
    records.map_err(|error| failed(chain(&error)))
}

async fn open(config: &Config, state: &Path) -> Result<(StateDirectory, SqliteStore), Failure> {
    let state = StateDirectory::open(state).map_err(|error| {
        let hint = match error {
            StateError::Locked { .. } => ", which does not answer on its control socket",
            StateError::Nowhere | StateError::Unsafe { .. } | StateError::Io { .. } => "",
        };
        Failure { code: error.exit_code(), text: format!("{error}{hint}") }
    })?;
    let store = SqliteStore::open(&state, &config.store)
        .await
        .map_err(|error: OpenError| Failure { code: error.exit_code(), text: error.to_string() })?;
    Ok((state, store))
}

fn known(config: &Config, name: &str) -> Result<(), Failure> {
    if config.portals.contains_key(name) {
        return Ok(());
    }
    let mut text = format!("no portal {name:?} in the configuration; ");
    if config.portals.is_empty() {
        text.push_str("it has no [portals.NAME] section");
    } else {
        let names: Vec<_> = config.portals.keys().map(String::as_str).collect();
        text.push_str("known: ");
        text.push_str(&names.join(", "));
    }
    Err(Failure { code: USAGE, text })
}

fn table(views: &[PortalView]) -> String {
    let mut rows = vec![["NAME", "STATE", "GENERATION", "EXPIRES", "URL"].map(str::to_owned)];
    rows.extend(views.iter().map(|view| {
        [
            view.name.clone(),
            view.state.clone(),
            view.generation.map_or_else(|| "-".to_owned(), |number| number.to_string()),
            view.expires_at.map_or_else(|| "-".to_owned(), |at| distance(at, unix_now())),
            view.url.clone(),
        ]
    }));
    let widths: [usize; 5] = std::array::from_fn(|column| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    });
    let line = |row: &[String; 5]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}  "));
        cells.collect::<String>().trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<_>>().join("\n")
}

fn details(view: &PortalView) -> String {
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

fn expiry(expires_at: Option<u64>) -> String {
    let now = unix_now();
    match expires_at {
        None => "expiry unknown".to_owned(),
        Some(at) if at > now => format!("expires {}", distance(at, now)),
        Some(at) => format!("expired {} (it is renewed at its first use)", distance(at, now)),
    }
}

/// How far `at` is from `now`, both unix seconds: `in 59 min`, `3 h ago`.
fn distance(at: u64, now: u64) -> String {
    let seconds = at.abs_diff(now);
    let span = match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    };
    if at > now { format!("in {span}") } else { format!("{span} ago") }
}

fn failed(text: impl Into<String>) -> Failure {
    Failure { code: FAILED, text: text.into() }
}

/// An error with all its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[cfg(test)]
mod tests;
