//! TLS on the port of plain HTTP: the first byte of a connection tells which of the two it speaks.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::ca::{CaError, Certificates, server_config};
use crate::gateway::Gateway;
use crate::gateway::buffer::Buffer;
use crate::gateway::inbound::{HEAD_MAX, Inbound};
use crate::gateway::peer::Asked;
use crate::gateway::wire::ClientStream;
use crate::metrics::Guard;

/// What the first byte of a TLS connection is: the record type of a handshake. No method of HTTP
/// begins with it.
pub(crate) const HANDSHAKE: u8 = 0x16;

/// How TLS is spoken.
pub(crate) struct Secure {
    acceptor: TlsAcceptor,
    certificates: Arc<Certificates>,
}

/// A client's connection inside TLS.
pub(crate) struct Secured {
    tls: Box<TlsStream<Prefixed>>,
    /// The transfer broke off, so the connection must not end as if it had not.
    broken: AtomicBool,
}

/// A connection of which some bytes have been read already.
#[derive(Debug)]
pub(crate) struct Prefixed {
    first: Option<Buffer>,
    stream: TcpStream,
}

impl Secure {
    pub(crate) fn new(certificates: Arc<Certificates>) -> Result<Self, CaError> {
        let config = server_config(certificates.clone())?;
        Ok(Self { acceptor: TlsAcceptor::from(config), certificates })
    }

    /// Makes the authority where nobody has needed it before.
    async fn ready(&self) {
        if self.certificates.is_ready() {
            return;
        }
        let certificates = self.certificates.clone();
        let made = tokio::task::spawn_blocking(move || certificates.make_ready());
        if let Err(error) = made.await {
            tracing::error!(%error, "making the local authority failed");
        }
    }
}

impl Gateway {
    /// Whether this byte begins a connection that speaks TLS.
    pub(crate) fn is_tls(&self, first: u8) -> bool {
        first == HANDSHAKE && self.secure.is_some()
    }

    /// Serves a connection that begins with a handshake, to its end.
    pub(crate) async fn serve_tls(&self, inbound: Inbound<TcpStream>) {
        let Some(secure) = &self.secure else { return };
        let Inbound { stream, inbox, deadline, under_way, peer, note, tally } = inbound;
        let prefixed = Prefixed { first: inbox, stream };
        // In a box of its own, which is gone when the handshake is over.
        let shaking = Box::pin(async {
            secure.ready().await;
            secure.acceptor.accept(prefixed).await
        });
        let tls = match deadline.limit_or_drain(HEAD_MAX, shaking).await {
            Ok(Ok(tls)) => Box::new(tls),
            Ok(Err(error)) => {
                tracing::debug!(%error, "TLS handshake failed");
                return tally.rejected(Guard::Malformed);
            }
            Err(_elapsed) => {
                tracing::debug!("TLS handshake not finished");
                return tally.rejected(Guard::Malformed);
            }
        };
        let stream = Secured { tls, broken: AtomicBool::new(false) };
        let mut inbound = Inbound { stream, inbox: None, deadline, under_way, peer, note, tally };
        self.serve(&mut inbound).await;
        inbound.say_goodbye().await;
    }
}

impl Inbound<Secured> {
    /// Ends the connection as TLS demands it, so that what was sent last is known to be all.
    async fn say_goodbye(&mut self) {
        let Self { stream, deadline, .. } = self;
        if stream.broken.load(Ordering::Relaxed) {
            return;
        }
        if deadline.limit(GOODBYE_MAX, stream.shutdown()).await.is_err() {
            tracing::trace!("client does not take the end of its connection");
        }
    }
}

impl Secured {
    /// The connection underneath.
    pub(crate) fn get_ref(&self) -> &TcpStream {
        &self.tls.get_ref().0.stream
    }
}

impl ClientStream for Secured {
    const LOCAL_SOCKET: bool = false;

    fn uid(&self) -> Asked {
        self.get_ref().uid()
    }

    fn reset_on_close(&self) {
        self.broken.store(true, Ordering::Relaxed);
        self.get_ref().reset_on_close();
    }
}

impl std::fmt::Debug for Secure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secure").finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Secured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secured").field("stream", self.get_ref()).finish_non_exhaustive()
    }
}

impl AsyncRead for Prefixed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let Some(first) = &mut self.first else {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        };
        let filled = first.filled();
        let count = filled.len().min(buf.remaining());
        buf.put_slice(filled.get(..count).unwrap_or_default());
        first.consume(count);
        if first.is_empty() {
            self.first = None;
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Prefixed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl AsyncRead for Secured {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.tls).poll_read(cx, buf)
    }
}

impl AsyncWrite for Secured {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.tls).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.tls).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.tls.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.tls).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.tls).poll_shutdown(cx)
    }
}

/// As for a client that keeps sending.
const GOODBYE_MAX: Duration = Duration::from_secs(2);
