//! What is asked before a backup takes the place of a store; the steps are in `place.rs`.

use std::path::{Path, PathBuf};

use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

use crate::config;
use crate::store::backup::BackupError;
use crate::store::backup::compare::{self, Chains};
use crate::store::backup::place::{Elsewhere, InPlace, Plan, Step};
use crate::store::backup::source::{self, Source};
use crate::store::directory::Directory;
use crate::store::key::{Key, Sealed, origin};
use crate::store::retired::{Retired, since};
use crate::store::sealed::Sealer;
use crate::store::sqlite::{Look, PROOF, PROOF_PLACE, database_path, look, migrations, options};
use crate::store::{KeyError, OpenError, StateDirectory, StateError, journal};

/// A backup that shall become the store of a state directory.
#[derive(Debug)]
pub struct Restore<'a> {
    /// The backup.
    pub file: &'a Path,
    /// The state directory, whose lock keeps gateways out.
    pub state: &'a StateDirectory,
    /// What the store there is called, and where its key is.
    pub settings: &'a config::Store,
    /// What is known of the store that the backup was made from.
    pub whereabouts: Whereabouts,
    /// What to do when newer tokens would be lost.
    pub older: Older,
}

/// What is known of the store that the backup was made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// What can be seen from here.
    Look,
    /// The operator says that it is out of service for good.
    Gone,
}

/// What to do when newer tokens would be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Older {
    /// Refuse.
    Refuse,
    /// Restore the older ones all the same.
    Insist,
}

/// What was done.
#[derive(Debug)]
pub struct Restored {
    /// Portals that have a credential now.
    pub portals: u64,
    /// Where the database lies that was in place before.
    pub replaced: Option<PathBuf>,
    /// The store on this machine that was retired, because the backup was made from it.
    pub retired: Option<PathBuf>,
    /// Whether the backup could be marked as used.
    pub marked: bool,
}

impl Restore<'_> {
    /// Asks everything first, then acts.
    pub async fn run(&self) -> Result<Restored, BackupError> {
        let mut plan = self.plan().await?;
        for step in Step::ALL {
            plan.take(step).await?;
        }
        Ok(plan.into_restored())
    }

    /// Everything that may refuse. Nothing is changed but the schema of older stores.
    pub(super) async fn plan(&self) -> Result<Plan, BackupError> {
        let file = std::path::absolute(self.file)
            .map_err(|source| StateError::Io { path: self.file.to_owned(), source })?;
        let (source, backup) = self.read_backup(&file).await?;
        let database = database_path(self.state.path(), &self.settings.url)?;
        let in_place = look_in_place(self.state.path(), &database).await?;
        let elsewhere = self.out_of_service(&source, &backup, in_place.found.as_ref()).await?;
        let stores = [in_place.found.as_ref(), elsewhere.as_ref().map(|other| &other.found)];
        for store in stores.into_iter().flatten() {
            let ahead = compare::ahead(&store.chains, &backup);
            if !ahead.is_empty() && self.older == Older::Refuse {
                return Err(BackupError::Ahead { database: store.database.clone(), ahead });
            }
        }
        let state = self.state.path().to_owned();
        Plan::new(file, state, database, (in_place, elsewhere), backup)
    }

    /// The backup, if it is one, is closed to others, opens with the key that is here, and was not
    /// restored before.
    async fn read_backup(&self, file: &Path) -> Result<(Source, Chains), BackupError> {
        let unnamed = || BackupError::Name { path: file.to_owned() };
        let name = file.file_name().and_then(|name| name.to_str()).ok_or_else(unnamed)?;
        let folder = file.parent().ok_or_else(unnamed)?;
        Directory::open_elsewhere(folder)?.check_readable(name)?;
        if let Look::Damaged(problem) = look(file, false).await? {
            return Err(BackupError::Unsound { path: file.to_owned(), problem });
        }
        let failed = |source| OpenError::database(file, source);
        let mut connection = options(file).connect().await.map_err(failed)?;
        let read = read_backup(&mut connection).await;
        connection.close().await.map_err(failed)?;
        let not_one = || BackupError::NotABackup { path: file.to_owned() };
        let (source, chains, proof) = read.map_err(failed)?.ok_or_else(not_one)?;
        self.opens(file, &source, &proof)?;
        if let Some(used) = &source.restored {
            // A restoration that was begun may be repeated where it was begun, and only there.
            let here = used.machine == source::machine() && same(&used.to, self.state.path());
            if used.finished || !here {
                let (at, to) = (used.at.clone(), used.to.clone());
                return Err(BackupError::Used { path: file.to_owned(), at, to });
            }
        }
        Ok((source, chains))
    }

    fn opens(&self, file: &Path, source: &Source, proof: &[u8]) -> Result<(), BackupError> {
        let wanted = origin(self.state, &self.settings.key);
        let wrong = || KeyError::Wrong { origin: wanted.clone() };
        Key::load(self.state, &self.settings.key, Sealed::Credentials)
            .and_then(|key| match Sealer::new(&key).open(PROOF_PLACE, proof) {
                Ok(text) if text.matches(PROOF) => Ok(()),
                _ => Err(wrong()),
            })
            .map_err(|problem| BackupError::Key {
                path: file.to_owned(),
                problem: Box::new(problem),
                key: source.key.clone(),
                host: source.host.clone(),
                wanted: wanted.clone(),
            })
    }

    /// Makes sure that the store which the backup was made from is not served beside the restored
    /// one. On this machine its directory stays locked until the end, and the plan retires it.
    async fn out_of_service(
        &self,
        source: &Source,
        backup: &Chains,
        in_place: Option<&Found>,
    ) -> Result<Option<Elsewhere>, BackupError> {
        let begun = source.restored.is_some();
        let unclear = |problem: String| match self.whereabouts {
            Whereabouts::Gone => Ok(None),
            Whereabouts::Look => Err(BackupError::SourceUnclear {
                state: source.state.clone(),
                host: source.host.clone(),
                problem,
            }),
        };
        // Its chains may have gone on from another backup of it.
        let gone_on = |found: &Found| match &found.retired {
            Some(retired) if found.chains.store == backup.store && !source.retired && !begun => {
                Some(retired.to_string())
            }
            _ => None,
        };
        if source.retired {
            return Ok(None);
        }
        let relative = in_place.filter(|found| found.chains.store == backup.store);
        let in_its_place = same(&source.state, self.state.path());
        match (&source.machine, source::machine()) {
            (Some(there), Some(here)) if *there == here => {}
            // A machine without a number; the store in place tells as well that it is the one.
            (None, _) | (_, None) if in_its_place && relative.is_some() => {}
            _ => return unclear("it is on another machine".to_owned()),
        }
        if in_its_place {
            return match relative.and_then(gone_on) {
                Some(problem) => unclear(problem),
                None => Ok(None),
            };
        }
        match source.state.symlink_metadata() {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return unclear(error.to_string()),
        }
        let lock = match StateDirectory::open(&source.state) {
            Ok(lock) => lock,
            // Nobody's word is taken against this.
            Err(error @ StateError::Locked { .. }) => return Err(BackupError::Served(error)),
            Err(error) => return unclear(error.to_string()),
        };
        match left_there(source, backup).await {
            Ok(None) => Ok(None),
            Ok(Some(found)) => match gone_on(&found) {
                Some(problem) => unclear(problem),
                None => Ok(Some(Elsewhere { lock, found })),
            },
            Err(problem) => unclear(problem),
        }
    }
}

/// A store on this machine, as it lies there.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) database: PathBuf,
    pub(super) chains: Chains,
    retired: Option<Retired>,
}

/// The store that the backup was made from, where it lay; the error says what is not clear.
async fn left_there(source: &Source, backup: &Chains) -> Result<Option<Found>, String> {
    match find(&source.database, false).await.map_err(|error| error.to_string())? {
        Place::Store(found) if found.chains.store == backup.store => Ok(Some(found)),
        // Another store lies there now, which is none of ours, or none at all. But a gateway would
        // take what its journal holds.
        Place::Store(_) | Place::Empty => {
            match journal::has_answers_of(&source.state, &backup.store) {
                Ok(false) => Ok(None),
                Ok(true) => {
                    Err("a gateway that starts there would take its tokens from its journal".into())
                }
                Err(error) => Err(error.to_string()),
            }
        }
        Place::Damaged(problem) => Err(problem),
    }
}

/// What lies where the restored store shall lie. What is damaged can neither be served nor compared;
/// what its journal holds stays where it is.
async fn look_in_place(state: &Path, database: &Path) -> Result<InPlace, BackupError> {
    let found = match find(database, journal::has_answers_in(state)?).await? {
        Place::Store(found) => Some(found),
        Place::Empty | Place::Damaged(_) => None,
    };
    Ok(InPlace { there: database.symlink_metadata().is_ok(), found })
}

/// What lies where a database should lie.
#[derive(Debug)]
enum Place {
    Empty,
    Damaged(String),
    Store(Found),
}

/// A store that no gateway uses, brought to this version's schema. `answers` says whether there are
/// some in its journal.
async fn find(database: &Path, answers: bool) -> Result<Place, OpenError> {
    if database.symlink_metadata().is_err() {
        return Ok(Place::Empty);
    }
    if let Look::Damaged(problem) = look(database, answers).await? {
        return Ok(Place::Damaged(problem));
    }
    let failed = |source| OpenError::database(database, source);
    let mut connection = options(database).connect().await.map_err(failed)?;
    let migrated = migrations().run(&mut connection).await;
    migrated.map_err(|error| OpenError::database(database, error))?;
    let chains = compare::read(&mut connection).await.map_err(failed)?;
    let retired = since(&mut connection, database).await.map_err(failed)?;
    connection.close().await.map_err(failed)?;
    Ok(Place::Store(Found { database: database.to_owned(), chains, retired }))
}

async fn read_backup(
    connection: &mut SqliteConnection,
) -> Result<Option<(Source, Chains, Vec<u8>)>, sqlx::Error> {
    let Some(source) = source::read(&mut *connection).await? else {
        return Ok(None);
    };
    let store =
        sqlx::query_scalar("SELECT store FROM identity").fetch_one(&mut *connection).await?;
    let chains = compare::read_as(&mut *connection, store).await?;
    let proof = sqlx::query_scalar("SELECT proof FROM seal").fetch_one(connection).await?;
    Ok(Some((source, chains, proof)))
}

/// Whether two paths lead to the same directory.
fn same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_missing| path.to_owned());
    one == other || real(one) == real(other)
}
