//! A portal that follows a script, for answers that no honest server gives.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use b24gate::sandbox::{Options, Sandbox, Seed};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::{Gate, Setup};

/// The scripted portal, with an honest OAuth server beside it.
#[derive(Debug)]
pub struct Script {
    pub oauth: Sandbox,
    pub gate: Gate,
    heads: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

/// A connection of the gateway to the scripted portal.
#[derive(Debug)]
pub struct Line {
    pub stream: TcpStream,
    /// Which connection it is, from 0.
    pub number: usize,
    seen: Vec<u8>,
    heads: Arc<AtomicUsize>,
}

impl Script {
    /// Starts a portal that treats each connection as `serve` does, and the gateway before it.
    pub async fn play<F>(serve: impl Fn(Line) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::play_with(|setup| setup, serve).await
    }

    /// As [`Script::play`], with other settings.
    pub async fn play_with<F>(
        change: impl FnOnce(Setup) -> Setup,
        serve: impl Fn(Line) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let connect = |setup: Setup, seed: &Seed| Gate::connected(&change(setup), seed);
        Self::play_before(connect, serve).await
    }

    /// As [`Script::play_with`], for settings with which there is no pair to import.
    pub async fn play_unconnected<F>(
        change: impl FnOnce(Setup) -> Setup,
        serve: impl Fn(Line) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        Self::play_before(|setup, _| change(setup).start(), serve).await
    }

    async fn play_before<F>(
        start: impl FnOnce(Setup, &Seed) -> Gate,
        serve: impl Fn(Line) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address: SocketAddr = listener.local_addr().unwrap();
        let oauth = Sandbox::start(Options::default()).await.unwrap();
        let seed = oauth.seed();
        let setup = Setup::of(&seed).only_portal(&format!("url = \"http://{address}\""));
        let heads = Arc::new(AtomicUsize::new(0));
        let mut serving = JoinSet::new();
        let counter = heads.clone();
        serving.spawn(async move {
            let mut lines = JoinSet::new();
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                let heads = counter.clone();
                lines.spawn(serve(Line { stream, number, seen: Vec::new(), heads }));
            }
        });
        let gate = start(setup, &seed);
        Self { oauth, gate, heads, _serving: serving }
    }

    /// How many requests have arrived.
    pub fn requests(&self) -> usize {
        self.heads.load(Ordering::SeqCst)
    }
}

impl Line {
    /// Reads one request head; `None` at the end of the connection.
    pub async fn head(&mut self) -> Option<String> {
        loop {
            if let Some(at) = self.seen.windows(4).position(|four| four == b"\r\n\r\n") {
                let head: Vec<u8> = self.seen.drain(..at + 4).collect();
                self.heads.fetch_add(1, Ordering::SeqCst);
                return Some(String::from_utf8_lossy(&head).into_owned());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    /// Reads `length` bytes of a body, or as many as come.
    pub async fn body(&mut self, length: usize) -> Vec<u8> {
        while self.seen.len() < length && self.more().await {}
        let length = length.min(self.seen.len());
        self.seen.drain(..length).collect()
    }

    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        // The gateway may have had enough; what the test expects shows on its other side.
        drop(self.stream.write_all(bytes.as_ref()).await);
    }

    /// Waits until the gateway ends the connection.
    pub async fn wait_for_end(&mut self) {
        while self.more().await {}
    }

    /// Ends the connection with a reset.
    pub fn reset(self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(std::time::Duration::ZERO)).unwrap();
    }

    async fn more(&mut self) -> bool {
        matches!(self.stream.read_buf(&mut self.seen).await, Ok(1..))
    }
}

/// An answer with a length.
pub fn ok(body: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}
