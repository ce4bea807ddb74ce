//! Backups that take the place of a store, or must not.

use super::*;
use crate::store::backup::place::Step;

impl Machine {
    /// The state directory `name` gets the key of `of`.
    fn with_key(&self, name: &str, of: &str) -> StateDirectory {
        let state = StateDirectory::open(&self.path(name)).unwrap();
        fs::copy(self.path(of).join("b24gate.key"), self.path(name).join("b24gate.key")).unwrap();
        state
    }

    async fn restore(&self, name: &str, file: &str) -> Result<Restored, BackupError> {
        self.restore_as(name, file, Whereabouts::Look, Older::Refuse).await
    }

    async fn restore_as(
        &self,
        name: &str,
        file: &str,
        whereabouts: Whereabouts,
        older: Older,
    ) -> Result<Restored, BackupError> {
        let state = StateDirectory::open(&self.path(name)).unwrap();
        let file = &self.path(file);
        Restore { file, state: &state, settings: &settings(), whereabouts, older }.run().await
    }

    /// The refresh token of acme in a store that can be served; `None` when it cannot, or when
    /// there is none.
    async fn served(&self, name: &str) -> Option<String> {
        if !self.database(name).exists() {
            return None;
        }
        let (_state, store) = match self.open(name).await {
            Ok(opened) => opened,
            Err(OpenError::Retired(_)) => return None,
            Err(error) => panic!("{name}: {error}"),
        };
        let records = store.load().await.unwrap();
        store.close().await;
        let record = records.into_iter().find(|record| record.portal == "acme")?;
        Some(record.credential?.unwrap().refresh.expose().to_owned())
    }
}

#[tokio::test]
async fn a_backup_is_restored_once_and_retires_the_store_it_was_made_from() {
    let machine = Machine::with_acme("a").await;
    machine.back_up("a", "file", After::Serve).await.unwrap();
    drop(machine.with_key("b", "a"));
    let restored = machine.restore("b", "file").await.unwrap();
    assert_eq!((restored.portals, restored.marked), (1, true));
    assert_eq!(restored.retired, Some(machine.database("a")));
    assert_eq!(machine.served("b").await.as_deref(), Some("R-canary-1"));
    assert_eq!(machine.names("b"), ["b24gate.db", "b24gate.key", "b24gate.lock", "journal"]);
    let refused = machine.open("a").await.unwrap_err();
    let target = machine.path("b").display().to_string();
    assert!(refused.to_string().contains(&target), "{refused}");

    drop(machine.with_key("c", "a"));
    for name in ["b", "c"] {
        let refused = machine.restore_as(name, "file", Whereabouts::Gone, Older::Insist).await;
        let refused = refused.unwrap_err();
        assert!(matches!(&refused, BackupError::Used { to, .. } if *to == machine.path("b")));
        assert!(refused.to_string().contains(" UTC"), "{refused}");
    }
    // A last backup of a store whose chains live elsewhere would be a second branch.
    let refused = machine.back_up("a", "last", After::Retire).await.unwrap_err();
    assert!(refused.to_string().contains(&target), "{refused}");
}

#[tokio::test]
async fn another_backup_of_a_store_whose_chains_went_elsewhere_is_refused() {
    let machine = Machine::with_acme("a").await;
    machine.back_up("a", "one", After::Serve).await.unwrap();
    machine.back_up("a", "two", After::Serve).await.unwrap();
    drop((machine.with_key("b", "a"), machine.with_key("c", "a")));
    machine.restore("b", "one").await.unwrap();
    for name in ["a", "c"] {
        let refused = machine.restore(name, "two").await.unwrap_err();
        assert!(matches!(refused, BackupError::SourceUnclear { .. }), "{name}: {refused}");
        assert!(refused.to_string().contains("is retired since"), "{refused}");
    }
}

#[tokio::test]
async fn a_running_source_is_not_taken_over_whatever_is_said() {
    let machine = Machine::with_acme("a").await;
    machine.back_up("a", "file", After::Serve).await.unwrap();
    let gateway = machine.open("a").await.unwrap();
    drop(machine.with_key("b", "a"));
    for whereabouts in [Whereabouts::Look, Whereabouts::Gone] {
        let refused = machine.restore_as("b", "file", whereabouts, Older::Insist).await;
        let refused = refused.unwrap_err();
        let pid = format!("pid {}", std::process::id());
        assert!(refused.to_string().contains(&pid), "{refused}");
        assert_eq!(refused.exit_code(), 3);
    }
    drop(gateway);
    assert_eq!(machine.served("a").await.as_deref(), Some("R-canary-1"));
    assert_eq!(machine.served("b").await, None);
}

#[tokio::test]
async fn a_source_on_another_machine_needs_the_operators_word_unless_it_was_retired() {
    for sql in ["UPDATE source SET machine = 'another'", "UPDATE source SET machine = NULL"] {
        let machine = Machine::with_acme("a").await;
        machine.back_up("a", "file", After::Serve).await.unwrap();
        machine.tamper(&machine.path("file"), sql).await;
        drop(machine.with_key("b", "a"));
        fs::rename(machine.path("a"), machine.path("far")).unwrap();
        let refused = machine.restore("b", "file").await.unwrap_err();
        assert!(matches!(refused, BackupError::SourceUnclear { .. }), "{refused}");
        for said in ["--source-is-gone", "another machine", "destroys the other's"] {
            assert!(refused.to_string().contains(said), "{said} is missing in {refused}");
        }
        let word = machine.restore_as("b", "file", Whereabouts::Gone, Older::Refuse).await;
        assert_eq!(word.unwrap().retired, None);
        assert_eq!(machine.served("b").await.as_deref(), Some("R-canary-1"));

        drop(machine.with_key("c", "far"));
        machine.back_up("far", "last", After::Retire).await.unwrap();
        machine.tamper(&machine.path("last"), sql).await;
        machine.restore("c", "last").await.unwrap();
    }
}

#[tokio::test]
async fn a_source_that_is_gone_from_this_machine_stands_in_nobodys_way() {
    let machine = Machine::with_acme("a").await;
    machine.back_up("a", "file", After::Serve).await.unwrap();
    drop(machine.with_key("b", "a"));
    fs::remove_dir_all(machine.path("a")).unwrap();
    let restored = machine.restore("b", "file").await.unwrap();
    assert_eq!((restored.retired, restored.replaced), (None, None));
    assert!(!machine.path("a").exists());
}

#[tokio::test]
async fn another_store_that_lies_where_the_source_lay_is_left_alone() {
    let machine = Machine::with_acme("a").await;
    machine.back_up("a", "file", After::Serve).await.unwrap();
    drop(machine.with_key("b", "a"));
    fs::remove_dir_all(machine.path("a")).unwrap();
    drop(machine.open("a").await.unwrap());
    assert_eq!(machine.restore("b", "file").await.unwrap().retired, None);
    machine.open("a").await.expect("still in service");
}

#[tokio::test]
async fn a_source_without_its_database_and_with_its_journal_is_not_out_of_service() {
    let machine = Machine::with_acme("a").await;
    machine.back_up("a", "file", After::Serve).await.unwrap();
    drop(machine.with_key("b", "a"));
    fs::remove_file(machine.database("a")).unwrap();
    for made_anew in [false, true] {
        if made_anew {
            drop(machine.open("a").await.unwrap());
        }
        let refused = machine.restore("b", "file").await.unwrap_err();
        assert!(matches!(refused, BackupError::SourceUnclear { .. }), "{made_anew}: {refused}");
        assert!(refused.to_string().contains("from its journal"), "{made_anew}: {refused}");
    }
    machine.restore_as("b", "file", Whereabouts::Gone, Older::Refuse).await.unwrap();
    assert_eq!(machine.served("b").await.as_deref(), Some("R-canary-1"));
}

#[tokio::test]
async fn cut_short_after_any_step_no_two_stores_can_be_served_and_it_can_be_repeated() {
    for stop in 0..=Step::ALL.len() {
        for in_place in [false, true] {
            let machine = Machine::with_acme("a").await;
            machine.back_up("a", "file", After::Serve).await.unwrap();
            let state = machine.with_key("b", "a");
            if in_place {
                SqliteStore::open(&state, &settings()).await.unwrap().close().await;
            }
            let (file, settings) = (machine.path("file"), settings());
            let (whereabouts, older) = (Whereabouts::Look, Older::Refuse);
            let restore =
                Restore { file: &file, state: &state, settings: &settings, whereabouts, older };
            let mut plan = restore.plan().await.unwrap();
            for step in Step::ALL.into_iter().take(stop) {
                plan.take(step).await.unwrap();
            }
            drop((plan, state));

            let case = format!("after {stop} steps, {in_place}");
            assert!(!in_place || machine.database("b").exists(), "{case}: never empty");
            let finished = stop == Step::ALL.len();
            let served = [machine.served("a").await, machine.served("b").await];
            assert!(served.iter().flatten().count() <= 1, "{case}: {served:?}");
            assert_eq!(served[1].is_some(), stop >= 5, "{case}: {served:?}");
            assert_eq!(served[0].is_some(), stop < 3, "{case}: {served:?}");
            let journal = machine.path("a/journal").exists();
            assert_eq!(journal, stop < 3, "{case}: it would bring the chains back");
            if stop == 4 && in_place {
                // As after a crash between the two names and the rename.
                fs::hard_link(machine.database("b"), machine.path("b/b24gate.db.replaced-1"))
                    .unwrap();
            }
            // It is restored where that was begun, and nowhere else.
            drop(machine.with_key("c", "a"));
            if stop >= 2 {
                let other = machine.restore_as("c", "file", Whereabouts::Gone, Older::Insist).await;
                assert!(matches!(other, Err(BackupError::Used { .. })), "{case}");
            }
            let again = machine.restore("b", "file").await;
            assert_eq!(again.is_ok(), !finished, "{case}: {again:?}");
            assert_eq!(machine.served("a").await, None, "{case}");
            assert_eq!(machine.served("b").await.as_deref(), Some("R-canary-1"), "{case}");
            let left: Vec<_> = machine
                .names("b")
                .into_iter()
                .filter(|name| name.contains("restoring") || name.ends_with("-wal"))
                .collect();
            assert!(left.is_empty(), "{case}: {left:?}");
        }
    }
}

#[tokio::test]
async fn newer_tokens_are_not_replaced_by_older_ones_unless_that_is_insisted_on() {
    for target in ["a", "b"] {
        let machine = Machine::with_acme("a").await;
        machine.back_up("a", "file", After::Serve).await.unwrap();
        machine.rotate("a").await;
        if target == "b" {
            drop(machine.with_key("b", "a"));
        }
        let refused = machine.restore(target, "file").await.unwrap_err();
        let told = refused.to_string();
        assert!(told.contains("acme (generation 2, the backup has 1)"), "{told}");
        assert_eq!(machine.served("a").await.as_deref(), Some("R-canary-2"));
        let insisted = machine.restore_as(target, "file", Whereabouts::Look, Older::Insist).await;
        insisted.unwrap();
        assert_eq!(machine.served(target).await.as_deref(), Some("R-canary-1"));
    }
}

#[tokio::test]
async fn an_exchange_without_an_outcome_may_have_brought_newer_tokens() {
    let machine = Machine::with_acme("a").await;
    machine.back_up("a", "file", After::Serve).await.unwrap();
    let (state, store) = machine.open("a").await.unwrap();
    let link = Link { portal: "acme", chain: ChainId(1), generation: Generation(1) };
    store.intend(link).await.unwrap();
    store.close().await;
    drop((state, store));
    let refused = machine.restore("a", "file").await.unwrap_err();
    assert!(refused.to_string().contains("begun and is not settled"), "{refused}");
}

#[tokio::test]
async fn the_credentials_of_another_store_in_place_are_not_given_up_unasked() {
    let machine = Machine::with_acme("a").await;
    let (state, store) = machine.open("b").await.unwrap();
    store.add("beta", &grant(5), Seat::Active { keep_old: false }).await.unwrap();
    store.close().await;
    drop((state, store));
    machine.back_up("b", "file", After::Retire).await.unwrap();
    drop(machine.with_key("a", "b"));
    let refused = machine.restore("a", "file").await.unwrap_err();
    let told = refused.to_string();
    assert!(told.contains("acme (generation 1, this chain is not in the backup)"), "{told}");
    let restored = machine.restore_as("a", "file", Whereabouts::Look, Older::Insist).await.unwrap();
    let replaced = restored.replaced.unwrap();
    assert!(fs::metadata(&replaced).unwrap().len() > 0);
    let why = retired_for(&replaced).await;
    assert!(why.contains("takes its place"), "{why}");
    // The answers for its chains would be taken for the restored store's.
    let names = machine.names("a");
    assert!(names.iter().any(|name| name.starts_with("journal.replaced-")), "{names:?}");
    assert!(!names.contains(&"journal".to_owned()), "{names:?}");
}

async fn retired_for(database: &Path) -> String {
    let mut connection = options(database).connect().await.unwrap();
    sqlx::query_scalar("SELECT retired_for FROM identity").fetch_one(&mut connection).await.unwrap()
}

#[tokio::test]
async fn a_damaged_store_in_place_is_moved_aside_with_its_log_and_its_journal_stays() {
    let machine = Machine::with_acme("a").await;
    machine.back_up("a", "file", After::Serve).await.unwrap();
    fs::write(machine.database("a"), vec![0x5a; 8192]).unwrap();
    fs::write(machine.path("a/b24gate.db-wal"), "log").unwrap();
    let mode = Permissions::from_mode(0o600);
    fs::set_permissions(machine.path("a/b24gate.db-wal"), mode).unwrap();
    let restored = machine.restore("a", "file").await.unwrap();
    assert_eq!(fs::read(restored.replaced.unwrap()).unwrap(), vec![0x5a; 8192]);
    assert_eq!(machine.served("a").await.as_deref(), Some("R-canary-1"));
    let names = machine.names("a");
    assert!(names.contains(&"journal".to_owned()), "{names:?}");
    let log = |name: &&String| name.contains(".replaced-") && name.ends_with("-wal");
    assert_eq!(names.iter().filter(log).count(), 1, "{names:?}");
}

#[tokio::test]
async fn without_its_key_a_backup_says_which_key_it_wants_and_nothing_happens() {
    let machine = Machine::with_acme("a").await;
    machine.back_up("a", "file", After::Serve).await.unwrap();
    fs::create_dir(machine.path("b")).unwrap();
    fs::set_permissions(machine.path("b"), Permissions::from_mode(0o700)).unwrap();
    let check = |refused: BackupError| {
        assert_eq!(refused.exit_code(), 3);
        for said in [machine.path("a/b24gate.key"), machine.path("b/b24gate.key")] {
            let said = said.display().to_string();
            assert!(refused.to_string().contains(&said), "{said} is missing in {refused}");
        }
    };
    check(machine.restore("b", "file").await.unwrap_err());
    assert_eq!(machine.names("b"), ["b24gate.lock"]);
    fs::write(machine.path("b/b24gate.key"), "ab".repeat(32)).unwrap();
    let mode = Permissions::from_mode(0o600);
    fs::set_permissions(machine.path("b/b24gate.key"), mode).unwrap();
    check(machine.restore("b", "file").await.unwrap_err());
    assert_eq!(machine.names("b"), ["b24gate.key", "b24gate.lock"]);
    assert_eq!(machine.served("a").await.as_deref(), Some("R-canary-1"));
}

#[tokio::test]
async fn files_that_are_open_to_others_or_no_backup_are_refused() {
    let machine = Machine::with_acme("a").await;
    machine.back_up("a", "file", After::Serve).await.unwrap();
    let file = machine.path("file");
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    let refused = machine.restore("a", "file").await.unwrap_err();
    assert_eq!(refused.exit_code(), 3);
    assert!(refused.to_string().contains("chmod 600"), "{refused}");
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();

    fs::copy(machine.database("a"), machine.path("copy")).unwrap();
    let refused = machine.restore("a", "copy").await.unwrap_err();
    assert!(matches!(refused, BackupError::NotABackup { .. }), "{refused}");

    machine
        .tamper(
            &file,
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, \
             execution_time) VALUES (99, 'later', TRUE, x'00', 1)",
        )
        .await;
    let refused = machine.restore("a", "file").await.unwrap_err();
    assert!(refused.to_string().contains("newer b24gate"), "{refused}");
    assert_eq!(machine.served("a").await.as_deref(), Some("R-canary-1"));
}
