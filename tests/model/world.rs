//! What is outside of the process: a disk, an OAuth server, and how both can fail.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{SystemTime, UNIX_EPOCH};

use b24gate::config::App;
use b24gate::credential::{
    ChainId, Exchanging, FailureKind, Generation, Grant, Link, RawAnswer, RefreshFailure, Secret,
    State, TokenEndpoint,
};
use b24gate::store::{LedgerEntry, StoreError, StoredCredential};
use tokio::sync::Notify;

use crate::oracle::Oracle;

/// One portal's world; clones are the same world.
#[derive(Clone)]
pub(crate) struct World(Arc<Mutex<Inside>>, Arc<Notify>);

pub(crate) struct Inside {
    pub(crate) oracle: Oracle,
    pub(crate) rules: Rules,
    pub(crate) chains: BTreeMap<i64, Row>,
    pub(crate) journal: BTreeMap<i64, (Generation, RawAnswer)>,
    /// What last became of a refresh token, by its number.
    pub(crate) ledger: BTreeMap<u64, LedgerEntry>,
    /// How often each refresh token was taken, by its number; chain * 1000 + n.
    taken: BTreeMap<u64, u32>,
    issued: BTreeMap<i64, u64>,
    killed: BTreeSet<i64>,
    /// Numbers of pairs that were made durable in any place.
    pub(crate) durable: BTreeSet<u64>,
    pub(crate) exchanges: usize,
    pub(crate) violations: Vec<String>,
    /// Whether a process that still runs gets no token any more.
    pub(crate) starving: bool,
}

#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "four questions that have nothing in common")]
pub(crate) struct Rules {
    /// A refresh token works once.
    pub(crate) strict: bool,
    /// Presenting a used one kills its chain.
    pub(crate) reuse_kills: bool,
    /// Whether the process can be killed.
    pub(crate) crashes: bool,
    /// Whether two processes share the disk.
    pub(crate) shared: bool,
}

pub(crate) struct Row {
    pub(crate) active: bool,
    pub(crate) spare: bool,
    pub(crate) arriving: bool,
    pub(crate) generation: Generation,
    pub(crate) number: u64,
    pub(crate) state: State,
    pub(crate) intent: Option<Generation>,
}

const USER: u64 = 7;

/// The chain that arrives, where one does.
pub(crate) const ARRIVAL: i64 = 9;

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("World")
    }
}

/// `access_token` and `refresh_token` of the pair with this number.
fn grant(number: u64) -> Grant {
    RawAnswer::grant(&answer(number)).unwrap()
}

fn answer(number: u64) -> RawAnswer {
    let body = format!(
        r#"{{"access_token":"A{number}","refresh_token":"R{number}","expires":1700000000,"user_id":{USER},"member_id":"m"}}"#
    );
    RawAnswer {
        status: 200,
        retry_after: None,
        at: now(),
        complete: true,
        body: body.into_bytes().into(),
    }
}

/// Nothing here is old enough to be renewed for its age, though every access token has expired.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

pub(crate) fn number(refresh: &Secret) -> u64 {
    refresh.expose().trim_start_matches('R').parse().unwrap()
}

fn chain_of(number: u64) -> i64 {
    i64::try_from(number / 1000).unwrap()
}

impl World {
    pub(crate) fn new(oracle: Oracle, rules: Rules, spares: i64) -> Self {
        let mut inside = Inside {
            oracle,
            rules,
            chains: BTreeMap::new(),
            journal: BTreeMap::new(),
            ledger: BTreeMap::new(),
            taken: BTreeMap::new(),
            issued: BTreeMap::new(),
            killed: BTreeSet::new(),
            durable: BTreeSet::new(),
            exchanges: 0,
            violations: Vec::new(),
            starving: false,
        };
        for id in 1..=1 + spares {
            let first = u64::try_from(id).unwrap() * 1000 + 1;
            inside.issued.insert(id, first);
            inside.durable.insert(first);
            let row = Row {
                active: id == 1,
                spare: id != 1,
                arriving: false,
                generation: Generation(u64::try_from(id).unwrap()),
                number: first,
                state: State::Connected,
                intent: None,
            };
            inside.chains.insert(id, row);
        }
        Self(Arc::new(Mutex::new(inside)), Arc::new(Notify::new()))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inside> {
        self.0.lock().unwrap()
    }

    /// The server gives somebody the first pair of a chain, who brings it and keeps a copy.
    pub(crate) fn bring(&self) -> Grant {
        let first = ARRIVAL.unsigned_abs() * 1000 + 1;
        self.lock().issued.entry(ARRIVAL).or_insert(first);
        grant(first)
    }

    /// Ends when the process is killed.
    pub(crate) async fn crashed(&self) {
        self.1.notified().await;
    }

    pub(crate) fn into_oracle(self) -> Oracle {
        std::mem::take(&mut self.lock().oracle)
    }

    /// One step of the outside: fails, or is done, with a crash before or after.
    pub(crate) async fn step<T>(
        &self,
        place: &str,
        failures: &[&'static str],
        work: impl FnOnce(&mut Inside, &str) -> T,
    ) -> T {
        let rules = self.lock().rules;
        let mut names = vec!["ok"];
        names.extend_from_slice(failures);
        if rules.crashes {
            names.extend(["crash before", "crash after"]);
        }
        if rules.shared {
            names.push("late");
        }
        let chosen = self.lock().oracle.choose(place, &names);
        if chosen == "late" {
            // Long enough for the other process to get to wherever it wants to.
            for _ in 0..20 {
                tokio::task::yield_now().await;
            }
        }
        if chosen == "crash before" {
            self.crash().await;
        }
        let outcome = work(&mut self.lock(), chosen);
        if chosen == "crash after" {
            self.crash().await;
        }
        // Others get their turn at every step.
        tokio::task::yield_now().await;
        outcome
    }

    async fn crash(&self) {
        self.1.notify_one();
        std::future::pending::<()>().await;
    }
}

impl Inside {
    pub(crate) fn stored(&self, id: i64) -> StoredCredential {
        let row = &self.chains[&id];
        let grant = grant(row.number);
        StoredCredential {
            chain: ChainId(id),
            generation: row.generation,
            access: grant.access,
            refresh: grant.refresh,
            expires_at: grant.expires_at,
            member_id: grant.member_id,
            user_id: grant.user_id,
            client_endpoint: None,
            issued_at: now(),
            state: row.state.clone(),
            intent_open: row.intent == Some(row.generation),
        }
    }

    /// The newest pair of a chain that the disk holds anywhere.
    fn newest_durable(&self, chain: i64) -> u64 {
        let of = |number: &&u64| chain_of(**number) == chain;
        self.durable.iter().filter(of).max().copied().unwrap_or(0)
    }

    pub(crate) fn violated(&mut self, text: String) {
        self.violations.push(text);
    }

    /// Whether the server would take the newest pair of any chain that the disk holds.
    pub(crate) fn is_alive(&self) -> bool {
        self.chains.keys().any(|id| self.lives(*id))
    }

    /// Whether the server would take the newest pair of this chain that the disk holds.
    pub(crate) fn lives(&self, chain: i64) -> bool {
        let newest = self.newest_durable(chain);
        !self.killed.contains(&chain) && (!self.rules.strict || self.issued[&chain] == newest)
    }

    /// How often the server has exchanged something of this chain.
    pub(crate) fn exchanged(&self, chain: i64) -> u64 {
        self.issued[&chain] - chain.unsigned_abs() * 1000 - 1
    }

    /// A generation above all that there ever were.
    pub(crate) fn above_all(&self) -> Generation {
        let newest = self.chains.values().map(|row| row.generation).max();
        newest.unwrap_or_default().next()
    }

    /// Writes a line about a refresh token.
    pub(crate) fn enter(&mut self, chain: i64, number: u64, outcome: &str) {
        let entry = LedgerEntry {
            at: 1_700_000_000,
            chain,
            generation: 1,
            outcome: outcome.to_owned(),
            refresh_hash: String::new(),
        };
        self.ledger.insert(number, entry);
    }

    /// Whether the pair of a lent token lies on the disk.
    pub(crate) fn is_durable(&self, access: &str) -> bool {
        self.durable.contains(&access.trim_start_matches('A').parse().unwrap())
    }

    /// Whether a portal would take this access token: it is the latest of its chain.
    pub(crate) fn is_latest(&self, access: &str) -> bool {
        let number: u64 = access.trim_start_matches('A').parse().unwrap();
        self.issued[&chain_of(number)] == number
    }

    pub(crate) fn commit(
        &mut self,
        link: Link<'_>,
        number: u64,
        exact: bool,
    ) -> Result<Generation, StoreError> {
        let row = self.chains.get_mut(&link.chain.0).ok_or(StoreError::Unknown)?;
        if row.generation > link.generation || (exact && row.generation != link.generation) {
            return Err(StoreError::Superseded(row.generation));
        }
        row.generation = link.generation.next();
        row.number = number;
        row.state = State::Connected;
        row.intent = None;
        self.durable.insert(number);
        Ok(self.chains[&link.chain.0].generation)
    }

    fn exchange(&mut self, refresh: u64) -> RawAnswer {
        let chain = chain_of(refresh);
        self.exchanges += 1;
        let newest = self.newest_durable(chain);
        if refresh < newest && !self.rules.shared {
            self.violated(format!("R{refresh} presented although R{newest} is on the disk"));
        }
        let used = self.taken.contains_key(&refresh);
        if used && self.rules.reuse_kills {
            self.killed.insert(chain);
        }
        if (used && self.rules.strict) || self.killed.contains(&chain) {
            let body = br#"{"error":"invalid_grant"}"#.to_vec();
            return RawAnswer { status: 400, body: body.into(), ..answer(refresh) };
        }
        *self.taken.entry(refresh).or_default() += 1;
        let next = self.issued[&chain] + 1;
        self.issued.insert(chain, next);
        answer(next)
    }
}

impl TokenEndpoint for World {
    fn exchange<'a>(&'a self, _app: &'a App, refresh: &'a Secret) -> Exchanging<'a> {
        let failure = |code: &str, sent| {
            let kind = FailureKind::Transient;
            Err(RefreshFailure { kind, code: code.to_owned(), retry_after: None, sent })
        };
        Box::pin(async move {
            let faults = ["unreachable", "lost on the way", "answer lost", "busy", "answer cut"];
            self.step(&format!("exchange R{}", number(refresh)), &faults, |inside, fault| {
                match fault {
                    "unreachable" => failure("connect", false),
                    "lost on the way" => failure("connection_lost", true),
                    "busy" => Ok(RawAnswer { status: 503, body: Vec::new().into(), ..answer(0) }),
                    "answer lost" => {
                        drop(inside.exchange(number(refresh)));
                        failure("connection_lost", true)
                    }
                    "answer cut" => {
                        let mut whole = inside.exchange(number(refresh));
                        let half = whole.body.len() / 3;
                        whole.body.truncate(half);
                        Ok(RawAnswer { complete: false, ..whole })
                    }
                    _ => Ok(inside.exchange(number(refresh))),
                }
            })
            .await
        })
    }
}
