//! Once a second: from the workers' pages to the log and to the file.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

use crate::audit::book::Book;
use crate::audit::pen::{Line, Page};
use crate::audit::{Audit, Entry, path_in};
use crate::config;

/// The task that writes down what the workers have noted.
#[derive(Debug)]
pub struct Scribe {
    audit: Arc<Audit>,
    settings: watch::Sender<config::Audit>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

/// What it works with.
struct Work {
    audit: Arc<Audit>,
    settings: watch::Receiver<config::Audit>,
    book: Book,
    /// One for each pen, used again and again.
    blanks: Vec<Page>,
}

impl Scribe {
    /// Begins to write down what is noted by `audit`. The file is opened in the background: no
    /// start waits for it or fails by it.
    pub fn start(audit: Arc<Audit>, state: &Path, settings: config::Audit) -> Self {
        audit.set_writing(is_wanted(&settings));
        let (settings, watched) = watch::channel(settings);
        let (stop, stopped) = oneshot::channel();
        let book = Book::new(path_in(state));
        let work = Work { audit: audit.clone(), settings: watched, book, blanks: Vec::new() };
        let task = tokio::spawn(work.run(stopped));
        Self { audit, settings, stop, task }
    }

    /// From now on, these settings.
    pub fn reconfigure(&self, settings: config::Audit) {
        self.audit.set_writing(is_wanted(&settings));
        self.settings.send_replace(settings);
    }

    /// Writes what is left, unless the disk takes too long.
    pub async fn stop(mut self) {
        // A task that is gone has nothing left.
        self.stop.send(()).unwrap_or_default();
        match tokio::time::timeout(STOP_MAX, &mut self.task).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the audit ended early"),
            Err(_elapsed) => {
                self.task.abort();
                tracing::warn!(
                    "the latest calls are not kept: their file cannot be written in time"
                );
            }
        }
    }
}

impl Work {
    async fn run(mut self, mut stopped: oneshot::Receiver<()>) {
        let mut second = tokio::time::interval(TURN);
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = second.tick() => self.turn().await,
                _ = &mut stopped => break,
            }
        }
        self.turn().await;
        self.book.close().await;
    }

    async fn turn(&mut self) {
        let (entries, missed) = self.collect();
        let settings = self.settings.borrow().clone();
        if settings.access_log {
            entries.iter().for_each(log);
            if missed > 0 {
                tracing::info!(target: TARGET, not_kept = missed, "calls not logged");
            }
        }
        match settings.keep {
            Some(keep) => self.book.keep(&entries, missed, keep).await,
            None => self.book.close().await,
        }
    }

    /// What has ended since the last turn, in that order.
    fn collect(&mut self) -> (Vec<Entry>, u64) {
        // Requests read no clock but the monotonic one; here the two are held against each other.
        let (now, now_ms) = (Instant::now(), unix_ms());
        let (mut found, mut missed) = (Vec::new(), 0);
        let pens = self.audit.pens();
        self.blanks.resize_with(pens.len(), Page::default);
        for (pen, blank) in pens.iter().zip(&mut self.blanks) {
            let mut page = pen.turn(std::mem::take(blank));
            missed += page.missed;
            page.read(|line, method| found.push((line.ended, entry(&line, method, now, now_ms))));
            *blank = page;
        }
        found.sort_by_key(|(ended, _)| *ended);
        (found.into_iter().map(|(_, entry)| entry).collect(), missed)
    }
}

fn entry(line: &Line, method: &[u8], now: Instant, now_ms: u64) -> Entry {
    let ago = whole_ms(now.saturating_duration_since(line.begun));
    Entry {
        id: 0,
        at_ms: now_ms.saturating_sub(ago),
        client: line.client.as_deref().map(str::to_owned),
        uid: line.uid,
        portal: line.portal.as_deref().map(str::to_owned),
        method: (!method.is_empty()).then(|| String::from_utf8_lossy(method).into_owned()),
        status: line.status,
        ms: Some(whole_ms(line.ended.saturating_duration_since(line.begun))),
        replayed: line.replayed.map(|reason| reason.as_str().into()),
        executed: Some(line.executed.as_str().into()),
        code: line.refused.map(|kind| kind.code().into()),
        not_kept: None,
    }
}

fn log(entry: &Entry) {
    tracing::info!(
        target: TARGET,
        at_ms = entry.at_ms,
        client = entry.client.as_deref().map(display),
        uid = entry.uid,
        portal = entry.portal.as_deref().map(display),
        method = entry.method.as_deref().map(display),
        status = entry.status,
        ms = entry.ms,
        replayed = entry.replayed.as_deref().map(display),
        executed = entry.executed.as_deref().map(display),
        code = entry.code.as_deref().map(display),
        "call"
    );
}

fn is_wanted(settings: &config::Audit) -> bool {
    settings.keep.is_some() || settings.access_log
}

pub(super) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, whole_ms)
}

fn whole_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// What the lines of calls are filtered by.
const TARGET: &str = "b24gate::access";
/// Between two turns: as old as a line of the log may be.
const TURN: Duration = Duration::from_secs(1);
/// How long the end of the process waits for the last calls to be kept.
const STOP_MAX: Duration = Duration::from_secs(5);
