//! A database that was hit: by bit flips, by truncation, by zeros, by noise.

use super::*;

const PORTALS: [&str; 3] = ["acme", "beta", "corp"];

/// Small, seeded, and the same everywhere.
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }

    /// Below `end`.
    pub(super) fn roll(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }
}

/// In memory where there is such a place: these tests write thousands of files.
pub(super) fn quick_home() -> Home {
    Home(tempfile::tempdir_in("/dev/shm").or_else(|_none| tempfile::tempdir()).unwrap())
}

/// Copies what a state directory holds.
pub(super) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    fs::set_permissions(to, fs::Permissions::from_mode(0o700)).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else if !path.to_str().unwrap().ends_with("-shm") {
            // It may go away meanwhile: a draft that gets its name, a log that is folded in.
            match fs::copy(&path, &target) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                copied => drop(copied.unwrap()),
            }
        }
    }
}

/// Three portals; the first was rotated twice.
async fn fill(store: &SqliteStore) {
    for (number, portal) in (0..).zip(PORTALS) {
        let chain = import(store, portal, &grant(10 * number)).await.chain;
        for generation in 1..3 {
            let link = Link { chain, ..link(portal, generation) };
            let next = 10 * number + u32::try_from(generation).unwrap();
            store.intend(link).await.unwrap();
            store.receive(link, &brings(next)).await.unwrap();
            store.commit(link, &grant(next)).await.unwrap();
        }
    }
}

fn mutate(bytes: &mut Vec<u8>, dice: &mut Dice) -> String {
    let length = bytes.len();
    match dice.roll(10) {
        0 => bytes.clear(),
        1 => bytes.truncate(dice.roll(length)),
        2 => bytes.iter_mut().for_each(|byte| *byte = 0),
        3 => {
            let (from, many) = (dice.roll(length), 1 + dice.roll(600));
            let part = bytes.iter_mut().skip(from).take(many);
            part.for_each(|byte| *byte = u8::try_from(dice.next() & 0xff).unwrap());
            return format!("{many} random bytes at {from}");
        }
        _ => {
            let at = dice.roll(length);
            let bit = dice.roll(8);
            bytes[at] ^= 1 << bit;
            return format!("bit {bit} of byte {at}");
        }
    }
    format!("{} of {length} bytes left", bytes.len())
}

fn moved_aside(home: &Home) -> Option<PathBuf> {
    let entries = fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().path());
    entries.into_iter().find(|path| {
        let name = path.file_name().unwrap().to_str().unwrap();
        name.starts_with("b24gate.db.corrupt-")
            && !name.ends_with("-wal")
            && !name.ends_with("-shm")
    })
}

/// Whether the damage was found, and the database moved aside.
async fn hit(template: &Path, file: &str, seed: u64) -> bool {
    let mut dice = Dice::new(seed);
    let home = quick_home();
    copy(template, &home.path());
    let target = home.path().join(file);
    let mut bytes = fs::read(&target).unwrap();
    let what = format!("seed {seed}: {file}, {}", mutate(&mut bytes, &mut dice));
    fs::write(&target, &bytes).unwrap();
    let before = [fs::read(home.database()).unwrap(), fs::read(&target).unwrap()];
    let state = StateDirectory::open(&home.path()).unwrap();
    let store = match home.open_in(&state, None).await {
        Ok(store) => store,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            let after = [fs::read(home.database()).unwrap(), fs::read(&target).unwrap()];
            assert!(before == after, "{what}: refused with {error}, and touched");
            return false;
        }
    };
    let moved = moved_aside(&home);
    if let Some(moved) = &moved {
        assert!(fs::read(moved).unwrap() == before[0], "{what}: the moved file was changed");
    }
    let records = store.load().await.unwrap_or_else(|error| panic!("{what}: {error:?}"));
    let mut shut = 0;
    for (number, portal) in (0..).zip(PORTALS) {
        let newest = 10 * number + 2;
        let record = records.iter().find(|record| record.portal == portal);
        let record = record.unwrap_or_else(|| panic!("{what}: {portal} is not known"));
        let row = match &record.credential {
            Some(Ok(stored)) => Some(stored),
            _ => None,
        };
        let refresh = format!("R-canary-{newest}");
        let in_row = row.is_some_and(|stored| stored.refresh.matches(&refresh));
        let in_answers = record.answers.iter().any(|found| holds(found, newest));
        assert!(in_row || in_answers, "{what}: the pair of {portal} is lost");
        shut += usize::from(row.is_none());
    }
    if moved.is_none() && file == "b24gate.db" && what.contains("bit") {
        assert!(shut <= 1, "{what}: one bit shut {shut} portals");
    }
    moved.is_some()
}

#[tokio::test]
async fn f_49_after_any_damage_every_portals_pair_is_in_its_row_or_in_the_journal() {
    let home = quick_home();
    let (state, store) = home.open().await;
    fill(&store).await;
    let with_log = quick_home();
    copy(&home.path(), &with_log.path());
    store.close().await;
    drop((state, store));
    assert!(fs::metadata(with_log.path().join("b24gate.db-wal")).unwrap().len() > 0);
    assert!(!home.path().join("b24gate.db-wal").exists());
    let mut moved = 0;
    for seed in 0..400 {
        moved += usize::from(hit(&home.path(), "b24gate.db", seed).await);
    }
    assert!((50..350).contains(&moved), "{moved} of 400: both ways must be seen");
    for seed in 400..550 {
        let file = if seed % 3 == 0 { "b24gate.db" } else { "b24gate.db-wal" };
        hit(&with_log.path(), file, seed).await;
    }
}

#[tokio::test]
async fn a_damaged_database_is_moved_aside_whole_and_never_over_another() {
    let home = Home::new();
    let garbage = vec![0x5a; 8192];
    for round in 1..4 {
        let (state, store) = home.open().await;
        store.close().await;
        drop((state, store));
        fs::write(home.database(), &garbage).unwrap();
        fs::write(home.path().join("b24gate.db-wal"), b"log").unwrap();
        fs::set_permissions(home.path().join("b24gate.db-wal"), fs::Permissions::from_mode(0o600))
            .unwrap();
        drop(home.open().await);
        let names: Vec<_> = fs::read_dir(home.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.starts_with("b24gate.db.corrupt-"))
            .collect();
        let logs = names.iter().filter(|name| name.ends_with("-wal")).count();
        assert_eq!((names.len(), logs), (2 * round, round), "{names:?}");
    }
    assert_eq!(fs::read(moved_aside(&home).unwrap()).unwrap(), garbage);
}

#[tokio::test]
async fn a_crash_while_a_database_is_moved_aside_leaves_the_pairs_to_the_next_start() {
    let home = Home::new();
    let (state, store) = home.open().await;
    fill(&store).await;
    let log = home.path().join("b24gate.db-wal");
    let kept = fs::read(&log).unwrap();
    store.close().await;
    drop((state, store));
    // Died after the first of the renames: the log of the old database must not be read into the
    // new one.
    fs::rename(home.database(), home.path().join("b24gate.db.corrupt-1")).unwrap();
    fs::write(&log, kept).unwrap();
    fs::set_permissions(&log, fs::Permissions::from_mode(0o600)).unwrap();
    let (state, store) = home.open().await;
    let records = store.load().await.unwrap();
    assert!(records.iter().all(|record| record.credential.is_none()));
    assert!(answers(&store, "corp").await.iter().any(|found| !found.ours && holds(found, 22)));
    store.close().await;
    drop((state, store));
    // Died before the new one had a page.
    fs::write(home.database(), b"").unwrap();
    let (_state, store) = home.open().await;
    assert!(answers(&store, "acme").await.iter().any(|found| holds(found, 2)));
}

#[tokio::test]
async fn no_key_is_made_up_and_no_other_is_taken_while_there_are_answers() {
    let home = Home::new();
    let (state, store) = home.open().await;
    fill(&store).await;
    store.close().await;
    drop((state, store));
    fs::write(home.database(), b"no database").unwrap();
    let error = home.refused(Some(&"ab".repeat(32))).await;
    assert!(error.to_string().contains("not the one that sealed"), "{error}");
    let key = home.path().join("b24gate.key");
    let kept = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    let error = home.refused(None).await;
    assert!(error.to_string().contains("restore it"), "{error}");
    assert_eq!(fs::read(home.database()).unwrap(), b"no database");
    fs::remove_file(home.database()).unwrap();
    home.refused(None).await;
    home.refused(Some(&"ab".repeat(32))).await;
    fs::write(&key, kept).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let (_state, store) = home.open().await;
    assert!(answers(&store, "beta").await.iter().any(|found| holds(found, 12)));
}

#[tokio::test]
async fn a_damaged_proof_of_the_key_does_not_shut_the_store() {
    let home = Home::new();
    let (state, store) = home.open().await;
    fill(&store).await;
    store.close().await;
    drop((state, store));
    fs::remove_dir_all(home.path().join("journal")).unwrap();
    home.tamper("UPDATE seal SET proof = x'00'").await;
    let error = home.refused(Some(&"ab".repeat(32))).await;
    assert!(error.to_string().contains("not the one that sealed"), "{error}");
    let (_state, store) = home.open().await;
    assert!(credential(&store, "acme").await.unwrap().refresh.matches("R-canary-2"));
}
