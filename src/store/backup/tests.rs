mod arrivals;
mod restoring;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use sqlx::{ConnectOptions as _, Connection as _};
use zeroize::Zeroizing;

use super::*;
use crate::config::KeySource;
use crate::credential::{ChainId, Generation, Grant, Link, RawAnswer, Secret, State};
use crate::store::sqlite::options;
use crate::store::{Answered, Seat, StoreError, StoredCredential};

/// A few state directories on one machine.
struct Machine(tempfile::TempDir);

impl Machine {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn database(&self, name: &str) -> PathBuf {
        self.path(name).join("b24gate.db")
    }

    async fn open(&self, name: &str) -> Result<(StateDirectory, SqliteStore), OpenError> {
        let state = StateDirectory::open(&self.path(name))?;
        let store = SqliteStore::open(&state, &settings()).await?;
        Ok((state, store))
    }

    /// A state directory with a store that holds the first pair of acme.
    async fn with_acme(name: &str) -> Self {
        let machine = Self::new();
        let (_state, store) = machine.open(name).await.unwrap();
        store.add("acme", &grant(1), Seat::Active { keep_old: false }).await.unwrap();
        store.close().await;
        machine
    }

    async fn back_up(&self, name: &str, file: &str, after: After) -> Result<Backup, BackupError> {
        let state = StateDirectory::open(&self.path(name)).unwrap();
        SqliteStore::back_up_at_rest(&state, &settings(), &self.path(file), after).await
    }

    /// Gives acme its next pair.
    async fn rotate(&self, name: &str) {
        let (_state, store) = self.open(name).await.unwrap();
        let stored = acme(&store).await;
        let link = Link { portal: "acme", chain: stored.chain, generation: stored.generation };
        store.intend(link).await.unwrap();
        store.commit(link, &grant(stored.generation.0 + 1)).await.unwrap();
        store.close().await;
    }

    /// Changes a database behind everybody's back.
    async fn tamper(&self, file: &Path, sql: &'static str) {
        let mut connection = options(file).connect().await.unwrap();
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    fn names(&self, name: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(name)).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn settings() -> config::Store {
    config::Store { url: "sqlite:b24gate.db".to_owned(), key: KeySource::StateDirectory }
}

fn grant(number: u64) -> Grant {
    Grant {
        access: Secret::new(format!("A-canary-{number}")),
        refresh: Secret::new(format!("R-canary-{number}")),
        expires_at: Some(2_000_000_000),
        member_id: None,
        user_id: Some(7),
        client_endpoint: None,
        good_until: None,
    }
}

async fn acme(store: &SqliteStore) -> StoredCredential {
    let records = store.load().await.unwrap();
    let record = records.into_iter().find(|record| record.portal == "acme").unwrap();
    record.credential.unwrap().unwrap()
}

#[tokio::test]
async fn a_backup_shows_no_token_and_is_closed_to_others_and_alone() {
    let machine = Machine::with_acme("a").await;
    machine.rotate("a").await;
    fs::create_dir(machine.path("safe")).unwrap();
    let backup = machine.back_up("a", "safe/b", After::Serve).await.unwrap();
    assert_eq!((backup.portals, backup.chains), (1, 1));
    assert_eq!(machine.names("safe"), ["b"]);
    let file = machine.path("safe/b");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
    let bytes = fs::read(&file).unwrap();
    assert!(!bytes.windows(6).any(|window| window == b"canary"));
    let key = fs::read_to_string(machine.path("a/b24gate.key")).unwrap();
    assert!(!bytes.windows(64).any(|window| window == key.trim().as_bytes()));
}

#[tokio::test]
async fn a_backup_is_made_while_the_store_is_in_use() {
    let machine = Machine::with_acme("a").await;
    let (_state, store) = machine.open("a").await.unwrap();
    let origin = Origin::new(&machine.path("a"), &settings()).unwrap();
    for number in 1..4_u64 {
        let file = machine.path(&format!("b{number}"));
        store.back_up(&origin, &file).await.unwrap();
        let stored = acme(&store).await;
        assert_eq!(stored.generation, Generation(number));
        let link = Link { portal: "acme", chain: stored.chain, generation: stored.generation };
        store.commit(link, &grant(number + 1)).await.unwrap();
    }
}

#[tokio::test]
async fn nothing_is_overwritten_and_nothing_half_made_stays() {
    let machine = Machine::with_acme("a").await;
    fs::create_dir(machine.path("safe")).unwrap();
    fs::write(machine.path("safe/b"), "kept").unwrap();
    let refused = machine.back_up("a", "safe/b", After::Retire).await.unwrap_err();
    assert!(matches!(refused, BackupError::Exists { .. }), "{refused}");
    let nowhere = machine.back_up("a", "nowhere/b", After::Retire).await.unwrap_err();
    assert!(nowhere.to_string().contains("nowhere"), "{nowhere}");
    assert_eq!(fs::read(machine.path("safe/b")).unwrap(), b"kept");
    assert_eq!(machine.names("safe"), ["b"]);
    machine.open("a").await.expect("still in service");
}

#[tokio::test]
async fn a_retired_store_is_never_opened_again_and_says_when_and_for_what() {
    let machine = Machine::with_acme("a").await;
    machine.back_up("a", "b", After::Retire).await.unwrap();
    let refused = machine.open("a").await.unwrap_err();
    assert_eq!(refused.exit_code(), 3);
    let file = machine.path("b").display().to_string();
    for said in ["is retired since 2", " UTC", &file, "b24gate store restore"] {
        assert!(refused.to_string().contains(said), "{said} is missing in {refused}");
    }
    let refused = machine.back_up("a", "c", After::Serve).await.unwrap_err();
    assert!(refused.to_string().contains("is retired since"), "{refused}");
    // Nothing was changed by that, and no journal was made that could bring the chains back.
    let names = machine.names("a");
    assert!(!names.contains(&"journal".to_owned()), "{names:?}");
    assert!(names.iter().any(|name| name.starts_with("journal.retired-")), "{names:?}");
    // The file may be lost, and the only good tokens lie here.
    fs::remove_file(machine.path("b")).unwrap();
    let again = machine.back_up("a", "c", After::Retire).await.unwrap();
    assert!(again.earlier.unwrap().why.contains(&file));
    assert_eq!(again.portals, 1);
}

#[tokio::test]
async fn a_backup_that_is_copied_into_place_by_hand_is_not_served() {
    let machine = Machine::with_acme("a").await;
    machine.back_up("a", "b", After::Serve).await.unwrap();
    fs::copy(machine.path("b"), machine.database("a")).unwrap();
    let refused = machine.open("a").await.unwrap_err();
    assert!(refused.to_string().contains("it is a backup"), "{refused}");
}

#[tokio::test]
async fn a_retired_store_whose_database_is_lost_does_not_come_back_from_its_journal() {
    for damaged in [false, true] {
        let machine = Machine::with_acme("a").await;
        machine.back_up("a", "b", After::Retire).await.unwrap();
        // Twice: the second backup had to open the store, which makes a journal.
        machine.back_up("a", "c", After::Retire).await.unwrap();
        if damaged {
            fs::write(machine.database("a"), [0x5a; 8192]).unwrap();
        } else {
            fs::remove_file(machine.database("a")).unwrap();
        }
        let (_state, store) = machine.open("a").await.unwrap();
        assert_eq!(store.load().await.unwrap().len(), 0, "{damaged}");
    }
}

#[tokio::test]
async fn what_a_crash_left_of_a_transaction_is_taken_back_by_the_next_opening() {
    let machine = Machine::with_acme("a").await;
    // As a restored database is until its first start: without a write-ahead log.
    let other = machine.path("other.db");
    fs::copy(machine.database("a"), &other).unwrap();
    let mut connection = write::open_single(&other).await.unwrap();
    let change = "PRAGMA cache_size = 1; CREATE TABLE large (x); \
                  INSERT INTO large VALUES (zeroblob(100000)); BEGIN IMMEDIATE; \
                  UPDATE chain SET access = x'00'; UPDATE large SET x = randomblob(100000); \
                  UPDATE large SET x = randomblob(100000)";
    sqlx::raw_sql(change).execute(&mut connection).await.unwrap();
    // What lies on the disk now is what a crash leaves.
    for suffix in ["", "-journal"] {
        let left = fs::read(machine.path(&format!("other.db{suffix}"))).unwrap();
        assert!(!left.is_empty(), "{suffix}");
        let to = machine.path(&format!("a/b24gate.db{suffix}"));
        fs::write(&to, left).unwrap();
        fs::set_permissions(&to, Permissions::from_mode(0o600)).unwrap();
    }
    connection.close().await.unwrap();
    let (_state, store) = machine.open("a").await.unwrap();
    assert!(acme(&store).await.refresh.matches("R-canary-1"));
    assert!(acme(&store).await.access.matches("A-canary-1"));
}

#[test]
fn what_the_journal_knows_and_the_database_does_not_is_found() {
    let stored = |chain, generation, issued_at| StoredCredential {
        chain: ChainId(chain),
        generation: Generation(generation),
        access: Secret::new("A"),
        refresh: Secret::new("R"),
        expires_at: None,
        member_id: None,
        user_id: None,
        client_endpoint: None,
        issued_at,
        state: State::Connected,
        intent_open: false,
    };
    let record = |credential, answered: Option<(i64, u64, u64, bool)>| Record {
        portal: "acme".to_owned(),
        inject: None,
        endpoint: None,
        credential,
        spares: vec![Ok(stored(9, 3, 500))],
        arriving: Vec::new(),
        facts: crate::store::Facts::default(),
        answers: answered
            .into_iter()
            .map(|(chain, generation, at, ours)| Answered {
                chain: ChainId(chain),
                generation: Generation(generation),
                at,
                ours,
                answer: RawAnswer {
                    status: 200,
                    retry_after: None,
                    at,
                    complete: true,
                    body: Zeroizing::default(),
                },
            })
            .collect(),
    };
    for (answered, newer) in [
        (None, false),
        // The exchange of generation 4 brought the 5 that is stored.
        (Some((7, 4, 900, true)), false),
        (Some((7, 5, 900, true)), true),
        (Some((9, 2, 900, true)), false),
        (Some((9, 3, 900, true)), true),
        (Some((8, 1, 900, true)), true),
        (Some((7, 99, 900, false)), false),
        (Some((7, 1, 2_000, false)), true),
    ] {
        let records = [record(Some(Ok(stored(7, 5, 1_000))), answered)];
        assert_eq!(!unsettled(&records).is_empty(), newer, "{answered:?}");
    }
    let shut = [record(Some(Err(StoreError::Sealed)), Some((7, 1, 900, true)))];
    assert_eq!(unsettled(&shut), ["acme"]);
}
