//! Workers: one thread per core, each with its own runtime, its own pool of portal connections and
//! its own buffers, so that a request never crosses a thread on its way.
//!
//! All workers accept from the same sockets. The one that wakes first would take every connection
//! of a burst, so a worker that has more connections than another hands a new one over to it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use crate::audit::Pen;
use crate::gateway::Gateway;
use crate::gateway::deadline::Clock;
use crate::gateway::guard::UnderWay;
use crate::gateway::inbound::Inbound;
use crate::gateway::listener::Bound;
use crate::gateway::record::Note;
use crate::gateway::upstream;
use crate::metrics::Tally;

/// The threads that serve clients.
#[derive(Debug)]
pub struct Workers {
    threads: Vec<JoinHandle<()>>,
    drain: watch::Sender<bool>,
}

/// One of them.
struct Worker {
    number: usize,
    own: Peer,
    gateway: Arc<Gateway>,
    permits: Arc<Semaphore>,
    drained: watch::Receiver<bool>,
    clock: Arc<Clock>,
    tally: Arc<Tally>,
    pen: Arc<Pen>,
    peers: Arc<[Peer]>,
}

/// What a worker knows of each worker, itself included.
#[derive(Clone, Debug)]
struct Peer {
    number: usize,
    connections: Arc<AtomicUsize>,
    hand: mpsc::Sender<Handed>,
}

/// A socket on this worker's runtime.
enum Listening {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// A connection on this worker's runtime.
enum Client {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection that another worker accepted, taken off that worker's runtime.
#[derive(Debug)]
enum Handed {
    Tcp(std::net::TcpStream, Seat),
    Unix(std::os::unix::net::UnixStream, Seat),
}

/// A connection's place: among all that are allowed, and in the count of its worker.
#[derive(Debug)]
struct Seat {
    connections: Arc<AtomicUsize>,
    _permit: OwnedSemaphorePermit,
}

impl Workers {
    /// Serves `sockets` with `count` threads.
    pub fn start(gateway: &Arc<Gateway>, sockets: &[Bound], count: usize) -> io::Result<Self> {
        let (drain, drained) = watch::channel(false);
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let (peers, hands): (Vec<_>, Vec<_>) = (0..count)
            .map(|number| {
                let (hand, handed) = mpsc::channel(HANDED_MAX);
                (Peer { number, connections: Arc::default(), hand }, handed)
            })
            .unzip();
        let peers: Arc<[Peer]> = peers.into();
        let mut threads = Vec::with_capacity(count);
        for (own, handed) in peers.iter().cloned().zip(hands) {
            let number = own.number;
            let worker = Worker {
                number,
                own,
                gateway: gateway.clone(),
                permits: permits.clone(),
                drained: drained.clone(),
                clock: Clock::new(),
                tally: gateway.traffic.worker(),
                pen: gateway.audit.pen(),
                peers: peers.clone(),
            };
            let sockets = sockets.iter().map(Bound::try_clone).collect::<io::Result<Vec<_>>>()?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let thread = std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || runtime.block_on(worker.run(sockets, handed)))?;
            threads.push(thread);
        }
        Ok(Self { threads, drain })
    }

    /// Stops accepting, lets requests in flight finish for up to [`DRAIN_MAX`], and ends.
    pub async fn drain(self) {
        self.drain.send_replace(true);
        let joined = tokio::task::spawn_blocking(move || {
            for thread in self.threads {
                if thread.join().is_err() {
                    tracing::error!("a worker thread panicked");
                }
            }
        });
        if let Err(error) = joined.await {
            tracing::error!(%error, "waiting for the workers failed");
        }
    }
}

impl Worker {
    async fn run(self, sockets: Vec<Bound>, handed: mpsc::Receiver<Handed>) {
        let worker = Arc::new(self);
        for socket in sockets {
            match Listening::of(socket) {
                Ok(socket) => drop(tokio::spawn(worker.clone().accept(socket))),
                Err(error) => tracing::error!(%error, "a socket cannot be served"),
            }
        }
        tokio::spawn(worker.clone().take_over(handed));
        let mut drained = worker.drained.clone();
        tokio::select! {
            () = worker.clock.run(upstream::sweep) => {}
            _ = drained.wait_for(|drained| *drained) => {}
        }
        worker.clock.drain();
        tokio::select! {
            () = worker.clock.run(upstream::sweep) => {}
            () = worker.all_done() => {}
            () = tokio::time::sleep(DRAIN_MAX) => {
                tracing::warn!(connections = worker.clock.watched(), "connections cut off at exit");
            }
        }
    }

    async fn all_done(&self) {
        while self.clock.watched() > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn accept(self: Arc<Self>, socket: Listening) {
        while let Some(permit) = self.permit().await {
            let Some(accepted) = self.until_drained(socket.accept()).await else { return };
            match accepted {
                Ok(client) => {
                    let to = self.least_busy();
                    let seat = Seat::take(to, permit);
                    if to.number == self.number {
                        self.serve_client(client, seat);
                    } else {
                        self.hand_over(client.into_handed(seat), to);
                    }
                }
                Err(error) => refused(&error).await,
            }
        }
    }

    /// This worker, unless another has fewer connections.
    fn least_busy(&self) -> &Peer {
        let load = |peer: &&Peer| peer.connections.load(Ordering::Relaxed);
        let own = &self.own;
        self.peers.iter().min_by_key(load).filter(|peer| load(peer) < load(&own)).unwrap_or(own)
    }

    fn hand_over(&self, handing: io::Result<Handed>, to: &Peer) {
        use mpsc::error::TrySendError::{Closed, Full};
        match handing.map(|handed| to.hand.try_send(handed)) {
            Ok(Ok(())) => {}
            Ok(Err(Full(handed) | Closed(handed))) => self.take(handed),
            Err(error) => tracing::debug!(%error, "client left before it was served"),
        }
    }

    /// Serves what other workers hand over.
    async fn take_over(self: Arc<Self>, mut handed: mpsc::Receiver<Handed>) {
        while let Some(Some(handed)) = self.until_drained(handed.recv()).await {
            self.take(handed);
        }
    }

    fn take(&self, handed: Handed) {
        let (client, seat) = match handed {
            Handed::Tcp(stream, seat) => (TcpStream::from_std(stream).map(Client::Tcp), seat),
            Handed::Unix(stream, seat) => (UnixStream::from_std(stream).map(Client::Unix), seat),
        };
        match client {
            Ok(client) => self.serve_client(client, seat),
            Err(error) => tracing::debug!(%error, "client left before it was served"),
        }
    }

    fn serve_client(&self, client: Client, seat: Seat) {
        match client {
            Client::Tcp(stream) => {
                if let Err(error) = stream.set_nodelay(true) {
                    tracing::debug!(%error, "client left before it was served");
                }
                self.serve_tcp(stream, seat);
            }
            Client::Unix(stream) => self.serve_unix(stream, seat),
        }
    }

    fn serve_tcp(&self, stream: TcpStream, seat: Seat) {
        let (gateway, mut inbound) = (self.gateway.clone(), self.inbound(stream));
        tokio::spawn(async move {
            match inbound.first_byte().await {
                None => {}
                // In a box, so that connections without TLS need no room for it.
                Some(first) if gateway.is_tls(first) => {
                    Box::pin(gateway.serve_tls(inbound)).await;
                }
                Some(_) => gateway.serve(&mut inbound).await,
            }
            drop(seat);
        });
    }

    fn serve_unix(&self, stream: UnixStream, seat: Seat) {
        let (gateway, mut inbound) = (self.gateway.clone(), self.inbound(stream));
        tokio::spawn(async move {
            gateway.serve(&mut inbound).await;
            drop(seat);
        });
    }

    fn inbound<S>(&self, stream: S) -> Inbound<S> {
        let deadline = self.clock.watch();
        let (under_way, tally) = (UnderWay::nothing(), self.tally.clone());
        let note = Note::new(self.pen.clone());
        Inbound { stream, inbox: None, deadline, under_way, peer: None, note, tally }
    }

    async fn permit(&self) -> Option<OwnedSemaphorePermit> {
        self.until_drained(self.permits.clone().acquire_owned()).await?.ok()
    }

    async fn until_drained<F: Future>(&self, work: F) -> Option<F::Output> {
        let mut drained = self.drained.clone();
        tokio::select! {
            output = work => Some(output),
            _ = drained.wait_for(|drained| *drained) => None,
        }
    }
}

impl Listening {
    fn of(socket: Bound) -> io::Result<Self> {
        match socket {
            Bound::Tcp(socket, _) => TcpListener::from_std(socket).map(Self::Tcp),
            Bound::Unix(socket, _) => UnixListener::from_std(socket).map(Self::Unix),
        }
    }

    async fn accept(&self) -> io::Result<Client> {
        match self {
            Self::Tcp(socket) => socket.accept().await.map(|(stream, _)| Client::Tcp(stream)),
            Self::Unix(socket) => socket.accept().await.map(|(stream, _)| Client::Unix(stream)),
        }
    }
}

impl Client {
    fn into_handed(self, seat: Seat) -> io::Result<Handed> {
        match self {
            Self::Tcp(stream) => stream.into_std().map(|stream| Handed::Tcp(stream, seat)),
            Self::Unix(stream) => stream.into_std().map(|stream| Handed::Unix(stream, seat)),
        }
    }
}

impl Seat {
    fn take(peer: &Peer, permit: OwnedSemaphorePermit) -> Self {
        peer.connections.fetch_add(1, Ordering::Relaxed);
        Self { connections: peer.connections.clone(), _permit: permit }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Out of file descriptors, most likely: waiting helps, spinning does not.
async fn refused(error: &io::Error) {
    tracing::warn!(%error, "a connection could not be accepted");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// Connections of all workers together.
const CONNECTIONS_MAX: usize = 16_384;
/// Connections on their way from one worker to another; beyond that they stay where they are.
const HANDED_MAX: usize = 1024;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Longest wait for requests in flight at shutdown.
pub const DRAIN_MAX: Duration = Duration::from_secs(30);
