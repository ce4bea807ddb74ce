//! Writing several slices as one, and the kinds of client connections.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::gateway::peer::Asked;

/// A connection of a client.
pub(crate) trait ClientStream:
    AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static
{
    /// Whether it is a unix socket, where file modes decide who may connect.
    const LOCAL_SOCKET: bool;

    /// Asks the kernel who holds the other end.
    fn uid(&self) -> Asked;

    /// Makes the coming close look like what it is: a broken transfer, not an end.
    fn reset_on_close(&self);
}

impl ClientStream for TcpStream {
    const LOCAL_SOCKET: bool = false;

    fn uid(&self) -> Asked {
        Asked::tcp(self)
    }

    fn reset_on_close(&self) {
        if let Err(error) = socket2::SockRef::from(self).set_linger(Some(std::time::Duration::ZERO))
        {
            tracing::debug!(%error, "a broken transfer cannot be shown by a reset");
        }
    }
}

impl ClientStream for UnixStream {
    const LOCAL_SOCKET: bool = true;

    fn uid(&self) -> Asked {
        Asked::unix(self)
    }

    fn reset_on_close(&self) {}
}

/// Slices that are written as one; what has been written is taken off the front.
#[derive(Debug)]
pub(crate) struct Slices<'s, 'b>(&'s mut [IoSlice<'b>]);

impl<'s, 'b> Slices<'s, 'b> {
    /// Nothing written yet.
    pub(crate) fn new(slices: &'s mut [IoSlice<'b>]) -> Self {
        // Empty slices in front would look like a closed stream; behind, they only cost.
        let used = slices.iter().rposition(|slice| !slice.is_empty()).map_or(0, |last| last + 1);
        let (slices, _) = slices.split_at_mut(used);
        let mut slices = Self(slices);
        slices.advance(0);
        slices
    }

    /// Whether everything has been written.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Writes once; never `Ok(0)`.
    pub(crate) fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut W,
    ) -> Poll<io::Result<usize>> {
        let stream = Pin::new(stream);
        let written = match &*self.0 {
            [only] => ready!(stream.poll_write(cx, only))?, // a plain send is the cheaper call
            several => ready!(stream.poll_write_vectored(cx, several))?,
        };
        if written == 0 {
            return Poll::Ready(Err(io::Error::from(io::ErrorKind::WriteZero)));
        }
        self.advance(written);
        Poll::Ready(Ok(written))
    }

    fn advance(&mut self, written: usize) {
        let mut left = std::mem::take(&mut self.0);
        IoSlice::advance_slices(&mut left, written);
        self.0 = left;
    }
}

/// Writes every slice and flushes; `slices` is used up on the way.
pub(crate) async fn write_all<W: AsyncWrite + Unpin>(
    stream: &mut W,
    slices: &mut [IoSlice<'_>],
) -> io::Result<()> {
    let mut left = Slices::new(slices);
    poll_fn(|cx| {
        while !left.is_empty() {
            ready!(left.poll_write(cx, stream))?;
        }
        Pin::new(&mut *stream).poll_flush(cx)
    })
    .await
}
