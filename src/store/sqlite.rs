//! The store in one SQLite file.
//!
//! WAL with `synchronous=FULL`: a committed transaction survives a power cut. One connection does
//! all the work, so writers never meet; what belongs together is one transaction, and every write
//! after an exchange carries the generation it started from in its `WHERE`.

mod clients;
mod damage;
mod error;
mod open;
mod registry;

pub use error::OpenError;

pub(super) use damage::{BESIDE, Look, connect_to_read, look, unless_damaged};
pub(super) use open::{PROOF, PROOF_PLACE, database_path, migrations, options};

use std::collections::BTreeSet;
use std::sync::Arc;

use sqlx::pool::PoolConnection;
use sqlx::sqlite::SqlitePool;
use sqlx::{Sqlite, SqliteConnection};

use crate::config::{Endpoint, Inject};
use crate::credential::{ChainId, Generation, Grant, Link, RawAnswer, Secret, State};
use crate::store::clients::Closing;
use crate::store::journal::{Journal, Pair};
use crate::store::rows;
use crate::store::sealed::Sealer;
use crate::store::{
    Added, LedgerEntry, Pending, Record, Seat, Store, StoreError, StoredCredential,
};

/// Credentials in a SQLite file, the tokens sealed.
#[derive(Debug)]
pub struct SqliteStore {
    pub(super) pool: SqlitePool,
    pub(super) sealer: Arc<Sealer>,
    journal: Journal,
    closing: Arc<Closing>,
}

impl SqliteStore {
    /// Finishes what was begun and folds the write-ahead log into the file.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    pub(super) async fn begin(&self) -> Result<Transaction, sqlx::Error> {
        let mut transaction = Transaction(Some(self.pool.acquire().await?));
        // IMMEDIATE: what is read inside cannot be overtaken before it is written.
        transaction.execute("BEGIN IMMEDIATE").await?;
        Ok(transaction)
    }

    /// The journal's share of a chain that got a seat: its copy, and the slots of the chains that it
    /// replaced.
    async fn seated(&self, link: Link<'_>, pair: Pair<'_>) {
        self.journal.copy(link, pair).await;
        self.tidy(link.portal).await;
    }

    /// Removes the slots of chains that are history.
    async fn tidy(&self, portal: &str) {
        match rows::standings(&self.pool).await {
            Ok(chains) => {
                let history = chains.into_iter().filter(|chain| chain.is_history(portal));
                self.journal.prune(portal, history.map(|chain| chain.id).collect()).await;
            }
            Err(error) => tracing::warn!(portal, %error, "journal_not_tidied"),
        }
    }
}

impl Store for SqliteStore {
    fn load(&self) -> Pending<'_, Vec<Record>> {
        Box::pin(async move {
            let moment = self.journal.moment();
            let mut records = rows::load(&self.pool, &self.sealer).await?;
            let chains = rows::standings(&self.pool).await?;
            let found = self.journal.read().await?;
            self.journal.complete(moment, &records, &found).await;
            let mut untidy = BTreeSet::new();
            for mut found in found {
                let chain = chains.iter().find(|chain| chain.is(found.answered.chain));
                let (ours, portal) = (&mut found.answered.ours, &found.portal);
                match chain {
                    // Its file was not removed. Without the database it would come back.
                    Some(chain) if *ours && chain.is_history(portal) => {
                        untidy.insert(found.portal);
                        continue;
                    }
                    Some(chain) => *ours &= chain.portal == *portal,
                    // The database is an earlier one, from before this chain.
                    None => *ours = false,
                }
                if let Some(record) = Record::of(&mut records, portal) {
                    record.answers.push(found.answered);
                }
            }
            for portal in untidy {
                self.tidy(&portal).await;
            }
            Ok(records)
        })
    }

    fn intend<'a>(&'a self, link: Link<'a>) -> Pending<'a, ()> {
        Box::pin(async move {
            // Asked first, so that no slot is made for a chain that is not there.
            rows::is_standing(&self.pool, link).await?;
            self.journal.prepare(link).await?;
            let mut transaction = self.begin().await?;
            rows::intend(transaction.connection()?, link).await?;
            Ok(transaction.commit().await?)
        })
    }

    fn receive<'a>(&'a self, link: Link<'a>, answer: &'a RawAnswer) -> Pending<'a, ()> {
        Box::pin(self.journal.receive(link, answer))
    }

    fn commit<'a>(&'a self, link: Link<'a>, grant: &'a Grant) -> Pending<'a, Generation> {
        Box::pin(async move {
            let mut transaction = self.begin().await?;
            let stored = rows::commit(transaction.connection()?, &self.sealer, link, grant).await?;
            transaction.commit().await?;
            self.journal.settle(link, grant.into()).await;
            Ok(stored)
        })
    }

    fn recover<'a>(&'a self, link: Link<'a>, grant: &'a Grant) -> Pending<'a, Generation> {
        Box::pin(async move {
            let mut transaction = self.begin().await?;
            let stored =
                rows::recover(transaction.connection()?, &self.sealer, link, grant).await?;
            transaction.commit().await?;
            self.journal.settle(link, grant.into()).await;
            Ok(stored)
        })
    }

    fn fail<'a>(&'a self, link: Link<'a>, state: &'a State) -> Pending<'a, ()> {
        Box::pin(async move {
            let mut transaction = self.begin().await?;
            rows::fail(transaction.connection()?, link, state).await?;
            transaction.commit().await?;
            if self.journal.holds_refusal(link)
                && let Ok(Some(stored)) =
                    rows::load_chain(&self.pool, &self.sealer, link.portal, link.chain).await
            {
                let link = Link { generation: stored.generation, ..link };
                self.journal.copy(link, (&stored).into()).await;
            }
            Ok(())
        })
    }

    fn add<'a>(&'a self, portal: &'a str, grant: &'a Grant, seat: Seat) -> Pending<'a, Added> {
        Box::pin(async move {
            let mut transaction = self.begin().await?;
            let added =
                rows::add(transaction.connection()?, &self.sealer, portal, grant, seat).await?;
            transaction.commit().await?;
            let Added { chain, generation, .. } = added;
            self.seated(Link { portal, chain, generation }, grant.into()).await;
            Ok(added)
        })
    }

    fn promote<'a>(
        &'a self,
        portal: &'a str,
        spare: ChainId,
    ) -> Pending<'a, Option<StoredCredential>> {
        Box::pin(async move {
            let mut transaction = self.begin().await?;
            let connection = transaction.connection()?;
            let found = rows::promote(connection, &self.sealer, portal, spare).await?;
            transaction.commit().await?;
            if let Some(found) = &found {
                let link = Link { portal, chain: spare, generation: found.generation };
                self.seated(link, found.into()).await;
            }
            Ok(found)
        })
    }

    fn take_seat<'a>(&'a self, link: Link<'a>, seat: Seat) -> Pending<'a, Added> {
        Box::pin(async move {
            let mut transaction = self.begin().await?;
            let connection = transaction.connection()?;
            let (added, found) = rows::take_seat(connection, &self.sealer, link, seat).await?;
            transaction.commit().await?;
            if added.generation == link.generation {
                // Its slot holds what its exchange brought.
                self.tidy(link.portal).await;
            } else {
                self.seated(Link { generation: added.generation, ..link }, (&found).into()).await;
            }
            Ok(added)
        })
    }

    fn turn_away<'a>(&'a self, link: Link<'a>) -> Pending<'a, ()> {
        Box::pin(async move {
            let mut transaction = self.begin().await?;
            rows::turn_away(transaction.connection()?, link).await?;
            transaction.commit().await?;
            self.tidy(link.portal).await;
            Ok(())
        })
    }

    fn forget_answers<'a>(&'a self, portal: &'a str) -> Pending<'a, ()> {
        Box::pin(async move {
            let chains = rows::standings(&self.pool).await?;
            let known = chains.into_iter().filter(|chain| chain.portal == portal);
            let known: Vec<_> = known.map(|chain| chain.id).collect();
            self.journal.forget_foreign(portal, known).await
        })
    }

    fn ledger<'a>(&'a self, portal: &'a str, limit: u32) -> Pending<'a, Vec<LedgerEntry>> {
        Box::pin(rows::ledger(&self.pool, portal, limit))
    }

    fn seen<'a>(
        &'a self,
        portal: &'a str,
        refresh: &'a Secret,
    ) -> Pending<'a, Option<LedgerEntry>> {
        Box::pin(rows::seen(&self.pool, portal, refresh))
    }

    fn alerted(&self) -> Pending<'_, Vec<(String, String)>> {
        Box::pin(rows::alerted(&self.pool))
    }

    fn remember_alert<'a>(&'a self, subject: &'a str, condition: &'a str) -> Pending<'a, ()> {
        Box::pin(async move {
            let mut transaction = self.begin().await?;
            rows::remember_alert(transaction.connection()?, subject, condition).await?;
            Ok(transaction.commit().await?)
        })
    }

    fn remember_inject<'a>(&'a self, portal: &'a str, inject: Inject) -> Pending<'a, ()> {
        Box::pin(async move {
            let mut transaction = self.begin().await?;
            rows::remember_inject(transaction.connection()?, portal, inject).await?;
            Ok(transaction.commit().await?)
        })
    }

    fn remember_endpoint<'a>(
        &'a self,
        portal: &'a str,
        endpoint: Option<&'a Endpoint>,
    ) -> Pending<'a, ()> {
        Box::pin(async move {
            let mut transaction = self.begin().await?;
            rows::remember_endpoint(transaction.connection()?, portal, endpoint).await?;
            Ok(transaction.commit().await?)
        })
    }
}

/// A transaction on the one connection.
///
/// Unless it is committed, the connection is closed and the next write opens another: after a full
/// disk SQLite has rolled back by itself, which sqlx's own transactions count wrongly from then on,
/// and after a failed fsync the same descriptor may report success for pages that are lost.
pub(super) struct Transaction(Option<PoolConnection<Sqlite>>);

impl Transaction {
    pub(super) fn connection(&mut self) -> Result<&mut SqliteConnection, sqlx::Error> {
        self.0.as_deref_mut().ok_or(sqlx::Error::WorkerCrashed)
    }

    async fn execute(&mut self, sql: &'static str) -> Result<(), sqlx::Error> {
        sqlx::raw_sql(sql).execute(self.connection()?).await.map(drop)
    }

    /// When this returns `Ok`, what was written is on the disk.
    pub(super) async fn commit(mut self) -> Result<(), sqlx::Error> {
        self.execute("COMMIT").await?;
        self.0 = None; // Back to the pool.
        Ok(())
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if let Some(connection) = &mut self.0 {
            connection.close_on_drop();
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        Self::Unavailable(Box::new(error))
    }
}

#[cfg(test)]
pub(super) mod tests;
