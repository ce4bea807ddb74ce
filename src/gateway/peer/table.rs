//! `/proc/net/tcp` and `/proc/net/tcp6`: every TCP socket of this machine, one line each. Slow, and
//! there also where netlink is not.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read as _};
use std::net::{IpAddr, SocketAddr};

use super::diag::OPEN;
use super::{Ends, Found};

/// Looks the calling program's socket up.
pub(super) fn look_up(ends: Ends) -> io::Result<Found> {
    if ends.theirs.is_ipv4() {
        let found = look_into("/proc/net/tcp", ends)?;
        if found != Found::Nothing {
            return Ok(found);
        }
        // A program may have reached an IPv4 address through an IPv6 socket.
        if !std::fs::exists("/proc/net/tcp6")? {
            return Ok(Found::Nothing);
        }
    }
    look_into("/proc/net/tcp6", ends.as_ipv6())
}

fn look_into(path: &str, ends: Ends) -> io::Result<Found> {
    search(BufReader::new(File::open(path)?.take(TABLE_BYTES_MAX)), ends)
}

fn search(table: impl BufRead, ends: Ends) -> io::Result<Found> {
    let (theirs, ours) = (written(ends.theirs), written(ends.ours));
    for line in table.lines() {
        let line = line?;
        let mut words = line.split_ascii_whitespace().skip(1);
        if words.next() == Some(theirs.as_str()) && words.next() == Some(ours.as_str()) {
            return read(words).ok_or_else(|| io::ErrorKind::InvalidData.into());
        }
    }
    Ok(Found::Nothing)
}

/// State, queues, timer, retransmissions, user, time-out, inode.
fn read<'l>(mut words: impl Iterator<Item = &'l str>) -> Option<Found> {
    let state = u8::from_str_radix(words.next()?, 16).ok()?;
    let uid = words.nth(3)?.parse().ok()?;
    let inode: u64 = words.nth(1)?.parse().ok()?;
    let held = OPEN.contains(&state) && inode != 0;
    Some(if held { Found::Held(uid) } else { Found::Abandoned })
}

/// Each four bytes of an address as the number that they are for this machine.
fn written(address: SocketAddr) -> String {
    let octets = match address.ip() {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    };
    let fours = octets.chunks_exact(4).filter_map(|four| four.first_chunk().copied());
    let ip =
        fours.fold(String::new(), |ip, four| ip + &format!("{:08X}", u32::from_ne_bytes(four)));
    format!("{ip}:{:04X}", address.port())
}

impl Ends {
    fn as_ipv6(self) -> Self {
        let mapped = |address: SocketAddr| match address.ip() {
            IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
            IpAddr::V6(_) => address,
        };
        Self { theirs: mapped(self.theirs), ours: mapped(self.ours) }
    }
}

/// 100,000 lines.
const TABLE_BYTES_MAX: u64 = 16 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn find(line: &str, theirs: &str, ours: &str) -> io::Result<Found> {
        let table = format!("  sl  local_address rem_address   st tx_queue\n{line}\n");
        let ends = Ends { theirs: theirs.parse().unwrap(), ours: ours.parse().unwrap() };
        search(table.as_bytes(), ends)
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn a_line_of_the_table_is_found_by_both_ends_and_told_by_its_holder() {
        let line = |state: &str, user: &str, inode: &str| {
            let ends = "0100007F:A001 0100007F:1F58";
            format!(" 3: {ends} {state} 0:0 00:0 0 {user} 0 {inode} 1 0 20 4 30 10 -1")
        };
        let (client, gate) = ("127.0.0.1:40961", "127.0.0.1:8024");
        for (state, user, inode, found) in [
            ("01", "1001", "77", Found::Held(1001)),
            ("05", "0", "77", Found::Held(0)),
            ("05", "0", "0", Found::Abandoned),
            ("06", "0", "0", Found::Abandoned),
            ("02", "1001", "77", Found::Abandoned),
        ] {
            let line = line(state, user, inode);
            assert_eq!(find(&line, client, gate).unwrap(), found, "{line}");
            assert_eq!(find(&line, gate, client).unwrap(), Found::Nothing);
            assert_eq!(find(&line, client, "127.0.0.2:8024").unwrap(), Found::Nothing);
        }
        for broken in ["01", "01 0:0 00:0 0 x 0 77", "zz 0:0 00:0 0 1 0 77", "01 0:0 00:0 0 1 0"] {
            let line = format!(" 3: 0100007F:A001 0100007F:1F58 {broken}");
            assert!(find(&line, client, gate).is_err(), "{line}");
        }
        let v6 = " 0: 00000000000000000000000001000000:A001 00000000000000000000000001000000:1F58 \
                   01 0:0 00:0 0 33 0 5";
        assert_eq!(find(v6, "[::1]:40961", "[::1]:8024").unwrap(), Found::Held(33));
        let mapped = " 0: 0000000000000000FFFF00000100007F:A001 \
                       0000000000000000FFFF00000100007F:1F58 01 0:0 00:0 0 33 0 5";
        let ends = Ends { theirs: client.parse().unwrap(), ours: gate.parse().unwrap() };
        assert_eq!(search(mapped.as_bytes(), ends.as_ipv6()).unwrap(), Found::Held(33));
    }
}
