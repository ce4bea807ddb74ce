//! `NETLINK_SOCK_DIAG`: the one socket with these addresses and ports, looked up by the kernel.
//!
//! Numbers of the protocol are in the machine's own order, ports and addresses in the network's.

use std::cell::RefCell;
use std::io::{self, Read as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};

use super::{Ends, Found, canonical};

thread_local! {
    /// One for each worker, which has one question under way at a time.
    static KERNEL: RefCell<Option<Kernel>> = const { RefCell::new(None) };
}

/// A way to ask the kernel.
#[derive(Debug)]
struct Kernel {
    socket: Socket,
    /// Of the last question.
    sequence: u32,
    /// Whether it ever found a socket. A kernel that cannot look sockets up answers as if there
    /// were none.
    proven: bool,
}

/// One message of the kernel's.
#[derive(Debug, PartialEq, Eq)]
enum Answer {
    /// To this question.
    Found(Found),
    /// To this question: it failed, with this error number.
    Failed(i32),
    /// To another question.
    Foreign,
    /// Nothing that can be read.
    Garbled,
}

/// Looks the calling program's socket up.
pub(super) fn look_up(ends: Ends) -> io::Result<Found> {
    KERNEL.with_borrow_mut(|kept| {
        let mut kernel = match kept.take() {
            Some(kernel) => kernel,
            None => Kernel::open()?,
        };
        let found = kernel.ask(ends)?;
        // After an error it is not kept: what comes next in it may be anything.
        *kept = Some(kernel);
        Ok(found)
    })
}

impl Kernel {
    fn open() -> io::Result<Self> {
        let (domain, protocol) = (Domain::from(AF_NETLINK), Protocol::from(NETLINK_SOCK_DIAG));
        let socket = Socket::new(domain, Type::DGRAM, Some(protocol))?;
        // The answer is there before the question returns; a worker must never wait for one.
        socket.set_nonblocking(true)?;
        Ok(Self { socket, sequence: 0, proven: false })
    }

    fn ask(&mut self, ends: Ends) -> io::Result<Found> {
        self.sequence = self.sequence.wrapping_add(1);
        // Without an address it goes to the kernel. Only an administrator of the network could
        // send us something in its name.
        self.socket.send(&question(ends, self.sequence))?;
        let mut datagram = [0; ANSWER_BYTES_MAX];
        for _ in 0..FOREIGN_MAX {
            let length = (&self.socket).read(&mut datagram)?;
            let bytes = datagram.get(..length).unwrap_or_default();
            match read(bytes, self.sequence, ends) {
                Answer::Found(found) => {
                    self.proven = true;
                    return Ok(found);
                }
                Answer::Failed(ENOENT) if self.proven => return Ok(Found::Nothing),
                Answer::Failed(error) => return Err(io::Error::from_raw_os_error(error)),
                Answer::Foreign => {}
                Answer::Garbled => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// The socket of the calling program: its own address comes first.
fn question(ends: Ends, sequence: u32) -> Vec<u8> {
    let (family, scope) = match ends.theirs {
        SocketAddr::V4(_) => (AF_INET, 0),
        SocketAddr::V6(theirs) => (AF_INET6, theirs.scope_id()),
    };
    let mut bytes = Vec::with_capacity(QUESTION_BYTES as usize);
    bytes.extend(QUESTION_BYTES.to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST.to_ne_bytes());
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([0; 4]); // from: this process
    bytes.extend([family, IPPROTO_TCP, 0, 0]);
    bytes.extend(u32::MAX.to_ne_bytes()); // in any state
    bytes.extend(ends.theirs.port().to_be_bytes());
    bytes.extend(ends.ours.port().to_be_bytes());
    for address in [ends.theirs.ip(), ends.ours.ip()] {
        match address {
            IpAddr::V4(address) => {
                bytes.extend(address.octets());
                bytes.extend([0; 12]);
            }
            IpAddr::V6(address) => bytes.extend(address.octets()),
        }
    }
    bytes.extend(scope.to_ne_bytes());
    bytes.extend([0xff; 8]); // whatever its cookie
    bytes
}

fn read(bytes: &[u8], sequence: u32, ends: Ends) -> Answer {
    read_message(bytes, sequence, ends).unwrap_or(Answer::Garbled)
}

/// The header is length (4), type (2), flags (2), sequence (4), port (4).
fn read_message(bytes: &[u8], sequence: u32, ends: Ends) -> Option<Answer> {
    let length = usize::try_from(u32_at(bytes, 0)?).ok()?;
    let kind = u16::from_ne_bytes(at(bytes, 4)?);
    let message = bytes.get(..length)?.get(HEADER_BYTES..)?;
    if u32_at(bytes, 8)? != sequence {
        return Some(Answer::Foreign);
    }
    match kind {
        NLMSG_ERROR => {
            let error = i32::from_ne_bytes(at(message, 0)?);
            Some(Answer::Failed(error.checked_neg()?))
        }
        SOCK_DIAG_BY_FAMILY => Some(Answer::Found(read_socket(message, ends)?)),
        _ => None,
    }
}

/// What there is to know of a socket: family (1), state (1), timer (1), retransmissions (1), ports
/// (2 + 2), addresses (16 + 16), interface (4), cookie (8), expiry (4), queues (4 + 4), user (4),
/// inode (4).
fn read_socket(message: &[u8], ends: Ends) -> Option<Found> {
    let [family, state] = at(message, 0)?;
    let found = Ends {
        theirs: canonical(SocketAddr::new(address(family, at(message, 8)?)?, port(message, 4)?)),
        ours: canonical(SocketAddr::new(address(family, at(message, 24)?)?, port(message, 6)?)),
    };
    let (uid, inode) = (u32_at(message, 64)?, u32_at(message, 68)?);
    let same = |a: SocketAddr, b: SocketAddr| a.ip() == b.ip() && a.port() == b.port();
    // Where nobody is connected, a socket that listens at this address is found instead.
    if !same(found.theirs, ends.theirs) || !same(found.ours, ends.ours) {
        return Some(Found::Nothing);
    }
    Some(match (OPEN.contains(&state), inode) {
        (true, 1..) => Found::Held(uid),
        _ => Found::Abandoned,
    })
}

fn address(family: u8, octets: [u8; 16]) -> Option<IpAddr> {
    match family {
        AF_INET => octets.first_chunk().map(|octets: &[u8; 4]| Ipv4Addr::from(*octets).into()),
        AF_INET6 => Some(Ipv6Addr::from(octets).into()),
        _ => None,
    }
}

fn port(bytes: &[u8], offset: usize) -> Option<u16> {
    at(bytes, offset).map(u16::from_be_bytes)
}

fn u32_at(bytes: &[u8], offset: usize) -> Option<u32> {
    at(bytes, offset).map(u32::from_ne_bytes)
}

fn at<const N: usize>(bytes: &[u8], offset: usize) -> Option<[u8; N]> {
    bytes.get(offset..)?.first_chunk().copied()
}

const AF_NETLINK: i32 = 16;
const NETLINK_SOCK_DIAG: i32 = 4;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 1;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
const IPPROTO_TCP: u8 = 6;
const ENOENT: i32 = 2;
/// Established, and closed for writing by a program that still waits for its answer
/// (`FIN_WAIT1`, `FIN_WAIT2`).
pub(super) const OPEN: [u8; 3] = [1, 4, 5];
const HEADER_BYTES: usize = 16;
const QUESTION_BYTES: u32 = 16 + 56;
/// Some 100 with what this kernel adds.
const ANSWER_BYTES_MAX: usize = 1024;
/// Answers to earlier questions, of which there are none unless one was given up.
const FOREIGN_MAX: usize = 8;

#[cfg(test)]
mod tests;
