//! What stands where the portal should be, on a port of TLS: an honest front, or something else.
//! It records what it is told, both as it came and decrypted.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

/// A listener; dropping it ends it.
#[derive(Debug)]
pub struct Front {
    pub address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

/// What came in.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub connections: usize,
    /// Handshakes that were completed.
    pub handshakes: usize,
    wire: Vec<u8>,
    plain: Vec<u8>,
}

#[derive(Clone)]
enum Manner {
    /// TLS, and everything goes to the portal at this address.
    Forward(TlsAcceptor, SocketAddr),
    /// TLS, one answer to whatever is asked, and then the end, with `close_notify` or without.
    End(TlsAcceptor, Vec<u8>, bool),
    /// No TLS: these bytes, and then the end.
    Answer(&'static [u8]),
    /// Nothing at all.
    Silence,
}

impl Front {
    /// An honest front of the portal at `portal`.
    pub async fn before(portal: SocketAddr, tls: Arc<ServerConfig>) -> Self {
        Self::start(Manner::Forward(TlsAcceptor::from(tls), portal)).await
    }

    /// Sends `answer` and ends the connection; `clean` says whether as TLS demands it.
    pub async fn ending(tls: Arc<ServerConfig>, answer: Vec<u8>, clean: bool) -> Self {
        Self::start(Manner::End(TlsAcceptor::from(tls), answer, clean)).await
    }

    /// Takes a first flight and answers it with something that is not TLS.
    pub async fn answering(answer: &'static [u8]) -> Self {
        Self::start(Manner::Answer(answer)).await
    }

    /// Reads and says nothing.
    pub async fn silent() -> Self {
        Self::start(Manner::Silence).await
    }

    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap().clone()
    }

    async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let record = seen.clone();
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                record.lock().unwrap().connections += 1;
                let (manner, record) = (manner.clone(), record.clone());
                // What goes wrong with a peer that refuses is what the test provokes.
                tokio::spawn(async move { drop(serve(stream, manner, record).await) });
            }
        });
        Self { address, seen, task }
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Seen {
    /// Bytes that came through TLS.
    pub fn decrypted(&self) -> usize {
        self.plain.len()
    }

    /// Whether `text` came through TLS.
    pub fn holds(&self, text: &str) -> bool {
        memchr::memmem::find(&self.plain, text.as_bytes()).is_some()
    }

    /// Whether anybody on the wire could have read `text`.
    pub fn holds_in_clear(&self, text: &str) -> bool {
        memchr::memmem::find(&self.wire, text.as_bytes()).is_some()
    }
}

async fn serve(stream: TcpStream, manner: Manner, seen: Arc<Mutex<Seen>>) -> io::Result<()> {
    let mut tap = Tap { stream, seen: seen.clone() };
    match manner {
        Manner::Forward(acceptor, portal) => {
            let near = acceptor.accept(tap).await?;
            seen.lock().unwrap().handshakes += 1;
            let (mut from, mut to) = tokio::io::split(near);
            let (mut back, mut far) = TcpStream::connect(portal).await?.into_split();
            let there = async {
                let mut part = vec![0; 64 * 1024];
                while let count @ 1.. = from.read(&mut part).await? {
                    seen.lock().unwrap().plain.extend_from_slice(&part[..count]);
                    far.write_all(&part[..count]).await?;
                }
                far.shutdown().await
            };
            tokio::try_join!(there, tokio::io::copy(&mut back, &mut to)).map(drop)
        }
        Manner::End(acceptor, answer, clean) => {
            let mut near = acceptor.accept(tap).await?;
            near.read_u8().await?;
            near.write_all(&answer).await?;
            near.flush().await?;
            if clean { near.shutdown().await } else { near.get_mut().0.shutdown().await }
        }
        Manner::Answer(answer) => {
            tap.read_u8().await?;
            tap.write_all(answer).await?;
            tap.shutdown().await
        }
        Manner::Silence => tokio::io::copy(&mut tap, &mut tokio::io::sink()).await.map(drop),
    }
}

/// Records what is read.
struct Tap {
    stream: TcpStream,
    seen: Arc<Mutex<Seen>>,
}

impl AsyncRead for Tap {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.stream).poll_read(cx, buf);
        self.seen.lock().unwrap().wire.extend_from_slice(&buf.filled()[before..]);
        poll
    }
}

impl AsyncWrite for Tap {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
