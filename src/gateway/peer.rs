//! The user who runs the calling program, asked from the kernel.
//!
//! Of a unix socket the kernel keeps who connected. Of a TCP connection within this machine it is
//! asked whose the socket at the other end is: by netlink, or where there is none by reading
//! `/proc/net/tcp`. What it does not say counts as not allowed.

mod diag;
mod seldom;
mod table;

#[cfg(test)]
mod tests;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};

use crate::config::{self, AllowUids};
use crate::error::{Kind, Refusal};
use seldom::Seldom;

/// What the kernel says of the other end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// A program of this user of this machine holds it.
    User(u32),
    /// It is on another machine, which has users of its own.
    Elsewhere,
    /// It is on this machine, and no program holds it any more.
    Gone,
    /// The kernel does not say.
    Unknown,
}

/// What is found when the socket at the other end is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// It is there, and a program of this user holds it.
    Held(u32),
    /// It is there and nobody holds it. The kernel then names root as its user, which must not be
    /// believed: whoever sends a call and closes at once would be root.
    Abandoned,
    /// It is not there.
    Nothing,
}

/// Both ends of a connection, seen from the program that calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ends {
    theirs: SocketAddr,
    ours: SocketAddr,
}

impl Asked {
    /// Asks who holds the other end of a TCP connection.
    pub(crate) fn tcp(stream: &TcpStream) -> Self {
        // There are none once the connection is reset.
        let ends = || Some(Ends::new(stream.peer_addr().ok()?, stream.local_addr().ok()?));
        Self::holder(ends, |ends| Self::judge(ends, diag::look_up(ends), table::look_up))
    }

    /// Asks who has connected to a unix socket.
    pub(crate) fn unix(stream: &UnixStream) -> Self {
        stream.peer_cred().map_or(Self::Unknown, |peer| Self::User(peer.uid()))
    }

    /// The user, where there is one.
    pub(crate) fn uid(self) -> Option<u32> {
        match self {
            Self::User(uid) => Some(uid),
            Self::Elsewhere | Self::Gone | Self::Unknown => None,
        }
    }

    /// Looks the other end up. With our end still open afterwards, nobody else can have got the same
    /// addresses and ports meanwhile, so what was found is the other end of this connection.
    fn holder(ends: impl Fn() -> Option<Ends>, look_up: impl FnOnce(Ends) -> Self) -> Self {
        let asked = ends().map(look_up);
        asked.filter(|_| ends().is_some()).unwrap_or(Self::Gone)
    }

    /// From what netlink says, and where it says nothing from what the `table` does.
    fn judge(
        ends: Ends,
        found: io::Result<Found>,
        table: impl FnOnce(Ends) -> io::Result<Found>,
    ) -> Self {
        if !ends.within_machine() {
            // One of this machine may come by any of its addresses, and is asked then, too.
            return match found {
                Ok(Found::Held(uid)) => Self::User(uid),
                Ok(Found::Abandoned) => Self::Gone,
                Ok(Found::Nothing) | Err(_) => Self::Elsewhere,
            };
        }
        let found = found.or_else(|netlink| {
            table(ends).map_err(|table| {
                if let Some(unsaid) = NOT_TOLD.turn() {
                    tracing::error!(
                        %netlink, proc_net_tcp = %table, unsaid,
                        "the kernel does not say who is calling"
                    );
                }
            })
        });
        match found {
            Ok(Found::Held(uid)) => Self::User(uid),
            Ok(Found::Abandoned | Found::Nothing) => Self::Gone,
            Err(()) => Self::Unknown,
        }
    }
}

impl Ends {
    fn new(theirs: SocketAddr, ours: SocketAddr) -> Self {
        Self { theirs: canonical(theirs), ours: canonical(ours) }
    }

    fn within_machine(&self) -> bool {
        self.theirs.ip().is_loopback() || self.theirs.ip() == self.ours.ip()
    }
}

/// Lets a program in by its user, or turns it away; `None` was not asked. The uid, where it is
/// known.
///
/// `allow_uids` speaks of the users of this machine. Who calls from another one is judged by its
/// key, which the steps behind this one ask for.
pub(crate) fn admit(
    asked: Option<Asked>,
    settings: &config::Gateway,
) -> Result<Option<u32>, Refusal> {
    let allowed = match &settings.allow_uids {
        AllowUids::Any => return Ok(asked.and_then(Asked::uid)),
        AllowUids::These(allowed) => allowed,
    };
    let description = match asked.unwrap_or(Asked::Unknown) {
        Asked::User(uid) if allowed.binary_search(&uid).is_ok() => return Ok(Some(uid)),
        Asked::Elsewhere if settings.require_key => return Ok(None),
        Asked::User(uid) => {
            if let Some(unsaid) = TURNED_AWAY.turn() {
                tracing::warn!(uid, unsaid, "user not in allow_uids");
            }
            "the user who runs the calling program may not call; who runs the gateway decides that \
             in gateway.allow_uids"
        }
        Asked::Elsewhere => {
            "gateway.allow_uids lets in users of the gateway's own machine, and this call comes \
             from another one; such calls need gateway.require_key and a client's key"
        }
        Asked::Gone => {
            "the calling program has let go of its connection, so that nobody can tell whose it \
             is; keep it open until the answer is there"
        }
        Asked::Unknown => {
            "the kernel does not say which user runs the calling program, and \
             gateway.allow_uids needs to know; call by a unix socket, or see the gateway's log"
        }
    };
    Err(Refusal::new(Kind::PeerNotAllowed, description))
}

/// An IPv4 address in IPv6 clothes is told by the kernel in either form.
fn canonical(address: SocketAddr) -> SocketAddr {
    match address.ip().to_canonical() {
        ip @ IpAddr::V4(_) => SocketAddr::new(ip, address.port()),
        IpAddr::V6(_) => address,
    }
}

/// What refuses every call is told once a minute.
static NOT_TOLD: Seldom = Seldom::every(Duration::from_mins(1));
/// Somebody who tries again and again does not fill the log.
static TURNED_AWAY: Seldom = Seldom::every(Duration::from_secs(1));
