//! What is shown of portals and clients, to commands, pages and programs alike; nothing here holds a secret.

pub mod clients;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::credential::Status;
use crate::portal::{Holder, Portal, Portals};
use crate::store::{LedgerEntry, Record, Store, StoreError, StoredCredential};

/// A portal in a line.
#[expect(clippy::struct_excessive_bools, reason = "facts of their own, each told to programs")]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortalView {
    /// The name in the configuration.
    pub name: String,
    /// Where it lives.
    pub url: String,
    /// The credential's state in a word.
    pub state: String,
    /// The OAuth server's code for it.
    pub code: Option<String>,
    /// The generation in use.
    pub generation: Option<u64>,
    /// When the access token expires, unix seconds.
    pub expires_at: Option<u64>,
    /// Whose rights it carries.
    pub user_id: Option<u64>,
    /// The portal's stable key.
    pub member_id: Option<String>,
    /// When it was last renewed by the running gateway, unix seconds.
    pub refreshed_at: Option<u64>,
    /// The code of the last failure since the last success.
    pub last_error: Option<String>,
    /// Whether the pair in use is not stored yet: stopping the gateway now would lose it.
    pub unsaved: bool,
    /// Chains that wait for the one in use to die.
    pub spares: usize,
    /// Whose rights it carries, by name.
    pub user_name: Option<String>,
    /// Whether an incoming webhook opens it, instead of an application.
    pub webhook: bool,
    /// Whether it came by itself.
    pub arrived: bool,
    /// Whether the operator took it out of service.
    pub disabled: bool,
    /// Whether the application was removed in the portal.
    pub uninstalled: bool,
    /// Requests since the gateway started; none is told where no gateway runs.
    pub requests: Option<u64>,
}

/// A portal with its chains and what happened to them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Details {
    /// The portal.
    pub view: PortalView,
    /// Its chains, the one in use first.
    pub chains: Vec<ChainView>,
    /// The latest lines of its ledger, newest first.
    pub ledger: Vec<LedgerEntry>,
    /// Why the chains or the ledger are not told.
    pub trouble: Option<String>,
}

/// A chain in a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainView {
    /// Its number, unless it does not open.
    pub chain: Option<i64>,
    /// Whether it is in use.
    pub role: Role,
    /// Its generation.
    pub generation: Option<u64>,
    /// Whose rights it carries.
    pub user_id: Option<u64>,
    /// When its pair was issued, unix seconds.
    pub issued_at: Option<u64>,
    /// Its state in a word, or why it does not open.
    pub state: String,
}

/// What a chain is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It is in use.
    Active,
    /// It waits for the one in use to die.
    Spare,
    /// It came by a page or an event, and is exchanged before it gets a seat.
    Arriving,
}

/// All portals that are served, by name. A store that cannot be read hides none: what is lent is in
/// memory.
pub async fn all(portals: &Portals, store: &dyn Store) -> Vec<PortalView> {
    let records = store.load().await.unwrap_or_else(|error| {
        tracing::warn!(%error, "spares are not counted: the store cannot be read");
        Vec::new()
    });
    let view = |portal: &Arc<Portal>| PortalView::of(portal, record_of(&records, &portal.name));
    portals.all().iter().map(view).collect()
}

/// A portal that is served, with `lines` of its ledger.
pub async fn one(portal: &Portal, store: &dyn Store, lines: u32) -> Details {
    let found: Result<_, StoreError> =
        async { Ok((store.load().await?, store.ledger(&portal.name, lines).await?)) }.await;
    match found {
        Ok((records, ledger)) => {
            let record = record_of(&records, &portal.name);
            Details::new(PortalView::of(portal, record), record, ledger)
        }
        Err(error) => {
            let view = PortalView::of(portal, None);
            Details { view, trouble: Some(error.to_string()), ..Details::default() }
        }
    }
}

fn record_of<'a>(records: &'a [Record], name: &str) -> Option<&'a Record> {
    records.iter().find(|record| record.portal == name)
}

impl PortalView {
    /// The view of a credential's status, with `record` for what only the store knows.
    pub fn new(name: &str, url: String, status: &Status, record: Option<&Record>) -> Self {
        Self {
            name: name.to_owned(),
            url,
            state: status.word().to_owned(),
            code: status.state.code().map(str::to_owned),
            generation: status.generation.map(|generation| generation.0),
            expires_at: status.expires_at,
            user_id: status.user_id,
            member_id: status.member_id.clone(),
            refreshed_at: status.refreshed_at,
            last_error: status.last_error.clone(),
            unsaved: status.unsaved,
            spares: record.map_or(0, |record| record.spares.len()),
            ..Self::default()
        }
    }

    /// The view of a portal that is served.
    pub fn of(portal: &Portal, record: Option<&Record>) -> Self {
        let facts = portal.standing.facts();
        let status = portal.status();
        let url = portal.site().endpoint.to_string();
        let named = facts.person.as_ref().filter(|person| Some(person.user_id) == status.user_id);
        Self {
            user_name: named.map(|person| person.name.clone()),
            webhook: matches!(portal.holder, Holder::IncomingWebhook(_)),
            arrived: facts.arrived.is_some(),
            disabled: facts.disabled,
            uninstalled: facts.uninstalled,
            requests: Some(portal.requests()),
            ..Self::new(&portal.name, url, &status, record)
        }
    }
}

impl Details {
    /// What the store knows, beside the view.
    pub fn new(view: PortalView, record: Option<&Record>, ledger: Vec<LedgerEntry>) -> Self {
        let mut chains = record.map(ChainView::all).unwrap_or_default();
        if let Some(active) = chains.iter_mut().find(|chain| chain.role == Role::Active)
            && active.generation.is_some()
            && active.generation == view.generation
        {
            // While an exchange is under way, the store cannot tell it from one that was cut short.
            active.state.clone_from(&view.state);
        }
        Self { view, chains, ledger, trouble: None }
    }
}

impl ChainView {
    fn all(record: &Record) -> Vec<Self> {
        let active = record.credential.iter().map(|chain| Self::new(Role::Active, chain));
        let spares = record.spares.iter().map(|chain| Self::new(Role::Spare, chain));
        let arriving = record.arriving.iter().map(|chain| Self::new(Role::Arriving, chain));
        active.chain(spares).chain(arriving).collect()
    }

    fn new(role: Role, chain: &Result<StoredCredential, StoreError>) -> Self {
        match chain {
            Ok(stored) => Self {
                chain: Some(stored.chain.0),
                role,
                generation: Some(stored.generation.0),
                user_id: stored.user_id,
                issued_at: Some(stored.issued_at),
                state: Status::of(Some(chain)).word().to_owned(),
            },
            Err(error) => Self {
                chain: None,
                role,
                generation: None,
                user_id: None,
                issued_at: None,
                state: error.to_string(),
            },
        }
    }
}

impl Role {
    /// The word shown to people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Spare => "spare",
            Self::Arriving => "arriving",
        }
    }
}
