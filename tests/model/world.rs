//! What is outside of the process: a disk, an OAuth server, and how both can fail.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use b24gate::config::{App, Endpoint, Inject};
use b24gate::credential::{
    ChainId, Exchanging, FailureKind, Generation, Grant, Link, RawAnswer, RefreshFailure, Secret,
    State, TokenEndpoint,
};
use b24gate::store::{
    Added, Answered, LedgerEntry, Pending, Record, Seat, Store, StoreError, StoredCredential,
};
use tokio::sync::Notify;

use crate::oracle::Oracle;

/// One portal's world; clones are the same world.
#[derive(Clone)]
pub(crate) struct World(Arc<Mutex<Inside>>, Arc<Notify>);

pub(crate) struct Inside {
    pub(crate) oracle: Oracle,
    pub(crate) rules: Rules,
    chains: BTreeMap<i64, Row>,
    journal: BTreeMap<i64, (Generation, RawAnswer)>,
    /// How often each refresh token was taken, by its number; chain * 1000 + n.
    taken: BTreeMap<u64, u32>,
    issued: BTreeMap<i64, u64>,
    killed: BTreeSet<i64>,
    /// Numbers of pairs that were made durable in any place.
    durable: BTreeSet<u64>,
    pub(crate) exchanges: usize,
    pub(crate) violations: Vec<String>,
    /// Whether a process that still runs gets no token any more.
    pub(crate) starving: bool,
}

#[derive(Clone, Copy, Debug)]
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

struct Row {
    active: bool,
    spare: bool,
    generation: Generation,
    number: u64,
    state: State,
    intent: Option<Generation>,
}

const USER: u64 = 7;

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
        r#"{{"access_token":"A{number}","refresh_token":"R{number}","expires_in":3600,"user_id":{USER},"member_id":"m"}}"#
    );
    RawAnswer {
        status: 200,
        retry_after: None,
        at: 1_700_000_000,
        complete: true,
        body: body.into_bytes().into(),
    }
}

fn number(refresh: &Secret) -> u64 {
    refresh.expose().trim_start_matches('R').parse().unwrap()
}

fn chain_of(number: u64) -> i64 {
    i64::try_from(number / 1000).unwrap()
}

fn down() -> StoreError {
    StoreError::Unavailable("no space left on device".into())
}

impl World {
    pub(crate) fn new(oracle: Oracle, rules: Rules, spares: i64) -> Self {
        let mut inside = Inside {
            oracle,
            rules,
            chains: BTreeMap::new(),
            journal: BTreeMap::new(),
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

    /// Ends when the process is killed.
    pub(crate) async fn crashed(&self) {
        self.1.notified().await;
    }

    pub(crate) fn into_oracle(self) -> Oracle {
        std::mem::take(&mut self.lock().oracle)
    }

    /// One step of the outside: fails, or is done, with a crash before or after.
    async fn step<T>(
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
        std::future::pending().await
    }
}

impl Inside {
    fn stored(&self, id: i64) -> StoredCredential {
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
            issued_at: 1_700_000_000,
            state: row.state.clone(),
            intent_open: row.intent == Some(row.generation),
        }
    }

    /// The newest pair of a chain that the disk holds anywhere.
    fn newest_durable(&self, chain: i64) -> u64 {
        let of = |number: &&u64| chain_of(**number) == chain;
        self.durable.iter().filter(of).max().copied().unwrap_or(0)
    }

    fn violated(&mut self, text: String) {
        self.violations.push(text);
    }

    /// Whether the server would take the newest pair of any chain that the disk holds.
    pub(crate) fn is_alive(&self) -> bool {
        self.chains.keys().any(|id| {
            let newest = self.newest_durable(*id);
            !self.killed.contains(id) && (!self.rules.strict || self.issued[id] == newest)
        })
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

    fn commit(
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

impl Store for World {
    fn load(&self) -> Pending<'_, Vec<Record>> {
        Box::pin(async move {
            self.step("load", &[], |inside, _| {
                let one = |active: bool, id: &i64| {
                    let row = &inside.chains[id];
                    (row.active == active && (active || row.spare)).then(|| Ok(inside.stored(*id)))
                };
                let answers = inside.journal.iter().map(|(id, (generation, answer))| Answered {
                    chain: ChainId(*id),
                    generation: *generation,
                    at: 0,
                    ours: true,
                    answer: answer.clone(),
                });
                Ok(vec![Record {
                    portal: "acme".to_owned(),
                    inject: None,
                    endpoint: None,
                    credential: inside.chains.keys().find_map(|id| one(true, id)),
                    spares: inside.chains.keys().filter_map(|id| one(false, id)).collect(),
                    answers: answers.collect(),
                }])
            })
            .await
        })
    }

    fn intend<'a>(&'a self, link: Link<'a>) -> Pending<'a, ()> {
        Box::pin(async move {
            self.step("intend", &["disk full"], |inside, fault| {
                let row = inside.chains.get_mut(&link.chain.0).ok_or(StoreError::Unknown)?;
                if fault == "disk full" {
                    return Err(down());
                }
                if row.generation != link.generation {
                    return Err(StoreError::Superseded(row.generation));
                }
                row.intent = Some(link.generation);
                Ok(())
            })
            .await
        })
    }

    fn receive<'a>(&'a self, link: Link<'a>, answer: &'a RawAnswer) -> Pending<'a, ()> {
        Box::pin(async move {
            self.step("receive", &["disk full"], |inside, fault| {
                if fault == "disk full" {
                    return Err(down());
                }
                inside.journal.insert(link.chain.0, (link.generation, answer.clone()));
                if let Ok(grant) = answer.grant() {
                    inside.durable.insert(number(&grant.refresh));
                }
                Ok(())
            })
            .await
        })
    }

    fn commit<'a>(&'a self, link: Link<'a>, grant: &'a Grant) -> Pending<'a, Generation> {
        Box::pin(async move {
            let faults = ["disk full", "done and reported failed"];
            self.step("commit", &faults, |inside, fault| match fault {
                "disk full" => Err(down()),
                "done and reported failed" => {
                    drop(inside.commit(link, number(&grant.refresh), true));
                    Err(down())
                }
                _ => inside.commit(link, number(&grant.refresh), true),
            })
            .await
        })
    }

    fn recover<'a>(&'a self, link: Link<'a>, grant: &'a Grant) -> Pending<'a, Generation> {
        Box::pin(async move {
            self.step("recover", &["disk full"], |inside, fault| match fault {
                "disk full" => Err(down()),
                _ => inside.commit(link, number(&grant.refresh), false),
            })
            .await
        })
    }

    fn fail<'a>(&'a self, link: Link<'a>, state: &'a State) -> Pending<'a, ()> {
        Box::pin(async move {
            self.step("fail", &["disk full"], |inside, fault| {
                let row = inside.chains.get_mut(&link.chain.0).ok_or(StoreError::Unknown)?;
                if fault == "disk full" {
                    return Err(down());
                }
                if row.generation == link.generation {
                    row.state = state.clone();
                    row.intent = None;
                }
                Ok(())
            })
            .await
        })
    }

    fn add<'a>(&'a self, _: &'a str, _: &'a Grant, _: Seat) -> Pending<'a, Added> {
        unreachable!("nothing is imported here")
    }

    fn promote<'a>(&'a self, _: &'a str, spare: ChainId) -> Pending<'a, Option<StoredCredential>> {
        Box::pin(async move {
            self.step("promote", &["disk full"], |inside, fault| {
                if fault == "disk full" {
                    return Err(down());
                }
                let above = inside.chains.values().map(|row| row.generation).max().unwrap();
                for row in inside.chains.values_mut().filter(|row| row.active) {
                    row.active = false;
                }
                let Some(row) = inside.chains.get_mut(&spare.0).filter(|row| row.spare) else {
                    return Ok(None);
                };
                (row.active, row.spare, row.generation) = (true, false, above.next());
                Ok(Some(inside.stored(spare.0)))
            })
            .await
        })
    }

    fn forget_answers<'a>(&'a self, _: &'a str) -> Pending<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn ledger<'a>(&'a self, _: &'a str, _: u32) -> Pending<'a, Vec<LedgerEntry>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn seen<'a>(&'a self, _: &'a str, _: &'a Secret) -> Pending<'a, Option<LedgerEntry>> {
        Box::pin(async { Ok(None) })
    }

    fn alerted(&self) -> Pending<'_, Vec<(String, String)>> {
        Box::pin(async { Ok(Vec::new()) })
    }

    fn remember_alert<'a>(&'a self, _: &'a str, _: &'a str) -> Pending<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn remember_inject<'a>(&'a self, _: &'a str, _: Inject) -> Pending<'a, ()> {
        Box::pin(async { Ok(()) })
    }

    fn remember_endpoint<'a>(&'a self, _: &'a str, _: Option<&'a Endpoint>) -> Pending<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}
