//! What a killed gateway leaves: read from a copy of its state directory, so that the next gateway
//! finds everything as the crash left it.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use b24gate::config::{self, KeySource};
use b24gate::credential::{Grant, Secret};
use b24gate::sandbox::Seed;
use b24gate::store::{Seat, SqliteStore, StateDirectory, Store as _};

use crate::support::chain::fingerprint;

/// What the disk holds of a portal.
#[derive(Debug)]
pub(super) struct Remains {
    /// Fingerprints of all refresh tokens, in whichever file.
    pub(super) refresh: BTreeSet<String>,
    /// The one of the chain in use, by the database.
    pub(super) active: String,
    /// How many chains wait.
    pub(super) spares: usize,
}

/// Looks, without touching anything.
pub(super) async fn inspect(state: &Path) -> Remains {
    let copy = tempfile::tempdir().unwrap();
    let copied = copy.path().join("state");
    copy_files(state, &copied);
    let directory = StateDirectory::open(&copied).unwrap();
    let store = SqliteStore::open(&directory, &settings()).await.unwrap();
    let record = store.load().await.unwrap().pop().expect("a record");
    store.close().await;
    let name = |refresh: &Secret| fingerprint(refresh.expose());
    let active = record.credential.expect("a credential").expect("one that opens");
    let spares: Vec<_> = record.spares.into_iter().map(|spare| spare.unwrap()).collect();
    let mut refresh: BTreeSet<String> = spares.iter().map(|spare| name(&spare.refresh)).collect();
    let answers = record.answers.iter().filter_map(|answered| answered.answer.grant().ok());
    refresh.extend(answers.map(|grant| name(&grant.refresh)));
    refresh.insert(name(&active.refresh));
    Remains { refresh, active: name(&active.refresh), spares: spares.len() }
}

/// Puts a spare chain into the store of a gateway that is down.
pub(super) async fn add_spare(state: &Path, seed: &Seed) {
    let directory = StateDirectory::open(state).unwrap();
    let store = SqliteStore::open(&directory, &settings()).await.unwrap();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let grant = Grant::parse(seed.token_response.to_string().as_bytes(), now).unwrap();
    store.add("acme", &grant, Seat::Spare).await.unwrap();
    store.close().await;
}

fn settings() -> config::Store {
    config::Store { url: "sqlite:b24gate.db".to_owned(), key: KeySource::StateDirectory }
}

fn copy_files(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    std::fs::set_permissions(to, std::fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (kind, target) = (entry.file_type().unwrap(), to.join(entry.file_name()));
        if kind.is_dir() {
            copy_files(&entry.path(), &target);
        } else if kind.is_file() {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
