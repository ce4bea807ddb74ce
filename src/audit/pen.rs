//! What a worker writes with: lines on a page, until the page is full.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::time::Instant;

use crate::audit::{Executed, lock};
use crate::error::Kind;
use crate::metrics::Replay;

/// A worker's.
#[derive(Debug)]
pub struct Pen {
    writing: Arc<AtomicBool>,
    /// The other side holds it once a second, for as long as it takes to put a blank one in its
    /// place.
    page: Mutex<Page>,
}

/// A request that has ended, but for its method.
#[derive(Debug)]
pub struct Line {
    /// When it came.
    pub begun: Instant,
    /// When it ended.
    pub ended: Instant,
    /// The client's name; `None` is anonymous, or not known yet when the request ended.
    pub client: Option<Arc<str>>,
    /// The user who runs the calling program, where that was asked.
    pub uid: Option<u32>,
    /// The portal's name, where it came as far.
    pub portal: Option<Arc<str>>,
    /// What the client was answered; `None` when it left before.
    pub status: Option<u16>,
    /// Why it was sent to the portal more than once.
    pub replayed: Option<Replay>,
    /// Whether the portal has run it.
    pub executed: Executed,
    /// Why the gateway answered by itself, if it did.
    pub refused: Option<Kind>,
}

/// Lines, with their methods one behind the other.
#[derive(Debug, Default)]
pub(super) struct Page {
    lines: Vec<(Line, usize)>,
    methods: Vec<u8>,
    /// Lines that had no room.
    pub(super) missed: u64,
}

impl Pen {
    pub(super) fn new(writing: Arc<AtomicBool>) -> Self {
        let page = Page { lines: Vec::with_capacity(LINES_MAX), ..Page::default() };
        Self { writing, page: Mutex::new(page) }
    }

    /// Whether anybody wants to know.
    #[inline]
    pub fn writes(&self) -> bool {
        self.writing.load(Ordering::Relaxed)
    }

    /// Writes a line, or counts one that has no room.
    pub fn write(&self, line: Line, method: &[u8]) {
        let mut page = lock(&self.page);
        if page.lines.len() >= LINES_MAX {
            page.missed += 1;
            return;
        }
        page.methods.extend_from_slice(method);
        page.lines.push((line, method.len()));
    }

    /// Takes what is written, and leaves `blank`.
    pub(super) fn turn(&self, mut blank: Page) -> Page {
        blank.lines.reserve(LINES_MAX);
        std::mem::swap(&mut *lock(&self.page), &mut blank);
        blank
    }
}

impl Page {
    /// Every line with its method, which is empty where none is known. What is left is blank, and
    /// keeps its room.
    pub(super) fn read(&mut self, mut each: impl FnMut(Line, &[u8])) {
        let mut methods = self.methods.as_slice();
        for (line, length) in self.lines.drain(..) {
            let (method, rest) = methods.split_at_checked(length).unwrap_or_default();
            methods = rest;
            each(line, method);
        }
        self.methods.clear();
        self.missed = 0;
    }
}

/// Lines of one worker in one second. More than people can read, and what the disk can take beside
/// everything else; it also bounds the memory of a page, to 160 KiB.
pub(super) const LINES_MAX: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn line(status: u16) -> Line {
        let now = Instant::now();
        Line {
            begun: now,
            ended: now,
            client: None,
            uid: None,
            portal: None,
            status: Some(status),
            replayed: None,
            executed: Executed::Yes,
            refused: None,
        }
    }

    #[tokio::test]
    async fn lines_come_back_with_their_methods_and_a_full_page_counts_what_has_no_room() {
        let pen = Pen::new(Arc::default());
        pen.write(line(200), b"profile");
        pen.write(line(404), b"");
        pen.write(line(201), b"crm.deal.add");
        let mut page = pen.turn(Page::default());
        let mut seen = Vec::new();
        page.read(|line, method| seen.push((line.status.unwrap(), method.to_vec())));
        let want = [(200, b"profile".to_vec()), (404, Vec::new()), (201, b"crm.deal.add".to_vec())];
        assert_eq!(seen, want);
        for _ in 0..LINES_MAX + 3 {
            pen.write(line(200), b"profile");
        }
        let mut page = pen.turn(page);
        assert_eq!(page.missed, 3);
        let mut count = 0;
        page.read(|_, method| count += usize::from(method == b"profile"));
        assert_eq!((count, page.missed), (LINES_MAX, 0));
        assert!(page.methods.is_empty());
    }
}
