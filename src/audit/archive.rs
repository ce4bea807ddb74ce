//! Reading what is kept: by the command, beside a running gateway or without one, and by the pages.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Serialize;
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{ConnectOptions as _, Connection as _, FromRow, Row as _, SqliteConnection};

use crate::audit::{Entry, Executed, path_in};

/// The file of calls, for reading.
#[derive(Clone, Debug)]
pub struct Archive {
    path: PathBuf,
}

/// Why it cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the calls that are kept in {} cannot be read: {source}", path.display())]
pub struct ArchiveError {
    path: PathBuf,
    source: sqlx::Error,
}

/// Which calls.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of this client; `-` is of none.
    pub client: Option<String>,
    /// To this portal; `-` is to none.
    pub portal: Option<String>,
    /// Of a method that fits this pattern, in which `*` is any text.
    pub method: Option<String>,
    /// Answered with a status between these two.
    pub status: Option<(u16, u16)>,
    /// Of which this is known.
    pub executed: Option<Executed>,
    /// That came then or later, unix milliseconds.
    pub since_ms: u64,
}

/// The calls of one client to one method.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sum {
    /// The client; `None` is anonymous.
    pub client: Option<String>,
    /// The method; `None` where there was none.
    pub method: Option<String>,
    /// How many.
    pub calls: u64,
    /// How many of them were answered with 400 or more, or not at all.
    pub errors: u64,
    /// When the last one came, unix milliseconds.
    pub last_ms: u64,
}

impl Archive {
    /// What is kept below this state directory.
    pub fn of(state: &Path) -> Self {
        Self { path: path_in(state) }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The latest `limit` calls, the newest first. Rows that say that calls were not kept fit every
    /// filter: they may have been any.
    pub async fn latest(&self, filter: &Filter, limit: u32) -> Result<Vec<Entry>, ArchiveError> {
        self.entries(LATEST, filter, 0, limit).await
    }

    /// Up to `limit` calls with numbers above `id`, in the order in which they ended.
    pub async fn after(
        &self,
        id: i64,
        filter: &Filter,
        limit: u32,
    ) -> Result<Vec<Entry>, ArchiveError> {
        self.entries(AFTER, filter, id, limit).await
    }

    /// The number of the call that was kept last.
    pub async fn last_id(&self) -> Result<i64, ArchiveError> {
        let found = self.read(async |connection| {
            sqlx::query_scalar("SELECT coalesce(max(id), 0) FROM call").fetch_one(connection).await
        });
        Ok(found.await?.unwrap_or_default())
    }

    /// Calls and errors by client and method, the most calls first.
    pub async fn sums(&self, filter: &Filter, limit: u32) -> Result<Vec<Sum>, ArchiveError> {
        let found = self.read(async |connection| {
            bound!(sqlx::query_as::<_, Sum>(SUMS), filter, 0, limit).fetch_all(connection).await
        });
        Ok(found.await?.unwrap_or_default())
    }

    async fn entries(
        &self,
        sql: &'static str,
        filter: &Filter,
        id: i64,
        limit: u32,
    ) -> Result<Vec<Entry>, ArchiveError> {
        let found = self.read(async |connection| {
            bound!(sqlx::query_as::<_, Entry>(sql), filter, id, limit).fetch_all(connection).await
        });
        Ok(found.await?.unwrap_or_default())
    }

    /// What is found by `look`; `None` where nothing was ever kept.
    async fn read<T>(
        &self,
        look: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, sqlx::Error>,
    ) -> Result<Option<T>, ArchiveError> {
        // One that was just made has no table yet.
        if !self.path.metadata().is_ok_and(|found| found.len() > 0) {
            return Ok(None);
        }
        let found = async {
            let options = SqliteConnectOptions::new().filename(&self.path).read_only(true);
            let options = options.busy_timeout(BUSY).disable_statement_logging();
            let mut connection = options.connect().await?;
            let is_made: bool = sqlx::query_scalar(IS_MADE).fetch_one(&mut connection).await?;
            let found = if is_made { Some(look(&mut connection).await?) } else { None };
            connection.close().await?;
            Ok(found)
        };
        found.await.map_err(|source| ArchiveError { path: self.path.clone(), source })
    }
}

impl Filter {
    /// The pattern as `LIKE` wants it, which does not mind the case of letters; nor does Bitrix24.
    fn like(&self) -> Option<String> {
        let pattern = self.method.as_deref()?;
        let mut like = String::with_capacity(pattern.len() + 8);
        for c in pattern.chars() {
            match c {
                '*' => like.push('%'),
                '%' | '_' | '\\' => like.extend(['\\', c]),
                c => like.push(c),
            }
        }
        Some(like)
    }
}

impl FromRow<'_, SqliteRow> for Entry {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        let word = |name: &str| row.try_get::<Option<String>, _>(name).map(|it| it.map(Cow::Owned));
        Ok(Self {
            id: row.try_get("id")?,
            at_ms: row.try_get::<i64, _>("at").map(count)?,
            client: row.try_get("client")?,
            uid: row.try_get("uid")?,
            portal: row.try_get("portal")?,
            method: row.try_get("method")?,
            status: row.try_get("status")?,
            ms: row.try_get::<Option<i64>, _>("ms")?.map(count),
            replayed: word("replayed")?,
            executed: word("executed")?,
            code: word("code")?,
            not_kept: row.try_get::<Option<i64>, _>("not_kept")?.map(count),
        })
    }
}

impl FromRow<'_, SqliteRow> for Sum {
    fn from_row(row: &SqliteRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            client: row.try_get("client")?,
            method: row.try_get("method")?,
            calls: row.try_get::<i64, _>("calls").map(count)?,
            errors: row.try_get::<i64, _>("errors").map(count)?,
            last_ms: row.try_get::<i64, _>("last").map(count)?,
        })
    }
}

fn count(value: i64) -> u64 {
    u64::try_from(value).unwrap_or_default()
}

/// Puts a filter into a query, in the order of the numbers in `fitting`.
macro_rules! bound {
    ($query:expr, $filter:expr, $id:expr, $limit:expr) => {{
        let filter: &Filter = $filter;
        $query
            .bind(i64::try_from(filter.since_ms).unwrap_or(i64::MAX))
            .bind(filter.client.as_deref())
            .bind(filter.portal.as_deref())
            .bind(filter.like())
            .bind(filter.status.map(|(low, _)| low))
            .bind(filter.status.map(|(_, high)| high))
            .bind(filter.executed.map(Executed::as_str))
            .bind($id)
            .bind($limit)
    }};
}
use bound;

/// The rows that fit a filter. A plus keeps the planner from the index on `at`.
macro_rules! fitting {
    ($at:literal) => {
        concat!(
            " FROM call WHERE ",
            $at,
            " >= ?1 AND (not_kept IS NOT NULL OR ((?2 IS NULL OR coalesce(client, '-') = ?2) \
             AND (?3 IS NULL OR coalesce(portal, '-') = ?3) \
             AND (?4 IS NULL OR method LIKE ?4 ESCAPE '\\') \
             AND (?5 IS NULL OR status BETWEEN ?5 AND ?6) \
             AND (?7 IS NULL OR executed = ?7))) AND id > ?8 "
        )
    };
}

const LATEST: &str = concat!("SELECT *", fitting!("at"), "ORDER BY at DESC, id DESC LIMIT ?9");
const AFTER: &str = concat!("SELECT *", fitting!("+at"), "ORDER BY id LIMIT ?9");
const SUMS: &str = concat!(
    "SELECT client, method, count(*) AS calls, \
     sum(status IS NULL OR status >= 400) AS errors, max(at) AS last",
    fitting!("at"),
    "AND not_kept IS NULL GROUP BY client, method ORDER BY calls DESC, last DESC LIMIT ?9"
);
const IS_MADE: &str = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'call')";
/// How long a look waits for a writer that is just folding its log into the file.
const BUSY: Duration = Duration::from_secs(2);
