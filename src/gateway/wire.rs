//! Writing several slices as one, and the kinds of client connections.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

/// A connection of a client.
pub(crate) trait ClientStream:
    AsyncRead + AsyncWrite + Unpin + Send + Sync + 'static
{
    /// Whether it is a unix socket, where file modes decide who may connect.
    const LOCAL_SOCKET: bool;

    /// Makes the coming close look like what it is: a broken transfer, not an end.
    fn reset_on_close(&self);
}

impl ClientStream for TcpStream {
    const LOCAL_SOCKET: bool = false;

    fn reset_on_close(&self) {
        if let Err(error) = socket2::SockRef::from(self).set_linger(Some(std::time::Duration::ZERO))
        {
            tracing::debug!(%error, "a broken transfer cannot be shown by a reset");
        }
    }
}

impl ClientStream for UnixStream {
    const LOCAL_SOCKET: bool = true;

    fn reset_on_close(&self) {}
}

/// Writes every slice and flushes; `slices` is used up on the way.
pub(crate) async fn write_all<W: AsyncWrite + Unpin>(
    stream: &mut W,
    slices: &mut [IoSlice<'_>],
) -> io::Result<()> {
    let mut left = slices;
    poll_fn(|cx| {
        while !left.is_empty() {
            ready!(poll_write(cx, stream, &mut left))?;
        }
        Pin::new(&mut *stream).poll_flush(cx)
    })
    .await
}

/// Writes once and takes what was written off the front of `left`.
pub(crate) fn poll_write<W: AsyncWrite + Unpin>(
    cx: &mut Context<'_>,
    stream: &mut W,
    left: &mut &mut [IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    IoSlice::advance_slices(left, 0); // empty slices in front would look like a closed stream
    if left.is_empty() {
        return Poll::Ready(Ok(0));
    }
    let written = ready!(Pin::new(stream).poll_write_vectored(cx, left))?;
    if written == 0 {
        return Poll::Ready(Err(io::Error::from(io::ErrorKind::WriteZero)));
    }
    IoSlice::advance_slices(left, written);
    Poll::Ready(Ok(written))
}
