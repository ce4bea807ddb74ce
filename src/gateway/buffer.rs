//! Read buffers that belong to the worker, not to the connection.
//!
//! A connection borrows one while it has something to read and gives it back while it waits, so
//! thousands of idle connections cost no buffer at all.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

/// A borrowed buffer: bytes come in at the end and are consumed from the front.
#[derive(Debug)]
pub(crate) struct Buffer {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// Borrows a buffer of [`SIZE`] bytes from the worker.
    pub(crate) fn lend() -> Self {
        let bytes = POOL.with_borrow_mut(Vec::pop);
        Self::over(bytes.unwrap_or_else(|| vec![0; SIZE].into_boxed_slice()))
    }

    /// Borrows a buffer of [`LARGE`] bytes, for bodies that take many reads.
    pub(crate) fn lend_large() -> Self {
        let bytes = LARGE_POOL.with_borrow_mut(Vec::pop);
        Self::over(bytes.unwrap_or_else(|| vec![0; LARGE].into_boxed_slice()))
    }

    fn over(bytes: Box<[u8]>) -> Self {
        Self { bytes, start: 0, end: 0 }
    }

    /// What has been read and not consumed.
    pub(crate) fn filled(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    /// The same, to be changed in place.
    pub(crate) fn filled_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(self.start..self.end).unwrap_or_default()
    }

    /// Whether everything that was read has been consumed.
    pub(crate) fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Whether there is no room for another byte even after moving the rest to the front.
    pub(crate) fn is_full(&self) -> bool {
        self.end - self.start == self.bytes.len()
    }

    /// Takes `count` bytes off the front.
    pub(crate) fn consume(&mut self, count: usize) {
        self.start = (self.start + count).min(self.end);
        if self.start == self.end {
            self.start = 0;
            self.end = 0;
        }
    }

    /// Reads once. `Ready(0)` is the end of the stream; a full buffer is an error of the caller.
    pub(crate) fn poll_fill<R: AsyncRead + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut R,
    ) -> Poll<io::Result<usize>> {
        if self.end == self.bytes.len() && self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        let Some(room) = self.bytes.get_mut(self.end..).filter(|room| !room.is_empty()) else {
            return Poll::Ready(Err(io::Error::from(io::ErrorKind::StorageFull)));
        };
        let mut read = ReadBuf::new(room);
        ready!(Pin::new(stream).poll_read(cx, &mut read))?;
        let count = read.filled().len();
        self.end += count;
        Poll::Ready(Ok(count))
    }

    /// Makes this `other`'s content followed by nothing: used to go on reading in a larger buffer.
    pub(crate) fn take_over(&mut self, other: &Self) {
        let rest = other.filled();
        if let Some(room) = self.bytes.get_mut(..rest.len()) {
            room.copy_from_slice(rest);
            self.start = 0;
            self.end = rest.len();
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        let (pool, kept) =
            if bytes.len() == SIZE { (&POOL, KEPT) } else { (&LARGE_POOL, KEPT_LARGE) };
        // A thread that is ending has no pool any more; then the memory is simply freed.
        let _ended = pool.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            if pool.len() < kept {
                pool.push(bytes);
            }
        });
    }
}

/// Reads at least one byte into `slot`, borrowing a buffer only once there is something to read.
/// `Ok(0)` is the end of the stream.
pub(crate) fn poll_fill_slot<R: AsyncRead + Unpin>(
    cx: &mut Context<'_>,
    stream: &mut R,
    slot: &mut Option<Buffer>,
) -> Poll<io::Result<usize>> {
    let mut buffer = slot.take().unwrap_or_else(Buffer::lend);
    let result = buffer.poll_fill(cx, stream);
    if !buffer.is_empty() {
        *slot = Some(buffer);
    }
    result
}

thread_local! {
    static POOL: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
    static LARGE_POOL: RefCell<Vec<Box<[u8]>>> = const { RefCell::new(Vec::new()) };
}

/// Holds the longest head that is accepted (a 60 kB target and its fields).
pub(crate) const SIZE: usize = 64 * 1024;
/// Bodies of a megabyte cost half as much in pieces of this size as in pieces of 64 KiB.
pub(crate) const LARGE: usize = 256 * 1024;
/// Buffers a worker keeps for reuse; more than this in flight is allocated and freed.
const KEPT: usize = 512;
const KEPT_LARGE: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    #[tokio::test]
    async fn a_buffer_keeps_what_was_not_consumed_when_it_runs_full() {
        let bytes = vec![7; SIZE + 10];
        let mut source = bytes.as_slice();
        let mut buffer = Buffer::lend();
        while !buffer.is_full() {
            poll_fn(|cx| buffer.poll_fill(cx, &mut source)).await.unwrap();
        }
        buffer.consume(SIZE - 3);
        assert_eq!(buffer.filled().len(), 3);
        poll_fn(|cx| buffer.poll_fill(cx, &mut source)).await.unwrap();
        assert_eq!(buffer.filled(), &[7; 13]);
    }

    #[tokio::test]
    async fn waiting_for_a_silent_client_holds_no_buffer() {
        let (mut near, _far) = tokio::io::duplex(16);
        let mut slot = None;
        let pending = poll_fn(|cx| Poll::Ready(poll_fill_slot(cx, &mut near, &mut slot))).await;
        assert!(pending.is_pending());
        assert!(slot.is_none());
    }
}
