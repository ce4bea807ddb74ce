use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::credential::{ChainId, Generation, Grant, Link};
use crate::store::directory::Directory;
use crate::store::{Registry as _, Seat, StoredCredential};

/// A state directory with a chain that was rotated, a spare, and history.
struct Home(tempfile::TempDir);

impl Home {
    async fn new(key: KeySource) -> (Self, config::Store) {
        let home = Self(tempfile::tempdir().unwrap());
        let settings = config::Store { url: "sqlite:b24gate.db".to_owned(), key };
        let (_state, store) = home.open(&settings).await.unwrap();
        let active = Seat::Active { keep_old: false };
        store.add("acme", &grant(1), active).await.unwrap();
        store.add("acme", &grant(2), active).await.unwrap();
        store.add("acme", &grant(3), Seat::Spare).await.unwrap();
        let link = Link { portal: "acme", chain: ChainId(2), generation: Generation(2) };
        store.commit(link, &grant(4)).await.unwrap();
        // From the journal, which knew more: the token before is two generations older.
        let link = Link { generation: Generation(5), ..link };
        store.recover(link, &grant(6)).await.unwrap();
        store.close().await;
        (home, settings)
    }

    fn state(&self) -> StateDirectory {
        StateDirectory::open(&self.path("")).unwrap()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join("state").join(name)
    }

    fn key(&self) -> String {
        fs::read_to_string(self.path("b24gate.key")).unwrap()
    }

    async fn open(
        &self,
        settings: &config::Store,
    ) -> Result<(StateDirectory, SqliteStore), OpenError> {
        let state = self.state();
        let store = SqliteStore::open(&state, settings).await?;
        Ok((state, store))
    }

    async fn rekey(
        &self,
        settings: &config::Store,
        new: Option<&Path>,
    ) -> Result<Rekeyed, RekeyError> {
        rekey(&self.state(), settings, new).await
    }

    /// All but the last act: what a crash right after the commit leaves.
    async fn commit_only(&self, settings: &config::Store) {
        let (state, store) = self.open(settings).await.unwrap();
        seal_anew(&store, &state, None).await.unwrap();
        store.close().await;
    }

    /// A chain that fills pages of its own.
    async fn import_gone(&self, settings: &config::Store) {
        let (_state, store) = self.open(settings).await.unwrap();
        let long = Grant { access: Secret::new("A".repeat(20_000)), ..grant(9) };
        store.add("gone", &long, Seat::Active { keep_old: false }).await.unwrap();
        store.close().await;
    }

    /// Changes the database behind the store's back.
    async fn change(&self, sql: &'static str) {
        let mut connection = options(&self.path("b24gate.db")).connect().await.unwrap();
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
    }

    /// A chain that arrives, application tokens and events.
    async fn fill(&self, settings: &config::Store) {
        let (_state, store) = self.open(settings).await.unwrap();
        store.add("acme", &grant(7), Seat::Arriving).await.unwrap();
        for portal in ["acme", "bare"] {
            let token = Secret::new(format!("T-{portal}"));
            store.note_install(portal, 1, Some(&token)).await.unwrap();
        }
        for event in [b"event 1", b"event\xff2"] {
            store.put_letter(event).await.unwrap();
        }
        store.close().await;
    }

    async fn sealed(&self) -> Vec<Vec<u8>> {
        let mut connection = options(&self.path("b24gate.db")).connect().await.unwrap();
        let texts = sqlx::query_scalar(
            "SELECT access FROM chain UNION SELECT refresh FROM chain UNION \
             SELECT prev_refresh FROM chain WHERE prev_refresh IS NOT NULL UNION \
             SELECT application_token FROM portal WHERE application_token IS NOT NULL UNION \
             SELECT event FROM inbox UNION \
             SELECT proof FROM seal",
        )
        .fetch_all(&mut connection)
        .await
        .unwrap();
        connection.close().await.unwrap();
        texts
    }

    fn holds(&self, needle: &[u8]) -> bool {
        // The beginning: long texts go over several pages.
        let needle = needle.get(..50).unwrap_or(needle);
        fs::read_dir(self.path("")).unwrap().any(|entry| {
            let path = entry.unwrap().path();
            path.is_file()
                && fs::read(path).unwrap().windows(needle.len()).any(|window| window == needle)
        })
    }

    /// The files of the journal.
    fn slots(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("journal")).unwrap();
        let mut names: Vec<_> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// Leaves in the journal what a crash may leave: no later copy would take these names.
    fn leave_drafts(&self) {
        assert_eq!(self.slots(), SLOTS);
        for name in ["acme-1.answer", "acme-1.answer.new"] {
            let draft = self.path("journal").join(name);
            fs::copy(self.path("journal/acme-2.answer"), draft).unwrap();
        }
    }

    /// Whether a key opens any slot.
    fn key_opens_a_slot(&self, key: &str) -> bool {
        let source = KeySource::Environment(Secret::new(key));
        let key = Key::load(&self.state(), &source, Sealed::Credentials).unwrap();
        let slots = Directory::open_private(&self.path("journal")).unwrap();
        journal::opens_any(&slots, &Sealer::new(&key))
    }
}

/// One for each chain that has a seat.
const SLOTS: [&str; 2] = ["acme-2.answer", "acme-3.answer"];

fn grant(number: u64) -> Grant {
    Grant {
        access: Secret::new(format!("A{number}")),
        refresh: Secret::new(format!("R{number}")),
        expires_at: Some(2_000_000_000),
        member_id: None,
        user_id: None,
        client_endpoint: None,
        good_until: None,
    }
}

/// The active chain and the spare.
async fn chains(store: &SqliteStore) -> (StoredCredential, StoredCredential) {
    let mut record = store.load().await.unwrap().remove(0);
    (record.credential.unwrap().unwrap(), record.spares.remove(0).unwrap())
}

async fn assert_whole(home: &Home, settings: &config::Store) {
    let (_state, store) = home.open(settings).await.unwrap();
    let (active, spare) = chains(&store).await;
    assert!(active.access.matches("A6") && active.refresh.matches("R6"));
    assert!(spare.access.matches("A3") && spare.refresh.matches("R3"));
    store.close().await;
}

/// What [`Home::fill`] made.
async fn assert_filled(home: &Home, settings: &config::Store) {
    let (_state, store) = home.open(settings).await.unwrap();
    let records = store.load().await.unwrap();
    let [acme, bare] = &records[..] else { panic!("{records:?}") };
    assert!(acme.arriving[0].as_ref().unwrap().refresh.matches("R7"));
    for (record, token) in [(acme, "T-acme"), (bare, "T-bare")] {
        assert!(record.facts.application_token.as_ref().unwrap().matches(token));
    }
    let letters = store.letters().await.unwrap();
    let bodies: Vec<_> = letters.iter().map(|letter| letter.body.as_slice()).collect();
    assert_eq!(bodies, [b"event 1", b"event\xff2"]);
    store.close().await;
}

fn write_key(path: &Path, text: &str, mode: u32) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[tokio::test]
async fn everything_opens_with_the_new_key_and_nothing_of_the_old_one_stays() {
    let (home, settings) = Home::new(KeySource::StateDirectory).await;
    home.import_gone(&settings).await;
    let (old, sealed) = (home.key(), home.sealed().await);
    home.change("DELETE FROM chain WHERE portal = 'gone'").await;
    fs::remove_file(home.path("journal/gone-4.answer")).unwrap();
    home.leave_drafts();
    assert!(home.key_opens_a_slot(&old));
    // Pages that became free still show what was on them.
    assert!(sealed.iter().all(|text| home.holds(text)));
    let rekeyed = home.rekey(&settings, None).await.unwrap();
    assert_eq!(rekeyed.chains, 3);
    assert_ne!(home.key(), old);
    assert!(!home.path("b24gate.key.new").exists());
    // Before anything else opened the store: each pair has its second copy already.
    assert_eq!(home.slots(), SLOTS);
    assert!(home.key_opens_a_slot(&home.key()) && !home.key_opens_a_slot(&old));
    assert!(!sealed.iter().any(|text| home.holds(text)));
    assert_whole(&home, &settings).await;
    // That the history and the token before were sealed anew shows when it is done again.
    home.rekey(&settings, None).await.unwrap();
    assert_whole(&home, &settings).await;
    let new = home.key();
    write_key(&home.path("b24gate.key"), &old, 0o600);
    let refused = home.open(&settings).await.unwrap_err();
    assert!(refused.to_string().contains("not the one that sealed"), "{refused}");
    write_key(&home.path("b24gate.key"), &new, 0o600);
    assert_whole(&home, &settings).await;
}

#[tokio::test]
async fn cut_short_after_the_commit_the_next_opening_finishes_it() {
    let (home, settings) = Home::new(KeySource::StateDirectory).await;
    home.leave_drafts();
    let old = home.key();
    home.commit_only(&settings).await;
    assert_eq!(home.key(), old);
    assert!(home.path("b24gate.key.new").exists());
    assert!(home.key_opens_a_slot(&old));
    assert_whole(&home, &settings).await;
    assert_ne!(home.key(), old);
    assert!(!home.path("b24gate.key.new").exists());
    assert_eq!(home.slots(), SLOTS);
    assert!(home.key_opens_a_slot(&home.key()) && !home.key_opens_a_slot(&old));
    assert_whole(&home, &settings).await;
}

#[tokio::test]
async fn cut_short_before_the_commit_the_old_key_stays_and_it_can_be_done_again() {
    let (home, settings) = Home::new(KeySource::StateDirectory).await;
    let old = home.key();
    for text in ["", "half a k", &"ab".repeat(32)] {
        write_key(&home.path("b24gate.key.new"), text, 0o600);
        assert_whole(&home, &settings).await;
        assert_eq!(home.key(), old, "{text}");
    }
    home.rekey(&settings, None).await.unwrap();
    assert_ne!(home.key(), old);
    assert!(!home.key().contains("abab"), "the one that lay there is not taken");
    assert_whole(&home, &settings).await;
}

#[tokio::test]
async fn a_record_that_does_not_open_is_named_and_nothing_changes() {
    for sql in [
        "UPDATE chain SET access = refresh WHERE id = 1",
        "UPDATE chain SET prev_refresh = access WHERE id = 2",
    ] {
        let (home, settings) = Home::new(KeySource::StateDirectory).await;
        home.change(sql).await;
        let (old, sealed) = (home.key(), home.sealed().await);
        let refused = home.rekey(&settings, None).await.unwrap_err();
        let name = if sql.contains("prev") { "chain 2" } else { "chain 1" };
        assert!(refused.to_string().contains(&format!("portal acme {name}")), "{refused}");
        assert_eq!((home.key(), home.sealed().await), (old, sealed));
        assert!(home.slots() == SLOTS && home.key_opens_a_slot(&home.key()));
        assert_whole(&home, &settings).await;
    }
}

#[tokio::test]
async fn what_arrives_and_what_waits_opens_with_the_new_key_and_not_with_the_old_one() {
    let (home, settings) = Home::new(KeySource::StateDirectory).await;
    home.fill(&settings).await;
    let sealed = home.sealed().await;
    let rekeyed = home.rekey(&settings, None).await.unwrap();
    assert_eq!(rekeyed.chains, 4);
    // Before anything else opened the store.
    assert!(home.slots().contains(&"acme-4.answer".to_owned()));
    assert!(!sealed.iter().any(|text| home.holds(text)));
    assert_filled(&home, &settings).await;
    assert_whole(&home, &settings).await;
    home.commit_only(&settings).await;
    assert_filled(&home, &settings).await;
}

#[tokio::test]
async fn an_application_token_or_an_event_that_does_not_open_is_named_and_nothing_changes() {
    for (sql, name) in [
        ("UPDATE portal SET application_token = x'00' WHERE name = 'bare'", "portal bare appl"),
        ("UPDATE inbox SET event = (SELECT event FROM inbox WHERE id = 2) WHERE id = 1", "event 1"),
    ] {
        let (home, settings) = Home::new(KeySource::StateDirectory).await;
        home.fill(&settings).await;
        home.change(sql).await;
        let (old, sealed) = (home.key(), home.sealed().await);
        let refused = home.rekey(&settings, None).await.unwrap_err();
        assert!(refused.to_string().contains(name), "{refused}");
        assert_eq!((home.key(), home.sealed().await), (old, sealed));
        assert_whole(&home, &settings).await;
    }
}

#[tokio::test]
async fn a_key_that_the_configuration_names_is_replaced_by_one_that_the_operator_made() {
    let old = "cd".repeat(32);
    let (home, settings) = Home::new(KeySource::Environment(Secret::new(old.clone()))).await;
    let path = home.path("new.key");
    let refused = home.rekey(&settings, None).await.unwrap_err();
    assert!(refused.to_string().contains("--new-key-file"), "{refused}");
    assert_eq!(refused.exit_code(), 2);
    for (text, mode, problem) in [
        ("short", 0o600, "openssl rand -hex 32"),
        (old.as_str(), 0o600, "in use already"),
        (&"ef".repeat(32), 0o644, "chmod 600"),
    ] {
        write_key(&path, text, mode);
        let refused = home.rekey(&settings, Some(&path)).await.unwrap_err();
        assert!(refused.to_string().contains(problem), "{refused}");
        assert_whole(&home, &settings).await;
    }
    write_key(&path, &"ef".repeat(32), 0o600);
    home.rekey(&settings, Some(&path)).await.unwrap();
    let refused = home.open(&settings).await.unwrap_err();
    assert!(refused.to_string().contains("not the one that sealed"), "{refused}");
    let settings = config::Store { key: KeySource::File(path), ..settings };
    assert_whole(&home, &settings).await;
    assert!(!home.path("b24gate.key").exists() && !home.path("b24gate.key.new").exists());
}

#[tokio::test]
async fn what_the_old_key_sealed_leaves_the_spool_and_what_others_have_there_stays() {
    let (home, settings) = Home::new(KeySource::StateDirectory).await;
    let spool = home.0.path().join("spool");
    fs::create_dir(&spool).unwrap();
    fs::set_permissions(&spool, Permissions::from_mode(0o700)).unwrap();
    let mut connection = options(&home.path("b24gate.db")).connect().await.unwrap();
    let identity = identify(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    let [a, b, c, d, ..] = identity[..] else { panic!("{identity:?}") };
    let ours = format!("{a:02x}{b:02x}{c:02x}{d:02x}-acme-2.answer");
    let foreign = format!("{:02x}{b:02x}{c:02x}{d:02x}-acme-2.answer", a ^ 1);
    for name in [ours.clone(), format!("{ours}.new"), foreign.clone()] {
        write_key(&spool.join(name), "sealed with the old key", 0o600);
    }
    home.commit_only(&settings).await;
    let (state, path) = (home.state(), home.path("b24gate.db"));
    heal(&state, &settings, &path, &[home.path("nowhere"), spool.clone()]).await.unwrap();
    let left: Vec<_> = fs::read_dir(&spool).unwrap().map(|it| it.unwrap().file_name()).collect();
    assert_eq!(left, [foreign.as_str()]);
}

#[tokio::test]
async fn a_database_that_is_damaged_in_the_middle_comes_back_from_the_journal() {
    let (home, settings) = Home::new(KeySource::StateDirectory).await;
    let old = home.key();
    home.commit_only(&settings).await;
    fs::write(home.path("b24gate.db"), [0x5a; 8192]).unwrap();
    let (_state, store) = home.open(&settings).await.unwrap();
    let records = store.load().await.unwrap();
    store.close().await;
    // The slots are still under the old key, so that is the one to go on with.
    assert_eq!(home.key(), old);
    let texts: Vec<_> = records[0].answers.iter().map(|it| &it.answer.body[..]).collect();
    let found = |text: &[u8]| texts.iter().any(|body| memchr::memmem::find(body, text).is_some());
    assert!(found(b"R6") && found(b"R3"));
}

#[tokio::test]
async fn a_store_in_the_middle_is_healed_and_not_taken_for_a_damaged_one() {
    let (home, settings) = Home::new(KeySource::StateDirectory).await;
    home.commit_only(&settings).await;
    assert_whole(&home, &settings).await;
    let names = fs::read_dir(home.path("")).unwrap().map(|it| it.unwrap().file_name());
    let aside = names.filter(|name| name.to_str().unwrap().contains("corrupt"));
    assert_eq!(aside.count(), 0);
}
