//! The steps by which a backup becomes the store of a state directory.
//!
//! A crash after any of them leaves either the store that was in place, or one that is retired and
//! refuses to be served, or the restored one; never two that hold the same chains and can both be
//! served, and never an empty place, where the next start would make a new and empty store. The
//! same command, given again, goes on from there:
//!
//! 1. `Copy` writes a file beside the database, which nothing reads but the steps that follow; the
//!    next attempt writes it anew.
//! 2. `Claim` writes into the backup where it is being restored. From here on it can be restored
//!    there and nowhere else.
//! 3. `RetireSource` puts the store that it was made from out of service, before there is another.
//! 4. `SetAside` retires the database in place.
//! 5. `PutInPlace` gives that database a second name, so that the place is never empty, and is one
//!    rename over the first.
//! 6. `Finish` writes into the backup that it was used up.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use sqlx::{ConnectOptions as _, Connection as _, SqliteConnection};

use crate::credential::unix_now;
use crate::store::backup::compare::Chains;
use crate::store::backup::restore::{Found, Restored};
use crate::store::backup::write::{check, open_single};
use crate::store::backup::{BackupError, source};
use crate::store::directory::{Directory, Missing};
use crate::store::sqlite::{BESIDE, options};
use crate::store::{OpenError, StateDirectory, journal, retired};

/// What is about to happen.
#[derive(Debug)]
pub(super) struct Plan {
    file: PathBuf,
    state: PathBuf,
    database: PathBuf,
    /// Of the database.
    folder: Directory,
    name: String,
    backup: Chains,
    in_place: InPlace,
    elsewhere: Option<Elsewhere>,
    replaced: Option<PathBuf>,
    marked: bool,
}

/// One of the steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Copy,
    Claim,
    RetireSource,
    SetAside,
    PutInPlace,
    Finish,
}

/// What lies where the restored store shall lie.
#[derive(Debug)]
pub(super) struct InPlace {
    pub(super) there: bool,
    /// `None` when it cannot be read.
    pub(super) found: Option<Found>,
}

/// The store on this machine that the backup was made from, locked.
#[derive(Debug)]
pub(super) struct Elsewhere {
    pub(super) lock: StateDirectory,
    pub(super) found: Found,
}

impl Step {
    /// In their order.
    pub(super) const ALL: [Self; 6] = [
        Self::Copy,
        Self::Claim,
        Self::RetireSource,
        Self::SetAside,
        Self::PutInPlace,
        Self::Finish,
    ];
}

impl Plan {
    pub(super) fn new(
        file: PathBuf,
        state: PathBuf,
        database: PathBuf,
        (in_place, elsewhere): (InPlace, Option<Elsewhere>),
        backup: Chains,
    ) -> Result<Self, BackupError> {
        let unnamed = || BackupError::Name { path: database.clone() };
        let name = database.file_name().and_then(|name| name.to_str()).ok_or_else(unnamed)?;
        let folder = Directory::open_elsewhere(database.parent().ok_or_else(unnamed)?)?;
        let name = name.to_owned();
        let (replaced, marked) = (None, false);
        Ok(Self {
            file,
            state,
            database,
            folder,
            name,
            backup,
            in_place,
            elsewhere,
            replaced,
            marked,
        })
    }

    pub(super) async fn take(&mut self, step: Step) -> Result<(), BackupError> {
        match step {
            Step::Copy => self.copy().await,
            Step::Claim => self.claim().await,
            Step::RetireSource => self.retire_source().await,
            Step::SetAside => self.set_aside().await,
            Step::PutInPlace => self.put_in_place(),
            Step::Finish => self.finish().await,
        }
    }

    pub(super) fn into_restored(self) -> Restored {
        let mut portals: Vec<_> = self.backup.portals().collect();
        portals.dedup();
        Restored {
            portals: portals.len() as u64,
            replaced: self.replaced,
            retired: self.elsewhere.map(|other| other.found.database),
            marked: self.marked,
        }
    }

    async fn copy(&self) -> Result<(), BackupError> {
        let draft = self.draft();
        self.folder.remove(&draft)?;
        self.folder.remove(&format!("{draft}-journal"))?;
        let made = self.folder.create(&draft)?;
        let path = self.database.with_file_name(&draft);
        let name = path.to_str().ok_or_else(|| BackupError::Name { path: path.clone() })?;
        let failed = |source| OpenError::database(&path, source);
        let mut backup = options(&self.file).connect().await.map_err(failed)?;
        let copied = sqlx::query("VACUUM INTO ?").bind(name).execute(&mut backup).await;
        backup.close().await.map_err(failed)?;
        copied.map_err(failed)?;
        let mut copy = open_single(&path).await.map_err(failed)?;
        let cleared = into_service(&mut copy).await;
        copy.close().await.map_err(failed)?;
        cleared.map_err(failed)?;
        check(&path).await?;
        made.sync_all().map_err(|source| failed(source.into()))?;
        Ok(self.folder.sync()?)
    }

    /// A backup on a medium that cannot be written is restored as well; whoever asked is told.
    async fn claim(&mut self) -> Result<(), BackupError> {
        let failed = |source| OpenError::database(&self.file, source);
        let mut backup = open_to_mark(&self.file).await.map_err(failed)?;
        let claimed = source::claim(&mut backup, &self.state).await;
        backup.close().await.map_err(failed)?;
        self.marked = match claimed {
            Ok(()) => true,
            Err(error) if is_read_only(&error) => false,
            Err(error) => return Err(failed(error).into()),
        };
        Ok(())
    }

    async fn retire_source(&self) -> Result<(), BackupError> {
        let Some(Elsewhere { lock, found }) = &self.elsewhere else {
            return Ok(());
        };
        let (file, state) = (self.file.display(), self.state.display());
        let why = format!(
            "its backup {file} was restored to {state}, where its chains go on; if that did not \
             finish, repeat it: b24gate store restore {file} --state {state}"
        );
        self.retire(&found.database, &why).await?;
        // It would bring the chains back if that database were damaged or removed.
        Ok(journal::set_aside(lock.path(), "retired")?)
    }

    async fn set_aside(&self) -> Result<(), BackupError> {
        let Some(found) = &self.in_place.found else {
            return Ok(());
        };
        let file = self.file.display();
        let why = format!(
            "the backup {file} takes its place; if that did not finish, repeat it: b24gate store \
             restore {file}"
        );
        self.retire(&found.database, &why).await?;
        // Answers for the chains of another store are none of the restored one's.
        if found.chains.store != self.backup.store {
            journal::set_aside(&self.state, "replaced")?;
        }
        Ok(())
    }

    fn put_in_place(&mut self) -> Result<(), BackupError> {
        let aside = format!("{}.replaced-{}", self.name, unix_now());
        // A log that belongs to another database would be folded into this one.
        self.move_companions(&aside)?;
        if self.in_place.there {
            self.keep_as(&aside)?;
        }
        self.folder.rename(&self.draft(), &self.name)?;
        Ok(self.folder.sync()?)
    }

    /// A second name first, so that the place is never empty.
    fn keep_as(&mut self, aside: &str) -> Result<(), BackupError> {
        if self.database.symlink_metadata().is_ok_and(|file| file.nlink() > 1) {
            // A restoration that was cut short has done this already.
            return Ok(());
        }
        if self.folder.link(&self.name, aside).is_err() {
            // A file system without second names.
            self.folder.rename(&self.name, aside)?;
        }
        self.replaced = Some(self.database.with_file_name(aside));
        Ok(self.folder.sync()?)
    }

    async fn finish(&self) -> Result<(), BackupError> {
        if !self.marked {
            return Ok(());
        }
        let failed = |source| OpenError::database(&self.file, source);
        let mut backup = open_to_mark(&self.file).await.map_err(failed)?;
        let finished = source::finish(&mut backup).await;
        backup.close().await.map_err(failed)?;
        Ok(finished.map_err(failed)?)
    }

    /// Retires a database and folds everything beside it into the one file.
    async fn retire(&self, database: &Path, why: &str) -> Result<(), BackupError> {
        let failed = |source| OpenError::database(database, source);
        let mut connection = open_single(database).await.map_err(failed)?;
        let marked = retired::mark(&mut connection, why).await;
        connection.close().await.map_err(failed)?;
        Ok(marked.map_err(failed)?)
    }

    /// Moves what SQLite keeps beside a database.
    fn move_companions(&self, aside: &str) -> Result<(), BackupError> {
        for suffix in BESIDE {
            let name = format!("{}{suffix}", self.name);
            if self.folder.file(&name, Missing::Report)?.is_some() {
                self.folder.rename(&name, &format!("{aside}{suffix}"))?;
            }
        }
        Ok(self.folder.sync()?)
    }

    fn draft(&self) -> String {
        format!("{}.restoring", self.name)
    }
}

/// Takes out of the copy what only backups have.
async fn into_service(copy: &mut SqliteConnection) -> Result<(), sqlx::Error> {
    let mut transaction = copy.begin().await?;
    sqlx::raw_sql("DROP TABLE source").execute(&mut *transaction).await?;
    retired::clear(&mut transaction).await?;
    transaction.commit().await
}

/// Opens a backup to write into it; that it cannot be written shows with the first statement.
async fn open_to_mark(file: &Path) -> Result<SqliteConnection, sqlx::Error> {
    options(file).synchronous(sqlx::sqlite::SqliteSynchronous::Full).connect().await
}

fn is_read_only(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    // SQLITE_READONLY; SQLITE_CANTOPEN, when there can be no journal beside it.
    let code = code.and_then(|code| code.parse::<u32>().ok());
    code.is_some_and(|code| [8, 14].contains(&(code & 0xff)))
}
