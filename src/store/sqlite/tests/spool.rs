//! Where an answer goes that its slot does not take.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

use super::*;

/// A file system of its own for the state directory, which can be filled.
struct Small(Home);

impl Small {
    /// `None` where mounting is not allowed.
    fn mount() -> Option<Self> {
        let home = Home::new();
        fs::create_dir(home.path()).unwrap();
        let path = home.path();
        let made = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m,mode=0700", "none"])
            .arg(&path)
            .output();
        if made.is_ok_and(|made| made.status.success()) {
            return Some(Self(home));
        }
        println!("skipped: no tmpfs can be mounted here");
        None
    }

    fn filler(&self) -> PathBuf {
        self.0.path().join("filler")
    }

    fn fill(&self) {
        let mut filler = fs::File::create(self.filler()).unwrap();
        let full = std::io::copy(&mut std::io::repeat(7), &mut filler).unwrap_err();
        assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let gone = Command::new("umount").arg("-l").arg(self.0.path()).status();
        assert!(gone.is_ok_and(|gone| gone.success()));
    }
}

/// The slot's file is not to be written to any more.
async fn spoiled(home: &Home) -> (StateDirectory, SqliteStore) {
    let (state, store) = home.open().await;
    import(&store, "acme", &grant(1)).await;
    store.intend(link("acme", 1)).await.unwrap();
    store.journal.spoil("acme", ChainId(1));
    (state, store)
}

fn files(path: &Path) -> usize {
    fs::read_dir(path).map_or(0, Iterator::count)
}

#[tokio::test]
async fn f_09_a_slot_that_fails_is_replaced_by_a_new_file_and_never_trusted_again() {
    let home = Home::new();
    let (state, store) = spoiled(&home).await;
    let before = fs::metadata(home.slot("acme-1.answer")).unwrap().ino();
    store.receive(link("acme", 1), &brings(2)).await.unwrap();
    assert_ne!(fs::metadata(home.slot("acme-1.answer")).unwrap().ino(), before);
    assert_eq!(files(&home.spool()), 0);
    drop((state, store));
    let (_state, store) = home.open().await;
    let found = answers(&store, "acme").await;
    assert!(places(&found) == [(1, 1)] && holds(&found[0], 2));
}

#[tokio::test]
async fn f_07_on_a_full_disk_an_answer_fits_its_slot_and_a_longer_one_goes_to_the_spool() {
    let Some(small) = Small::mount() else { return };
    let home = &small.0;
    let (state, store) = home.open().await;
    import(&store, "acme", &grant(1)).await;
    store.intend(link("acme", 1)).await.unwrap();
    small.fill();
    store.receive(link("acme", 1), &brings(2)).await.unwrap();
    assert_eq!(files(&home.spool()), 0);
    assert!(holds(&answers(&store, "acme").await[0], 2));
    let long = [brings(3).body.as_slice(), &vec![b' '; 40_000]].concat();
    store.receive(link("acme", 1), &raw(200, &long)).await.unwrap();
    assert_eq!(files(&home.spool()), 1);
    let mode = |path: &Path| fs::metadata(path).unwrap().mode() & 0o7777;
    assert_eq!(mode(&home.spool()), 0o700);
    drop((state, store));
    // The process ends, the disk is still full: the answer is found in the spool.
    let state = StateDirectory::open(&home.path()).unwrap();
    fs::remove_file(small.filler()).unwrap();
    let store = home.open_in(&state, None).await.unwrap();
    let found = answers(&store, "acme").await;
    assert!(found.iter().any(|found| found.ours && holds(found, 3)), "{found:?}");
    store.recover(link("acme", 1), &grant(3)).await.unwrap();
    assert_eq!(files(&home.spool()), 0, "the pair is durable where it belongs");
    let found = answers(&store, "acme").await;
    assert!(places(&found) == [(1, 1)] && holds(&found[0], 3), "{found:?}");
}

#[tokio::test]
async fn on_a_full_disk_with_a_slot_that_fails_the_spool_takes_the_answer() {
    let Some(small) = Small::mount() else { return };
    let home = &small.0;
    let (_state, store) = spoiled(home).await;
    small.fill();
    store.receive(link("acme", 1), &brings(2)).await.unwrap();
    assert_eq!(files(&home.spool()), 1);
    assert!(!home.slot("acme-1.answer.new").exists(), "half a draft takes room");
    fs::remove_file(small.filler()).unwrap();
    store.receive(link("acme", 1), &brings(3)).await.unwrap();
    assert_eq!(files(&home.spool()), 0, "a later answer is in its slot");
}

#[tokio::test]
async fn a_slot_that_is_removed_during_the_exchange_does_not_swallow_the_answer() {
    let home = Home::new();
    let (_state, store) = home.open().await;
    import(&store, "acme", &grant(1)).await;
    store.intend(link("acme", 1)).await.unwrap();
    fs::remove_dir_all(home.path().join("journal")).unwrap();
    store.receive(link("acme", 1), &brings(2)).await.unwrap();
    assert_eq!(files(&home.spool()), 1);
}

#[tokio::test]
async fn when_no_place_is_left_it_says_what_each_of_them_said() {
    let home = Home::new();
    let (_state, store) = spoiled(&home).await;
    fs::remove_dir_all(home.path().join("journal")).unwrap();
    fs::create_dir(home.spool()).unwrap();
    fs::set_permissions(home.spool(), fs::Permissions::from_mode(0o755)).unwrap();
    let lost = store.receive(link("acme", 1), &brings(2)).await.unwrap_err();
    let StoreError::Unavailable(source) = lost else { panic!("{lost:?}") };
    let text = source.to_string();
    assert!(text.contains("acme-1.answer") && text.contains("chmod 700"), "{text}");
    assert_eq!(files(&home.spool()), 0, "others could look into it");
    if rustix::process::geteuid().is_root() {
        fs::set_permissions(home.spool(), fs::Permissions::from_mode(0o700)).unwrap();
        std::os::unix::fs::chown(home.spool(), Some(12345), None).unwrap();
        let lost = store.receive(link("acme", 1), &brings(2)).await.unwrap_err();
        let StoreError::Unavailable(source) = lost else { panic!("{lost:?}") };
        assert!(source.to_string().contains("belongs to user 12345"), "{source}");
    }
}

#[tokio::test]
async fn the_spool_files_of_another_store_are_left_alone() {
    let home = Home::new();
    let (state, store) = spoiled(&home).await;
    fs::remove_dir_all(home.path().join("journal")).unwrap();
    store.receive(link("acme", 1), &brings(2)).await.unwrap();
    store.close().await;
    drop((state, store));
    let key = fs::read(home.path().join("b24gate.key")).unwrap();
    fs::remove_dir_all(home.path()).unwrap();
    let state = StateDirectory::open(&home.path()).unwrap();
    fs::write(home.path().join("b24gate.key"), key).unwrap();
    fs::set_permissions(home.path().join("b24gate.key"), fs::Permissions::from_mode(0o600))
        .unwrap();
    let store = home.open_in(&state, None).await.unwrap();
    import(&store, "acme", &grant(5)).await;
    assert_eq!(places(&answers(&store, "acme").await), [(1, 0)]);
    assert_eq!(files(&home.spool()), 1);
}
