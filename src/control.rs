//! The unix socket in the state directory, by which commands reach a running gateway.
//!
//! Only the running gateway may write to the store, so `portal import` has to ask it. One line of
//! JSON goes in, one comes out. The socket lies in a directory that no other user can enter.

mod clients;
mod message;

pub use clients::{ClientRequest, NewKey, Shown};
pub use message::{BackupView, LEDGER_MAX, Reply, Request};

use std::fs::Permissions;
use std::future::Future;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{
    AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWriteExt as _, BufReader,
};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use zeroize::Zeroizing;

/// The socket's name in the state directory.
const SOCKET: &str = "control.sock";

/// Longest request, bytes; a token response has about 600.
const LINE_MAX: usize = 64 * 1024;

/// Longest answer, bytes; a line of a ledger has about 120, and there are at most a thousand.
const REPLY_MAX: usize = 1024 * 1024;

/// More than an answer that holds a key has, bytes.
const KEY_REPLY: usize = 4 * 1024;

/// How long a line may take to arrive: the other end is a command on this machine.
const LINE: Duration = Duration::from_secs(10);

/// How long an answer may take: an import waits for a refresh that is under way.
const ANSWER: Duration = Duration::from_secs(90);

/// Commands served at a time.
const CONNECTIONS: usize = 16;

/// What answers a request; the gateway's end of the socket.
pub type Desk =
    Arc<dyn Fn(Request) -> Pin<Box<dyn Future<Output = Reply> + Send>> + Send + Sync + 'static>;

/// The socket, listening. Its file goes away with it.
#[derive(Debug)]
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
}

impl Control {
    /// Listens in `state`, whose lock the caller holds. A socket that a killed gateway left behind
    /// is replaced; anything else in its place is left alone.
    pub async fn bind(state: &Path) -> io::Result<Self> {
        let path = state.join(SOCKET);
        match path.symlink_metadata() {
            Ok(found) if !found.file_type().is_socket() => {
                let text = format!("{} is not a socket; remove it", path.display());
                return Err(io::Error::new(io::ErrorKind::AlreadyExists, text));
            }
            Ok(_) if UnixStream::connect(&path).await.is_ok() => {
                let text = format!("another gateway answers on {}", path.display());
                return Err(io::Error::new(io::ErrorKind::AddrInUse, text));
            }
            Ok(_) => std::fs::remove_file(&path)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let listener = UnixListener::bind(&path)?;
        let control = Self { listener, path };
        // Until here the directory alone keeps others out, which is enough.
        std::fs::set_permissions(&control.path, Permissions::from_mode(0o600))?;
        Ok(control)
    }

    /// Serves until it is dropped.
    pub async fn serve(self, desk: Desk) {
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else {
                return;
            };
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, most likely: not a reason to stop, nor to spin.
                    tracing::warn!(%error, "control socket cannot accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let desk = Arc::clone(&desk);
            tokio::spawn(async move {
                let _place = place;
                if let Err(error) = answer(stream, &desk).await {
                    tracing::debug!(%error, "control connection ended early");
                }
            });
        }
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, "control socket was gone already");
        }
    }
}

async fn answer(stream: UnixStream, desk: &Desk) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let reply = match read_line(reader, LINE_MAX, LINE).await {
        Ok(line) => match Request::parse(&line) {
            Ok(request) => desk(request).await,
            Err(text) => Reply::Refused(text),
        },
        Err(error) => Reply::Refused(error.to_string()),
    };
    // With room for a key, which must not be left behind where a buffer was too small.
    let mut line = Zeroizing::new(Vec::with_capacity(KEY_REPLY));
    serde_json::to_writer(&mut *line, &reply)?;
    line.push(b'\n');
    writer.write_all(&line).await?;
    writer.shutdown().await
}

/// Asks the gateway that uses `state`. `None` when no gateway answers there.
pub async fn ask(state: &Path, request: &Request) -> io::Result<Option<Reply>> {
    use io::ErrorKind::{ConnectionRefused, NotFound};
    let stream = match UnixStream::connect(state.join(SOCKET)).await {
        Ok(stream) => stream,
        Err(error) if matches!(error.kind(), ConnectionRefused | NotFound) => return Ok(None),
        Err(error) => return Err(error),
    };
    let (reader, mut writer) = stream.into_split();
    writer.write_all(&request.to_line()).await?;
    let line = read_line(reader, REPLY_MAX, ANSWER).await?;
    serde_json::from_slice(&line).map(Some).map_err(|_no_reply| {
        io::Error::new(io::ErrorKind::InvalidData, "the gateway's answer is not clear")
    })
}

/// Reads up to the first line end, or up to the end.
async fn read_line(
    reader: impl AsyncRead + Unpin,
    max: usize,
    limit: Duration,
) -> io::Result<Zeroizing<Vec<u8>>> {
    // Room for all of it at once: a growing buffer would leave pieces of tokens behind.
    let mut line = Zeroizing::new(Vec::with_capacity(max + 1));
    let mut reader = BufReader::new(reader.take(max as u64 + 1));
    timeout(limit, reader.read_until(b'\n', &mut line))
        .await
        .map_err(|_elapsed| io::Error::from(io::ErrorKind::TimedOut))??;
    if line.len() > max {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the line is too long"));
    }
    Ok(line)
}

#[cfg(test)]
mod tests;
