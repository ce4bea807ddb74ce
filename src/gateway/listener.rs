//! The sockets that clients connect to.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::config::Listen;

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

impl Bound {
    /// Starts to listen; a unix socket left over by a dead process is replaced, and gets the
    /// permission bits of `mode`.
    pub fn bind(listen: &Listen, mode: u32) -> Result<Self, BindError> {
        match listen {
            Listen::Tcp(address) => bind_tcp(*address)
                .map_err(|source| BindError { address: address.to_string(), source }),
            Listen::Unix(path) => bind_unix(path, mode).map_err(|source| BindError {
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

    /// Where clients connect, of a TCP socket.
    pub fn tcp(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(_, address) => Some(*address),
            Self::Unix(..) => None,
        }
    }

    pub(crate) fn try_clone(&self) -> io::Result<Self> {
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

fn bind_unix(path: &Path, mode: u32) -> io::Result<Bound> {
    if is_left_over(path) {
        std::fs::remove_file(path)?;
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    // Before it has a name, so that it is never open to more users than it shall be.
    rustix::fs::fchmod(&socket, Mode::from_raw_mode(mode))?;
    socket.bind(&SockAddr::unix(path)?)?;
    grant(path, mode)?;
    socket.listen(BACKLOG)?;
    Ok(Bound::Unix(socket.into(), path.to_owned()))
}

/// Gives a socket the bits that the umask has taken away. Not by its path: in a folder where others
/// can write, something of theirs may stand there by now.
fn grant(path: &Path, mode: u32) -> io::Result<()> {
    let found = rustix::fs::open(path, OFlags::PATH | OFlags::NOFOLLOW, Mode::empty())?;
    let about = rustix::fs::fstat(&found)?;
    let own = about.st_uid == rustix::process::geteuid().as_raw();
    if !own || FileType::from_raw_mode(about.st_mode) != FileType::Socket {
        return Err(io::Error::other("somebody has put something else in its place"));
    }
    if about.st_mode & 0o777 == mode {
        return Ok(());
    }
    let found = format!("/proc/self/fd/{}", found.as_raw_fd());
    std::fs::set_permissions(found, std::fs::Permissions::from_mode(mode))
}

/// Whether it is a socket that nobody serves. One that may not be connected to is somebody else's.
fn is_left_over(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
        && std::os::unix::net::UnixStream::connect(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
}

const BACKLOG: i32 = 4096;
