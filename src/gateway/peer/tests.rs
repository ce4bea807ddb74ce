//! Whom the kernel names, of connections that are really there.

use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream as Std};
use std::os::unix::fs::fchown;

use tokio::time::Instant;

use super::*;

/// Somebody who is not who runs the test.
const NOBODY: u32 = 65_534;

/// Both ends of a connection to `address`, the caller's first.
fn connected(address: &str) -> Option<(Std, TcpStream)> {
    let listener = TcpListener::bind((address, 0)).ok()?;
    let port = listener.local_addr().unwrap().port();
    let host = if address == "::" { "127.0.0.1" } else { address };
    let client = Std::connect((host, port)).unwrap();
    Some((client, served(&listener)))
}

fn served(listener: &TcpListener) -> TcpStream {
    let (stream, _) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    TcpStream::from_std(stream).unwrap()
}

fn own() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Makes a socket another user's, as only root can.
fn give(socket: &Std, uid: u32) -> bool {
    let given = fchown(socket, Some(uid), None).is_ok();
    if !given {
        println!("skipped: only root can give a socket away");
    }
    given
}

fn by_table(stream: &TcpStream) -> Found {
    let ends = Ends::new(stream.peer_addr().unwrap(), stream.local_addr().unwrap());
    table::look_up(ends).unwrap()
}

#[tokio::test]
async fn the_user_of_a_connection_is_found_over_ipv4_ipv6_and_both_in_one() {
    for address in ["127.0.0.1", "::1", "::"] {
        let Some((client, stream)) = connected(address) else {
            println!("skipped: no {address} here");
            continue;
        };
        assert_eq!(Asked::tcp(&stream), Asked::User(own()), "{address}");
        assert_eq!(by_table(&stream), Found::Held(own()), "{address}");
        if give(&client, NOBODY) {
            assert_eq!(Asked::tcp(&stream), Asked::User(NOBODY), "{address}");
            assert_eq!(by_table(&stream), Found::Held(NOBODY), "{address}");
        }
    }
}

#[tokio::test]
async fn an_ipv6_socket_that_speaks_to_an_ipv4_address_has_its_user_too() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let Ok(_client) = Std::connect((Ipv4Addr::LOCALHOST.to_ipv6_mapped(), port)) else {
        println!("skipped: no IPv6 here");
        return;
    };
    let stream = served(&listener);
    assert_eq!(Asked::tcp(&stream), Asked::User(own()));
    assert_eq!(by_table(&stream), Found::Held(own()));
}

#[tokio::test]
async fn who_has_closed_already_is_not_taken_for_root() {
    for half in [false, true] {
        let (client, stream) = connected("127.0.0.1").unwrap();
        if half {
            client.shutdown(Shutdown::Write).unwrap();
            assert_eq!(Asked::tcp(&stream), Asked::User(own()), "it waits for its answer");
            assert_eq!(by_table(&stream), Found::Held(own()));
        }
        drop(client);
        assert_eq!(Asked::tcp(&stream), Asked::Gone);
        assert!(!matches!(by_table(&stream), Found::Held(_)));
    }
}

#[tokio::test]
async fn who_has_reset_the_connection_is_not_taken_for_who_has_its_port_now() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    let first = from_to("127.0.0.1:0", to);
    let from = first.local_addr().unwrap();
    let stream = served(&listener);
    let reset = |client: Std| {
        socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
        drop(client);
    };
    // At the worst moment: when the addresses are known and nobody was looked up yet.
    let ends = || Some(Ends::new(stream.peer_addr().ok()?, stream.local_addr().ok()?));
    let mut second = None;
    let asked = Asked::holder(ends, |ends| {
        reset(first);
        second = Some(from_to(&from.to_string(), to));
        Asked::judge(ends, diag::look_up(ends), table::look_up)
    });
    assert_eq!(asked, Asked::Gone);
    assert_eq!(Asked::tcp(&stream), Asked::Gone);
    let theirs = served(&listener);
    assert_eq!(Asked::tcp(&theirs), Asked::User(own()), "the second one is somebody");
}

/// A connection from an address and a port that others may use, too.
fn from_to(from: &str, to: SocketAddr) -> Std {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.bind(&from.parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.connect(&to.into()).unwrap();
    socket.into()
}

#[tokio::test]
async fn another_users_connection_from_or_to_the_same_port_does_not_fool_the_look_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let to = listener.local_addr().unwrap();
    let other = TcpListener::bind((Ipv4Addr::new(127, 0, 0, 2), to.port())).unwrap();
    let client = from_to("127.0.0.1:0", to);
    let (stream, from) = (served(&listener), client.local_addr().unwrap());
    if !give(&client, NOBODY) {
        return;
    }
    let _same_port = from_to(&from.to_string(), other.local_addr().unwrap());
    let _same_target = from_to(&format!("127.0.0.3:{}", from.port()), to);
    let second = served(&listener);
    assert_eq!(Asked::tcp(&stream), Asked::User(NOBODY));
    assert_eq!(by_table(&stream), Found::Held(NOBODY));
    assert_eq!(Asked::tcp(&second), Asked::User(own()));
}

#[tokio::test]
async fn a_socket_that_listens_in_the_callers_place_is_not_the_caller() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let here = listener.local_addr().unwrap();
    let (_client, stream) = connected("127.0.0.1").unwrap();
    assert_eq!(Asked::tcp(&stream), Asked::User(own()), "the kernel can be asked");
    let ends = Ends::new(here, stream.local_addr().unwrap());
    assert_eq!(diag::look_up(ends).unwrap(), Found::Nothing);
    assert_eq!(table::look_up(ends).unwrap(), Found::Nothing);
}

#[tokio::test]
async fn the_user_behind_a_unix_socket_is_known() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    assert_eq!(Asked::unix(&ours), Asked::User(own()));
}

#[tokio::test]
async fn asking_is_quick_enough_to_do_it_for_every_connection() {
    let (mut took, mut slowest) = (Duration::ZERO, Duration::ZERO);
    let rounds = 500;
    for _ in 0..rounds {
        let (_client, stream) = connected("127.0.0.1").unwrap();
        let start = Instant::now();
        let asked = Asked::tcp(&stream);
        let once = start.elapsed();
        assert_eq!(asked, Asked::User(own()));
        (took, slowest) = (took + once, slowest.max(once));
    }
    println!("{:?} per connection, the slowest {slowest:?}", took / rounds);
}

#[test]
fn the_list_decides_and_what_is_not_known_is_not_let_in() {
    let settings = |lines: &str| {
        let text = format!("[gateway]\n{lines}\n");
        config::Config::parse(&text, std::path::Path::new("b24gate.toml")).unwrap().gateway
    };
    let every = [Asked::User(33), Asked::User(34), Asked::Elsewhere, Asked::Gone, Asked::Unknown];
    let admitted = |lines: &str| {
        let settings = settings(lines);
        every.map(|asked| admit(Some(asked), &settings).map_err(|refusal| refusal.kind))
    };
    let no = Err(Kind::PeerNotAllowed);
    assert_eq!(admitted(""), [Ok(Some(33)), Ok(Some(34)), Ok(None), Ok(None), Ok(None)]);
    assert_eq!(admitted("allow_uids = [1, 33]"), [Ok(Some(33)), no, no, no, no]);
    let keyed = "allow_uids = [33, 1]\nrequire_key = true";
    assert_eq!(admitted(keyed), [Ok(Some(33)), no, Ok(None), no, no]);
    assert_eq!(admit(None, &settings("allow_uids = [33]")).map_err(|it| it.kind), no);
    assert_eq!(admit(None, &settings("")).unwrap(), None);
}

#[test]
fn without_netlink_the_table_is_read_and_without_both_nobody_is_known() {
    let none = || Err(io::Error::from(io::ErrorKind::PermissionDenied));
    let ends = |theirs: &str| Ends::new(theirs.parse().unwrap(), "127.0.0.1:2".parse().unwrap());
    let (here, elsewhere) = (ends("127.0.0.1:1"), ends("192.0.2.1:1"));
    for (told, asked) in [
        (Ok(Found::Held(7)), Asked::User(7)),
        (Ok(Found::Abandoned), Asked::Gone),
        (Ok(Found::Nothing), Asked::Gone),
        (none(), Asked::Unknown),
    ] {
        assert_eq!(Asked::judge(here, none(), |_| told), asked);
    }
    let unread = |_| -> io::Result<Found> { panic!("the table is not to be read") };
    assert_eq!(Asked::judge(here, Ok(Found::Nothing), unread), Asked::Gone);
    // Another machine's connection is in no table of this one; a user of this one is, by whichever
    // of its addresses.
    assert_eq!(Asked::judge(elsewhere, none(), unread), Asked::Elsewhere);
    assert_eq!(Asked::judge(elsewhere, Ok(Found::Nothing), unread), Asked::Elsewhere);
    assert_eq!(Asked::judge(elsewhere, Ok(Found::Held(7)), unread), Asked::User(7));
    assert_eq!(Asked::judge(elsewhere, Ok(Found::Abandoned), unread), Asked::Gone);
}

#[test]
fn another_address_of_this_machine_is_this_machine() {
    let within = |theirs: &str, ours: &str| {
        Ends::new(theirs.parse().unwrap(), ours.parse().unwrap()).within_machine()
    };
    assert!(within("127.0.0.1:1", "127.0.0.1:2") && within("127.9.9.9:1", "127.0.0.1:2"));
    assert!(within("[::1]:1", "[::1]:2") && within("[::ffff:127.0.0.1]:1", "[::ffff:127.0.0.1]:2"));
    assert!(within("192.0.2.1:1", "192.0.2.1:2"));
    assert!(!within("192.0.2.1:1", "192.0.2.2:2") && !within("[2001:db8::1]:1", "[2001:db8::2]:2"));
}
