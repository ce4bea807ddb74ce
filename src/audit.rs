//! Who called what, when, and what became of it.
//!
//! Each worker has a [`Pen`]: at the end of a request it writes a line on a page in memory, which is
//! all that a request ever does here. Once a second a [`Scribe`] in the background turns all pages,
//! writes what is on them into the log, where that is asked for, and into a file of its own. That
//! file has nothing to do with the store: when it is slow, full or damaged, calls are not kept, and
//! that is all.
//!
//! No body, query, path, header, token or key comes in here, so none can be kept.

mod archive;
mod book;
mod entry;
mod pen;
mod scribe;

pub use archive::{Archive, ArchiveError, Filter, Sum};
pub use entry::{Entry, Executed};
pub use pen::{Line, Pen};
pub use scribe::Scribe;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The pens of all workers, and whether they write.
#[derive(Debug, Default)]
pub struct Audit {
    writing: Arc<AtomicBool>,
    pens: Mutex<Vec<Arc<Pen>>>,
}

impl Audit {
    /// A pen for a new worker.
    pub fn pen(&self) -> Arc<Pen> {
        let pen = Arc::new(Pen::new(self.writing.clone()));
        lock(&self.pens).push(pen.clone());
        pen
    }

    fn pens(&self) -> Vec<Arc<Pen>> {
        lock(&self.pens).clone()
    }

    fn set_writing(&self, writing: bool) {
        self.writing.store(writing, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Beside the store and not in it.
fn path_in(state: &Path) -> PathBuf {
    state.join("audit.db")
}
