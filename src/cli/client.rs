//! `b24gate client ...`: through the control socket when a gateway runs, through the store when none
//! does. A key is printed once, when it is made.

mod list;
mod tools;

use std::path::Path;
use std::sync::Arc;

use zeroize::Zeroizing;

use self::tools::Place;
use super::output::{Failure, complain, failed, finish, print_all};
use super::portal::{USAGE, ask, came_by_itself, open, unclear};
use super::{ClientCommand, ClientRulesOptions, Exit, Global, control_runtime};
use crate::client::{
    Configured, DeedError, Minted, Register, Source, Wish, check, described, nobody, path_portal,
};
use crate::config::{self, Config, Listen};
use crate::control::{ClientRequest, NewKey, Reply, Request, Shown};
use crate::credential::unix_now;
use crate::metrics::Traffic;
use crate::store::{ClientRules, SqliteStore, Store as _, had_clients};
use crate::views::clients::{self, ClientView};

/// How an answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Text,
    Json,
}

/// What is done to clients.
#[derive(Clone, Debug)]
enum Deed {
    Add(Wish),
    Rotate { name: String, overlap: Option<u64> },
    Remove { name: String },
}

/// What came of it.
#[derive(Debug)]
enum Outcome {
    Key(NewKey),
    Removed { described: bool },
}

/// Who may call, and by which keys.
pub(super) fn run(global: &Global, command: &ClientCommand) -> Exit {
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
            ClientCommand::Add { name, rules, json } => {
                let wish = match wish(&config, name, rules) {
                    Ok(wish) => wish,
                    Err(failure) => return finish(Err(failure)),
                };
                shown(do_it(&config, &state, Deed::Add(wish)).await, name, form(*json))
            }
            ClientCommand::Rotate { name, overlap, json } => {
                let overlap = overlap.map(|time| time.as_secs());
                let deed = Deed::Rotate { name: name.clone(), overlap };
                shown(do_it(&config, &state, deed).await, name, form(*json))
            }
            ClientCommand::Remove { name } => {
                let deed = Deed::Remove { name: name.clone() };
                let outcome = do_it(&config, &state, deed).await;
                finish(outcome.and_then(|outcome| removed(name, &outcome)))
            }
            ClientCommand::List { json } => {
                let found = views(&config, &state).await;
                finish(found.and_then(|(views, lost)| list::text(&views, lost, form(*json))))
            }
        }
    })
}

/// What the command line asks for; rules come from one place only.
fn wish(config: &Config, name: &str, options: &ClientRulesOptions) -> Result<Wish, Failure> {
    let usage = |text: String| Failure { code: USAGE, text };
    config::client_name(name).map_err(usage)?;
    if config.clients.contains_key(name) {
        if *options != ClientRulesOptions::default() {
            let file = config.source.as_ref().map(|file| format!("{}: ", file.display()));
            let file = file.unwrap_or_default();
            let error = DeedError::Configured { name: name.to_owned() };
            return Err(usage(format!("{file}{error}")));
        }
        return Ok(Wish { name: name.to_owned(), rules: None });
    }
    options.method.iter().try_for_each(|pattern| config::method_pattern(pattern)).map_err(usage)?;
    let expires = options.expires.as_deref();
    let expires = expires.map(|text| config::expiry(text, unix_now())).transpose();
    let rules = ClientRules {
        portals: (!options.portal.is_empty()).then(|| options.portal.clone()),
        methods: options.method.clone(),
        read_only: options.read_only,
        expires_at: expires.map_err(|text| usage(format!("--expires: {text}")))?,
    };
    Ok(Wish { name: name.to_owned(), rules: Some(rules) })
}

async fn do_it(config: &Config, state: &Path, deed: Deed) -> Result<Outcome, Failure> {
    match ask(state, &Request::Client(deed.request())).await? {
        Some(Reply::Key(key)) => Ok(Outcome::Key(key)),
        Some(Reply::ClientRemoved { described }) => Ok(Outcome::Removed { described }),
        Some(_) => Err(unclear()),
        None => do_in_store(config, state, deed).await,
    }
}

async fn do_in_store(config: &Config, state: &Path, deed: Deed) -> Result<Outcome, Failure> {
    if let Deed::Rotate { name, .. } | Deed::Remove { name } = &deed
        && !SqliteStore::is_there(state, &config.store)
    {
        // A misspelt name must not make a store.
        return Err(refused(&nobody(&config.clients, name)));
    }
    let (_state, store) = open(config, state).await?;
    let store = Arc::new(store);
    let done = change(config, &store, deed).await;
    store.close().await;
    done
}

async fn change(config: &Config, store: &Arc<SqliteStore>, deed: Deed) -> Result<Outcome, Failure> {
    let unreadable = |error: crate::store::StoreError| failed(super::output::chain(&error));
    let records = store.load().await.map_err(unreadable)?;
    let arrived = records.iter().filter(|record| came_by_itself(config, record));
    let names = config.portals.keys().chain(arrived.map(|record| &record.portal));
    let names: Vec<_> = names.cloned().collect();
    let register = register(store, &config.clients).await.map_err(unreadable)?;
    let now = unix_now();
    let minted = match deed {
        Deed::Add(wish) => {
            check(config, &wish, &names).map_err(|text| Failure { code: USAGE, text })?;
            register.add(wish, now).await
        }
        Deed::Rotate { name, overlap } => register.rotate(&name, overlap, now).await,
        Deed::Remove { name } => {
            let source = register.remove(&name).await.map_err(|error| refused(&error))?;
            return Ok(Outcome::Removed { described: source == Source::Configuration });
        }
    };
    let Minted { key, portals } = minted.map_err(|error| refused(&error))?;
    let default = config.gateway.default_portal.as_deref();
    let default = default.or(match names.as_slice() {
        [only] => Some(only),
        _ => None,
    });
    Ok(Outcome::Key(NewKey {
        key: Shown(key.secret().clone()),
        addresses: config.gateway.listen.iter().map(address).collect(),
        portal: path_portal(portals.as_deref(), default, &names),
    }))
}

async fn register(
    store: &Arc<SqliteStore>,
    configured: &Configured,
) -> Result<Register, crate::store::StoreError> {
    Register::open(store.clone(), Arc::new(Traffic::default()), configured.clone()).await
}

/// Everybody, and whether keys were lost.
async fn views(config: &Config, state: &Path) -> Result<(Vec<ClientView>, bool), Failure> {
    match ask(state, &Request::Client(ClientRequest::List)).await? {
        Some(Reply::Clients { clients, lost }) => return Ok((clients, lost)),
        Some(_) => return Err(unclear()),
        None => {}
    }
    // Looking must not make a state directory or a key.
    if !SqliteStore::is_there(state, &config.store) {
        return Ok((clients::of_known(described(&config.clients, unix_now())), had_clients(state)));
    }
    let (_state, store) = open(config, state).await?;
    let store = Arc::new(store);
    let found = match register(&store, &config.clients).await {
        Ok(register) => Ok((clients::of_store(&register).await, register.are_lost())),
        Err(error) => Err(failed(super::output::chain(&error))),
    };
    store.close().await;
    found
}

/// Prints a key, or why there is none. One that nobody has seen is of no use.
fn shown(outcome: Result<Outcome, Failure>, name: &str, form: Form) -> Exit {
    let text: Zeroizing<String> = match outcome {
        Ok(Outcome::Key(NewKey { key, addresses, portal })) => {
            let place = Place::new(&addresses, portal.as_deref());
            match form {
                Form::Text => place.text(name, &key.0),
                Form::Json => place.json(name, &key.0),
            }
        }
        Ok(Outcome::Removed { .. }) => return finish(Err(unclear())),
        Err(failure) => return finish(Err(failure)),
    };
    match print_all(&text) {
        Ok(()) => Exit::Done,
        Err(error) => {
            complain(&format!(
                "the key was made and could not be shown ({error}); make another one:\n  \
                 b24gate client rotate {name}"
            ));
            Exit::Failed
        }
    }
}

fn removed(name: &str, outcome: &Outcome) -> Result<String, Failure> {
    match outcome {
        Outcome::Removed { described: false } => {
            Ok(format!("client {name}: removed; its keys are refused from now on"))
        }
        Outcome::Removed { described: true } => Ok(format!(
            "client {name}: its keys are refused from now on; remove the section [clients.{name}] \
             from the configuration, too, unless it is to get another key"
        )),
        Outcome::Key(_) => Err(unclear()),
    }
}

fn refused(error: &DeedError) -> Failure {
    failed(error.to_string())
}

fn form(json: bool) -> Form {
    if json { Form::Json } else { Form::Text }
}

fn address(listen: &Listen) -> String {
    match listen {
        Listen::Tcp(address) => format!("http://{address}"),
        Listen::Unix(path) => format!("unix:{}", path.display()),
    }
}

impl Deed {
    fn request(&self) -> ClientRequest {
        match self.clone() {
            Self::Add(Wish { name, rules }) => ClientRequest::Add { name, rules },
            Self::Rotate { name, overlap } => ClientRequest::Rotate { name, overlap },
            Self::Remove { name } => ClientRequest::Remove { name },
        }
    }
}

#[cfg(test)]
mod tests;
