//! Which of two stores that share chains holds the newer tokens.

use std::fmt;

use sqlx::SqliteConnection;

use crate::store::retired::{has_table, identify};
use crate::store::rows::unsigned;

/// The chains that are compared.
macro_rules! chains {
    ($which:literal) => {
        concat!(
            "SELECT chain.id, portal, chain.generation, intent.chain IS NOT NULL FROM chain \
             LEFT JOIN intent ON intent.chain = chain.id AND intent.generation = chain.generation \
             WHERE ",
            $which,
            " ORDER BY portal, chain.id"
        )
    };
}

/// The chains of a database that are not history.
#[derive(Debug)]
pub(super) struct Chains {
    /// Which store it is.
    pub(super) store: Vec<u8>,
    pub(super) chains: Vec<Chain>,
}

#[derive(Debug)]
pub(super) struct Chain {
    id: i64,
    portal: String,
    generation: u64,
    /// An exchange was begun and no outcome was written: its answer may lie in the journal.
    begun: bool,
}

/// A chain that is newer than in the backup.
#[derive(Debug, PartialEq, Eq)]
pub struct Ahead {
    portal: String,
    generation: u64,
    how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    Older(u64),
    Missing,
    Begun,
}

impl Chains {
    /// Whose chains they are, in order, a name for each chain.
    pub(super) fn portals(&self) -> impl Iterator<Item = &str> {
        self.chains.iter().map(|chain| chain.portal.as_str())
    }
}

/// Reads what is compared. The connection can write.
pub(super) async fn read(connection: &mut SqliteConnection) -> Result<Chains, sqlx::Error> {
    let store = identify(&mut *connection).await?;
    read_as(connection, store).await
}

/// As [`read`], of a store whose number is known.
pub(super) async fn read_as(
    connection: &mut SqliteConnection,
    store: Vec<u8>,
) -> Result<Chains, sqlx::Error> {
    // A backup keeps the schema that it was made with; the one before has no chains that arrive.
    let sql = if has_table(connection, "inbox").await? {
        chains!("history = 0")
    } else {
        chains!("active = 1 OR spare = 1")
    };
    let rows: Vec<(i64, String, i64, bool)> = sqlx::query_as(sql).fetch_all(connection).await?;
    let chain = |(id, portal, generation, begun)| Chain {
        id,
        portal,
        generation: unsigned(generation),
        begun,
    };
    Ok(Chains { store, chains: rows.into_iter().map(chain).collect() })
}

/// What would be lost if `backup` took the place of `here`.
pub(super) fn ahead(here: &Chains, backup: &Chains) -> Vec<Ahead> {
    let same = here.store == backup.store;
    let judge = |chain: &Chain| {
        let found = backup.chains.iter().find(|other| same && other.id == chain.id);
        let how = match found {
            None => How::Missing,
            Some(found) if found.generation < chain.generation => How::Older(found.generation),
            Some(found) if found.generation == chain.generation && chain.begun => How::Begun,
            Some(_) => return None,
        };
        Some(Ahead { portal: chain.portal.clone(), generation: chain.generation, how })
    };
    here.chains.iter().filter_map(judge).collect()
}

impl fmt::Display for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { portal, generation, how } = self;
        write!(f, "{portal} (generation {generation}, ")?;
        match how {
            How::Older(backup) => write!(f, "the backup has {backup})"),
            How::Missing => f.write_str("this chain is not in the backup)"),
            How::Begun => f.write_str("and a refresh that was begun and is not settled)"),
        }
    }
}
