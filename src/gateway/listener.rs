//! Sockets and workers: one thread per core, each with its own runtime, its own pool of portal
//! connections and its own buffers, so that a request never crosses a thread on its way.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::config::Listen;
use crate::gateway::Gateway;
use crate::gateway::deadline::Clock;
use crate::gateway::inbound::Inbound;
use crate::gateway::upstream;
use crate::gateway::wire::ClientStream;

/// A socket that listens and is not served yet.
#[derive(Debug)]
pub enum Bound {
    /// TCP, with the address it got.
    Tcp(std::net::TcpListener, SocketAddr),
    /// A unix socket.
    Unix(std::os::unix::net::UnixListener, PathBuf),
}

/// An address that cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}")]
pub struct BindError {
    /// As configured.
    pub address: String,
    /// Why not.
    #[source]
    pub source: io::Error,
}

/// The threads that serve clients.
#[derive(Debug)]
pub struct Workers {
    threads: Vec<JoinHandle<()>>,
    drain: watch::Sender<bool>,
}

impl Bound {
    /// Starts to listen; a unix socket left over by a dead process is replaced.
    pub fn bind(listen: &Listen) -> Result<Self, BindError> {
        match listen {
            Listen::Tcp(address) => bind_tcp(*address)
                .map_err(|source| BindError { address: address.to_string(), source }),
            Listen::Unix(path) => bind_unix(path).map_err(|source| BindError {
                address: format!("unix:{}", path.display()),
                source,
            }),
        }
    }

    /// The address for people.
    pub fn address(&self) -> String {
        match self {
            Self::Tcp(_, address) => format!("http://{address}"),
            Self::Unix(_, path) => format!("unix:{}", path.display()),
        }
    }

    fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(socket, address) => Self::Tcp(socket.try_clone()?, *address),
            Self::Unix(socket, path) => Self::Unix(socket.try_clone()?, path.clone()),
        })
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<Bound> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    let socket = std::net::TcpListener::from(socket);
    let address = socket.local_addr()?;
    Ok(Bound::Tcp(socket, address))
}

fn bind_unix(path: &Path) -> io::Result<Bound> {
    if is_left_over(path) {
        std::fs::remove_file(path)?;
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SockAddr::unix(path)?)?;
    // Before it listens, so that whoever the umask would have let in finds nobody there.
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    socket.listen(BACKLOG)?;
    Ok(Bound::Unix(socket.into(), path.to_owned()))
}

/// Whether it is a socket that nobody serves. One that may not be connected to is somebody else's.
fn is_left_over(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
        && std::os::unix::net::UnixStream::connect(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

impl Workers {
    /// Serves `sockets` with `count` threads.
    pub fn start(gateway: &Arc<Gateway>, sockets: &[Bound], count: usize) -> io::Result<Self> {
        let (drain, drained) = watch::channel(false);
        let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut threads = Vec::with_capacity(count);
        for number in 0..count {
            let worker = Worker {
                gateway: gateway.clone(),
                permits: permits.clone(),
                drained: drained.clone(),
                clock: Clock::new(),
            };
            let sockets = sockets.iter().map(Bound::try_clone).collect::<io::Result<Vec<_>>>()?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            let thread = std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || runtime.block_on(worker.run(sockets)))?;
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

struct Worker {
    gateway: Arc<Gateway>,
    permits: Arc<Semaphore>,
    drained: watch::Receiver<bool>,
    clock: Arc<Clock>,
}

impl Worker {
    async fn run(self, sockets: Vec<Bound>) {
        let worker = Arc::new(self);
        for socket in sockets {
            let accepting = match socket {
                Bound::Tcp(socket, _) => TcpListener::from_std(socket)
                    .map(|socket| tokio::spawn(worker.clone().accept_tcp(socket))),
                Bound::Unix(socket, _) => UnixListener::from_std(socket)
                    .map(|socket| tokio::spawn(worker.clone().accept_unix(socket))),
            };
            if let Err(error) = accepting {
                tracing::error!(%error, "a socket cannot be served");
            }
        }
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

    async fn accept_tcp(self: Arc<Self>, socket: TcpListener) {
        while let Some(permit) = self.permit().await {
            let Some(accepted) = self.until_drained(socket.accept()).await else {
                return;
            };
            match accepted {
                Ok((stream, _)) => {
                    if let Err(error) = stream.set_nodelay(true) {
                        tracing::debug!(%error, "client left before it was served");
                    }
                    self.serve(stream, permit);
                }
                Err(error) => refused(&error).await,
            }
        }
    }

    async fn accept_unix(self: Arc<Self>, socket: UnixListener) {
        while let Some(permit) = self.permit().await {
            let Some(accepted) = self.until_drained(socket.accept()).await else {
                return;
            };
            match accepted {
                Ok((stream, _)) => self.serve(stream, permit),
                Err(error) => refused(&error).await,
            }
        }
    }

    fn serve<S: ClientStream>(&self, stream: S, permit: OwnedSemaphorePermit) {
        let inbound = Inbound { stream, inbox: None, deadline: self.clock.watch() };
        let gateway = self.gateway.clone();
        tokio::spawn(async move {
            gateway.serve(inbound).await;
            drop(permit);
        });
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

/// Out of file descriptors, most likely: waiting helps, spinning does not.
async fn refused(error: &io::Error) {
    tracing::warn!(%error, "a connection could not be accepted");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// Connections of all workers together.
const CONNECTIONS_MAX: usize = 16_384;
const BACKLOG: i32 = 4096;
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Longest wait for requests in flight at shutdown.
pub const DRAIN_MAX: Duration = Duration::from_secs(30);
