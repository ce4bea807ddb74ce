mod arriving;
mod clients;
mod corruption;
mod damage;
mod inbox;
mod journal;
mod model;
mod registry;
mod spool;
pub(in crate::store) mod upgrade;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use std::path::{Path, PathBuf};

use sqlx::ConnectOptions as _;
use sqlx::Connection as _;
use zeroize::Zeroizing;

use super::open::{database_path, options};
use super::*;
use crate::config::{self, KeySource};
use crate::store::sealed::{Field, Place};
use crate::store::{Answered, StateDirectory};

fn settings(key: Option<&str>) -> config::Store {
    let key =
        key.map_or(KeySource::StateDirectory, |text| KeySource::Environment(Secret::new(text)));
    config::Store { url: "sqlite:b24gate.db".to_owned(), key }
}

/// A state directory that outlives the processes that open it.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("state")
    }

    fn slot(&self, name: &str) -> PathBuf {
        self.path().join("journal").join(name)
    }

    fn database(&self) -> PathBuf {
        self.path().join("b24gate.db")
    }

    async fn open(&self) -> (StateDirectory, SqliteStore) {
        let state = StateDirectory::open(&self.path()).unwrap();
        let store = self.open_in(&state, None).await.unwrap();
        (state, store)
    }

    /// With a spool of its own.
    async fn open_in(
        &self,
        state: &StateDirectory,
        key: Option<&str>,
    ) -> Result<SqliteStore, OpenError> {
        SqliteStore::open_with(state, &settings(key), vec![self.spool()]).await
    }

    fn spool(&self) -> PathBuf {
        self.0.path().join("spool")
    }

    async fn refused(&self, key: Option<&str>) -> OpenError {
        let state = StateDirectory::open(&self.path()).unwrap();
        self.open_in(&state, key).await.unwrap_err()
    }

    /// Changes the file behind the store's back.
    async fn tamper(&self, sql: &'static str) {
        let mut connection = options(&self.database()).connect().await.unwrap();
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }
}

fn grant(number: u32) -> Grant {
    Grant {
        access: Secret::new(format!("A-canary-{number}")),
        refresh: Secret::new(format!("R-canary-{number}")),
        expires_at: Some(2_000_000_000 + u64::from(number)),
        good_until: None,
        member_id: Some("a223c6b3710f85df22e9377d6c4f7553".to_owned()),
        user_id: Some(7),
        client_endpoint: Some("https://acme.bitrix24.com/rest/".to_owned()),
    }
}

/// The pair of the portal's first chain; its chain has the number of its generation at first.
fn link(portal: &str, generation: u64) -> Link<'_> {
    Link { portal, chain: ChainId(1), generation: Generation(generation) }
}

fn raw(status: u16, body: &[u8]) -> RawAnswer {
    let body = Zeroizing::new(body.to_vec());
    RawAnswer { status, retry_after: None, at: 1_700_000_000, complete: true, body }
}

/// What the OAuth server says when it brings the pair of this number.
fn brings(number: u32) -> RawAnswer {
    let body = format!(
        r#"{{"access_token":"A-canary-{number}","refresh_token":"R-canary-{number}","expires":1}}"#
    );
    raw(200, body.as_bytes())
}

async fn answers(store: &SqliteStore, portal: &str) -> Vec<Answered> {
    let records = store.load().await.unwrap();
    let found = records.into_iter().find(|record| record.portal == portal);
    found.map(|record| record.answers).unwrap_or_default()
}

/// Whether the answer holds the pair of this number.
fn holds(answered: &Answered, number: u32) -> bool {
    let answer = &answered.answer;
    let grant = Grant::parse(&answer.body, answer.at);
    let holds = |grant: Grant| {
        grant.access.matches(&format!("A-canary-{number}"))
            && grant.refresh.matches(&format!("R-canary-{number}"))
    };
    answer.status == 200 && grant.is_ok_and(holds)
}

/// The chains and generations of what was found, latest first.
fn places(answers: &[Answered]) -> Vec<(i64, u64)> {
    answers.iter().map(|found| (found.chain.0, found.generation.0)).collect()
}

async fn import(store: &SqliteStore, portal: &str, grant: &Grant) -> Added {
    store.add(portal, grant, Seat::Active { keep_old: false }).await.unwrap()
}

async fn credential(store: &SqliteStore, portal: &str) -> Result<StoredCredential, StoreError> {
    let records = store.load().await.unwrap();
    let record = records.into_iter().find(|record| record.portal == portal).unwrap();
    record.credential.unwrap()
}

#[tokio::test]
async fn what_was_stored_is_there_after_reopening() {
    let home = Home::new();
    let (state, store) = home.open().await;
    assert_eq!(import(&store, "acme", &grant(1)).await.generation, Generation(1));
    store.intend(link("acme", 1)).await.unwrap();
    assert!(credential(&store, "acme").await.unwrap().intent_open);
    assert_eq!(store.commit(link("acme", 1), &grant(2)).await.unwrap(), Generation(2));
    store.remember_inject("acme", Inject::Parameter).await.unwrap();
    let moved = Endpoint { tls: true, host: "new.bitrix24.com".to_owned(), port: 8443 };
    store.remember_endpoint("acme", Some(&moved)).await.unwrap();
    store.remember_inject("bare", Inject::Bearer).await.unwrap();
    // Dropped without close: what was acknowledged does not depend on a clean end.
    drop((state, store));
    let (_state, store) = home.open().await;
    let records = store.load().await.unwrap();
    let names: Vec<_> = records.iter().map(|record| record.portal.as_str()).collect();
    assert_eq!(names, ["acme", "bare"]);
    assert_eq!(records[0].inject, Some(Inject::Parameter));
    assert_eq!(records[0].endpoint, Some(moved));
    assert!(records[1].credential.is_none());
    let stored = credential(&store, "acme").await.unwrap();
    assert_eq!(stored.generation, Generation(2));
    assert!(stored.access.matches("A-canary-2") && stored.refresh.matches("R-canary-2"));
    assert_eq!(stored.expires_at, Some(2_000_000_002));
    assert_eq!(stored.user_id, Some(7));
    assert_eq!(stored.state, State::Connected);
    assert!(!stored.intent_open);
    store.remember_endpoint("acme", None).await.unwrap();
    assert_eq!(store.load().await.unwrap()[0].endpoint, None);
}

#[tokio::test]
async fn a_late_actor_cannot_put_an_older_pair_over_a_newer_one() {
    let home = Home::new();
    let (_state, store) = home.open().await;
    import(&store, "acme", &grant(1)).await;
    store.commit(link("acme", 1), &grant(2)).await.unwrap();
    let late = store.commit(link("acme", 1), &grant(3)).await;
    assert!(matches!(late, Err(StoreError::Superseded(Generation(2)))));
    let late = store.intend(link("acme", 1)).await;
    assert!(matches!(late, Err(StoreError::Superseded(Generation(2)))));
    let dead = State::Dead { code: "invalid_grant".to_owned() };
    store.fail(link("acme", 1), &dead).await.unwrap();
    let stored = credential(&store, "acme").await.unwrap();
    assert!(stored.refresh.matches("R-canary-2"));
    assert_eq!(stored.state, State::Connected);
    let nobody = store.commit(link("nobody", 1), &grant(3)).await;
    assert!(matches!(nobody, Err(StoreError::Unknown)));
}

#[tokio::test]
async fn a_failure_is_written_down_and_the_tokens_stay() {
    let home = Home::new();
    let (_state, store) = home.open().await;
    import(&store, "acme", &grant(1)).await;
    let code = "invalid_grant".to_owned();
    for state in [State::Suspect, State::Paused { code: code.clone() }, State::Dead { code }] {
        store.intend(link("acme", 1)).await.unwrap();
        store.fail(link("acme", 1), &state).await.unwrap();
        let stored = credential(&store, "acme").await.unwrap();
        assert_eq!(stored.state, state);
        assert!(!stored.intent_open);
        assert!(stored.refresh.matches("R-canary-1"));
    }
}

#[tokio::test]
async fn an_import_takes_the_next_generation_whatever_was_there() {
    let home = Home::new();
    let (_state, store) = home.open().await;
    import(&store, "acme", &grant(1)).await;
    store.commit(link("acme", 1), &grant(2)).await.unwrap();
    store.intend(link("acme", 2)).await.unwrap();
    let added = import(&store, "acme", &grant(9)).await;
    assert_eq!((added.chain, added.generation, added.dropped), (ChainId(2), Generation(3), None));
    let late = store.commit(link("acme", 2), &grant(3)).await;
    assert!(matches!(late, Err(StoreError::Unknown)), "{late:?}");
    let stored = credential(&store, "acme").await.unwrap();
    assert!(stored.access.matches("A-canary-9"));
    assert!(!stored.intent_open);
    let chains: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM chain").fetch_one(&store.pool).await.unwrap();
    assert_eq!(chains, 2, "the chain before is kept");
    let intents: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM intent").fetch_one(&store.pool).await.unwrap();
    assert_eq!(intents, 0);
}

#[tokio::test]
async fn the_ledger_tells_the_way_of_every_refresh_token_by_its_hash() {
    let home = Home::new();
    let (_state, store) = home.open().await;
    import(&store, "acme", &grant(1)).await;
    store.intend(link("acme", 1)).await.unwrap();
    store.commit(link("acme", 1), &grant(2)).await.unwrap();
    store.fail(link("acme", 2), &State::Suspect).await.unwrap();
    let lines: Vec<(String, i64, String)> =
        sqlx::query_as("SELECT outcome, generation, refresh_hash FROM ledger ORDER BY id")
            .fetch_all(&store.pool)
            .await
            .unwrap();
    // printf R-canary-1 | sha256sum
    let (first, second) = ("be997b6f", "45e7e622");
    let want = [
        ("import", 1, first),
        ("intent", 1, first),
        ("commit", 2, second),
        ("failed: suspect", 2, second),
    ];
    let lines: Vec<_> = lines.iter().map(|(a, b, c)| (a.as_str(), *b, c.as_str())).collect();
    assert_eq!(lines, want);
}

#[tokio::test]
async fn the_previous_refresh_token_is_kept_sealed_under_its_own_generation() {
    let home = Home::new();
    let (_state, store) = home.open().await;
    import(&store, "acme", &grant(1)).await;
    store.commit(link("acme", 1), &grant(2)).await.unwrap();
    let (chain, previous): (i64, Vec<u8>) =
        sqlx::query_as("SELECT id, prev_refresh FROM chain").fetch_one(&store.pool).await.unwrap();
    let place = Place { portal: "acme", chain, generation: Generation(1), field: Field::Refresh };
    assert!(store.sealer.open(place, &previous).unwrap().matches("R-canary-1"));
}

#[tokio::test]
async fn no_token_is_readable_in_any_file_of_the_state_directory() {
    let home = Home::new();
    let (_state, store) = home.open().await;
    import(&store, "acme", &grant(1)).await;
    store.commit(link("acme", 1), &grant(2)).await.unwrap();
    let answer = raw(200, b"R-canary-raw");
    store.receive(link("acme", 2), &answer).await.unwrap();
    let folders = [home.path(), home.path().join("journal")];
    let entries = folders.iter().flat_map(|folder| fs::read_dir(folder).unwrap());
    let files: Vec<_> =
        entries.map(|entry| entry.unwrap().path()).filter(|path| path.is_file()).collect();
    assert!(files.iter().any(|path| path.ends_with("acme-1.answer")), "{files:?}");
    for path in files {
        let bytes = fs::read(&path).unwrap();
        assert!(!bytes.windows(6).any(|window| window == b"canary"), "{}", path.display());
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o7777;
        assert_eq!(mode, 0o600, "{}", path.display());
    }
}

#[tokio::test]
async fn every_write_is_synchronised_in_full() {
    let home = Home::new();
    let (_state, store) = home.open().await;
    let full: i64 = sqlx::query_scalar("PRAGMA synchronous").fetch_one(&store.pool).await.unwrap();
    let journal: String =
        sqlx::query_scalar("PRAGMA journal_mode").fetch_one(&store.pool).await.unwrap();
    assert_eq!((full, journal.as_str()), (2, "wal"));
}

#[test]
fn only_file_urls_are_taken() {
    let path = |url| database_path(Path::new("/state"), url);
    assert_eq!(path("sqlite:b24gate.db").unwrap(), Path::new("/state/b24gate.db"));
    assert_eq!(path("sqlite:///var/b.db").unwrap(), Path::new("/var/b.db"));
    for wrong in ["postgres://x/y", "b24gate.db", "sqlite::memory:", "sqlite:a.db?mode=rwc"] {
        assert!(matches!(path(wrong), Err(OpenError::Url(_))), "{wrong}");
    }
}
