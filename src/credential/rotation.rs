//! The order that loses no token: intent, exchange, raw answer, commit.
//!
//! A success may always be stored; a failure never deletes. Whoever calls this holds the lock of the
//! portal's chains, in a task that nobody can cut short.

use std::time::Duration;

use tokio::time::Instant;

use crate::config::App;
use crate::credential::{
    ChainId, Custody, FailureKind, Generation, Grant, Link, RefreshFailure, Secret, State, unix_now,
};
use crate::failpoint;
use crate::metrics::Outcome;
use crate::store::{Pending, StoreError, StoredCredential};

/// One chain in memory: what the next exchange needs.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) id: ChainId,
    pub(super) generation: Generation,
    pub(super) refresh: Secret,
    pub(super) member_id: Option<String>,
    pub(super) user_id: Option<u64>,
    pub(super) client_endpoint: Option<String>,
    /// When the pair was issued, unix seconds.
    pub(super) issued_at: u64,
    /// As far as this chain goes by itself.
    pub(super) state: State,
    /// The pair of this generation, while it is not in the store: the store was down when it came.
    pub(super) unsaved: Option<Grant>,
    /// An exchange was begun and this process does not know its end: the task died.
    pub(super) in_doubt: bool,
    /// Whether this process brought the pair.
    pub(super) renewed_here: bool,
    /// Passing failures in a row.
    pub(super) failures: u32,
    /// No attempt before; for spares, the portal's hold is for the active chain.
    pub(super) not_before: Option<Instant>,
}

/// How an exchange ended.
#[derive(Debug)]
pub(super) enum Rotation {
    /// The chain has its next pair.
    Renewed(Grant, Stored),
    /// There is no new pair, for this reason.
    Failed(RefreshFailure),
    /// Nothing was exchanged: the intent could not be written down.
    StoreDown(StoreError),
    /// Somebody else stored a newer pair.
    Overtaken,
}

/// Where the new pair lies.
#[derive(Debug)]
pub(super) enum Stored {
    /// In the store.
    Yes,
    /// In the journal or the spool: a crash does not lose it.
    Journal(StoreError),
    /// In memory and nowhere else.
    No(StoreError),
}

impl Custody {
    /// Exchanges the refresh token of `chain`. On success the chain stands at its next generation.
    pub(super) async fn rotate(&self, portal: &str, app: &App, chain: &mut Chain) -> Rotation {
        let begun = Instant::now();
        let rotation = self.begin(portal, app, chain).await;
        if let Some(outcome) = rotation.outcome() {
            self.metrics.refreshed(portal, outcome);
            self.metrics.refresh_took(begun.elapsed());
        }
        rotation
    }

    async fn begin(&self, portal: &str, app: &App, chain: &mut Chain) -> Rotation {
        let from = Link { portal, chain: chain.id, generation: chain.generation };
        match self.timed(self.store.intend(from)).await {
            Ok(()) => {}
            Err(StoreError::Superseded(_)) => return Rotation::Overtaken,
            Err(error) => return Rotation::StoreDown(error),
        }
        chain.in_doubt = true;
        failpoint::hit("after_intent");
        let rotation = self.exchange(from, app, chain).await;
        chain.in_doubt = false;
        rotation
    }

    async fn timed<T>(&self, write: Pending<'_, T>) -> Result<T, StoreError> {
        let begun = Instant::now();
        let written = write.await;
        self.metrics.store_wrote(begun.elapsed());
        written
    }

    async fn exchange(&self, from: Link<'_>, app: &App, chain: &mut Chain) -> Rotation {
        let answer = match self.endpoint.exchange(app, &chain.refresh).await {
            Ok(answer) => answer,
            Err(failure) => return Rotation::Failed(failure),
        };
        failpoint::hit("after_exchange");
        // The old pair may be spent for these bytes: they are made durable before they are read.
        let begun = Instant::now();
        let received = self.timed(self.store.receive(from, &answer)).await;
        failpoint::hit("after_receive");
        let took = begun.elapsed().as_micros();
        tracing::debug!(portal = from.portal, durable = received.is_ok(), took_us = %took, "answer kept");
        let grant = match answer.grant() {
            Ok(grant) => grant,
            Err(failure) => return Rotation::Failed(failure),
        };
        if chain.is_of_another_portal(&grant) {
            return Rotation::Failed(RefreshFailure::of_another_portal());
        }
        let stored = match (self.timed(self.store.commit(from, &grant)).await, received) {
            (Ok(_), _) => Stored::Yes,
            (Err(StoreError::Superseded(_)), _) => return Rotation::Overtaken,
            (Err(error), Ok(())) => Stored::Journal(error),
            (Err(error), Err(_)) => Stored::No(error),
        };
        failpoint::hit("after_commit");
        chain.advance(&grant, answer.at);
        if !matches!(stored, Stored::Yes) {
            chain.unsaved = Some(grant.clone());
        }
        Rotation::Renewed(grant, stored)
    }
}

impl Rotation {
    fn outcome(&self) -> Option<Outcome> {
        Some(match self {
            Self::Renewed(_, Stored::Yes) => Outcome::Renewed,
            Self::Renewed(..) => Outcome::Unsaved,
            Self::Failed(failure) => match failure.kind {
                FailureKind::Dead => Outcome::Dead,
                FailureKind::Paused | FailureKind::Configuration => Outcome::Refused,
                FailureKind::Transient if failure.sent => Outcome::Unknown,
                FailureKind::Transient => Outcome::Failed,
            },
            Self::StoreDown(_) => Outcome::Store,
            Self::Overtaken => return None,
        })
    }
}

impl Chain {
    /// The chain as the store has it.
    pub(super) fn of(stored: &StoredCredential) -> Self {
        // An exchange was begun and its end not written down: nobody knows.
        let unknown = stored.intent_open && stored.state == State::Connected;
        Self {
            id: stored.chain,
            generation: stored.generation,
            refresh: stored.refresh.clone(),
            member_id: stored.member_id.clone(),
            user_id: stored.user_id,
            client_endpoint: stored.client_endpoint.clone(),
            issued_at: stored.issued_at,
            state: if unknown { State::Suspect } else { stored.state.clone() },
            unsaved: None,
            in_doubt: false,
            renewed_here: false,
            failures: 0,
            not_before: None,
        }
    }

    /// A chain that begins with `grant`.
    pub(super) fn started(id: ChainId, generation: Generation, grant: &Grant) -> Self {
        Self {
            id,
            generation,
            refresh: grant.refresh.clone(),
            member_id: grant.member_id.clone(),
            user_id: grant.user_id,
            client_endpoint: grant.client_endpoint.clone(),
            issued_at: unix_now(),
            state: State::Connected,
            unsaved: None,
            in_doubt: false,
            renewed_here: false,
            failures: 0,
            not_before: None,
        }
    }

    /// Puts the next attempt off.
    pub(super) fn wait(&mut self, pause: Duration) {
        self.not_before = Some(Instant::now() + pause);
    }

    /// Whether the next attempt may be made.
    pub(super) fn is_ready(&self) -> bool {
        self.not_before.is_none_or(|at| Instant::now() >= at)
    }

    /// The pair at hand.
    pub(super) fn link<'a>(&self, portal: &'a str) -> Link<'a> {
        Link { portal, chain: self.id, generation: self.generation }
    }

    /// Whether the OAuth server has called its refresh token dead.
    pub(super) fn is_dead(&self) -> bool {
        matches!(self.state, State::Dead { .. })
    }

    /// Whether it may stand in for a chain of this user: never silently somebody else's.
    pub(super) fn serves(&self, user_id: Option<u64>) -> bool {
        !self.is_dead() && self.user_id.is_some() && self.user_id == user_id
    }

    /// A pair of another portal is never written over this one's, however it came about. The
    /// portal's stable key decides; where it is not known on both sides, the address does.
    pub(super) fn is_of_another_portal(&self, grant: &Grant) -> bool {
        if let (Some(known), Some(told)) = (&self.member_id, &grant.member_id) {
            return !known.eq_ignore_ascii_case(told);
        }
        match (&self.client_endpoint, &grant.client_endpoint) {
            (Some(known), Some(told)) => !host(known).eq_ignore_ascii_case(host(told)),
            _ => false,
        }
    }

    fn advance(&mut self, grant: &Grant, at: u64) {
        self.generation = self.generation.next();
        self.refresh = grant.refresh.clone();
        self.member_id = grant.member_id.clone().or_else(|| self.member_id.take());
        self.user_id = grant.user_id.or(self.user_id);
        self.client_endpoint =
            grant.client_endpoint.clone().or_else(|| self.client_endpoint.take());
        self.issued_at = at;
        self.state = State::Connected;
        self.renewed_here = true;
        self.failures = 0;
    }
}

/// The authority of a URL, port included.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split(['/', '?', '#']).next().unwrap_or(rest)
}
