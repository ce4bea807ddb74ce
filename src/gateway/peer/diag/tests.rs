//! What is read of the kernel's answers, and that nothing else is believed.

use proptest::prelude::*;

use super::*;

const UID: u32 = 1001;

fn ends() -> Ends {
    Ends { theirs: "127.0.0.1:40961".parse().unwrap(), ours: "127.0.0.1:8024".parse().unwrap() }
}

/// A message as the kernel writes it.
fn message(kind: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(u32::try_from(16 + body.len()).unwrap().to_ne_bytes());
    bytes.extend(kind.to_ne_bytes());
    bytes.extend([0; 2]);
    bytes.extend(sequence.to_ne_bytes());
    bytes.extend([7; 4]);
    bytes.extend(body);
    bytes
}

/// A socket in the kernel's words; addresses have 16 bytes.
fn socket(state: u8, ends: Ends, uid: u32, inode: u32) -> Vec<u8> {
    let family = if ends.theirs.is_ipv4() { AF_INET } else { AF_INET6 };
    let mut bytes = vec![family, state, 0, 0];
    bytes.extend(ends.theirs.port().to_be_bytes());
    bytes.extend(ends.ours.port().to_be_bytes());
    for address in [ends.theirs, ends.ours] {
        match address.ip() {
            IpAddr::V4(ip) => bytes.extend([&ip.octets()[..], &[0; 12]].concat()),
            IpAddr::V6(ip) => bytes.extend(ip.octets()),
        }
    }
    bytes.extend([9; 24]); // interface, cookie, expiry, queues
    bytes.extend(uid.to_ne_bytes());
    bytes.extend(inode.to_ne_bytes());
    assert_eq!(bytes.len(), 72);
    bytes
}

fn answer(socket: &[u8]) -> Answer {
    read(&message(SOCK_DIAG_BY_FAMILY, 3, socket), 3, ends())
}

#[test]
fn a_socket_is_held_by_its_user_only_while_a_program_has_it_open() {
    for (state, inode, found) in [
        (1, 55, Found::Held(UID)),
        (4, 55, Found::Held(UID)),
        (5, 55, Found::Held(UID)),
        (1, 0, Found::Abandoned),
        (5, 0, Found::Abandoned),
        (2, 55, Found::Abandoned),
        (6, 0, Found::Abandoned),
        (7, 55, Found::Abandoned),
    ] {
        let told = answer(&socket(state, ends(), UID, inode));
        assert_eq!(told, Answer::Found(found), "state {state}, inode {inode}");
    }
    // What the kernel adds behind it changes nothing.
    let more = [socket(1, ends(), UID, 55), vec![8, 0, 1, 0, 1, 2, 3, 4]].concat();
    assert_eq!(answer(&more), Answer::Found(Found::Held(UID)));
}

#[test]
fn another_socket_than_the_one_asked_for_is_nobodys() {
    let Ends { theirs, ours } = ends();
    let elsewhere = |text: &str| -> SocketAddr { text.parse().unwrap() };
    for other in [
        Ends { theirs: ours, ours: theirs },
        Ends { theirs, ours: elsewhere("127.0.0.2:8024") },
        Ends { theirs, ours: elsewhere("127.0.0.1:8025") },
        Ends { theirs: elsewhere("127.0.0.2:40961"), ours },
        Ends { theirs: elsewhere("127.0.0.1:40962"), ours },
        // One that listens.
        Ends { theirs, ours: elsewhere("0.0.0.0:0") },
    ] {
        assert_eq!(answer(&socket(1, other, UID, 55)), Answer::Found(Found::Nothing), "{other:?}");
    }
    let mapped = Ends {
        theirs: elsewhere("[::ffff:127.0.0.1]:40961"),
        ours: elsewhere("[::ffff:127.0.0.1]:8024"),
    };
    assert_eq!(answer(&socket(1, mapped, UID, 55)), Answer::Found(Found::Held(UID)));
}

#[test]
fn errors_and_answers_to_other_questions_are_told_apart() {
    let refused = |error: i32| read(&message(NLMSG_ERROR, 3, &error.to_ne_bytes()), 3, ends());
    assert_eq!(refused(-ENOENT), Answer::Failed(ENOENT));
    assert_eq!(refused(-1), Answer::Failed(1));
    assert_eq!(refused(i32::MIN), Answer::Garbled);
    let found = message(SOCK_DIAG_BY_FAMILY, 3, &socket(1, ends(), UID, 55));
    assert_eq!(read(&found, 4, ends()), Answer::Foreign);
    assert_eq!(read(&message(3, 3, &[]), 3, ends()), Answer::Garbled, "the end of a list");
}

#[test]
fn an_answer_that_is_cut_anywhere_is_not_believed() {
    let whole = message(SOCK_DIAG_BY_FAMILY, 3, &socket(1, ends(), UID, 55));
    for length in 0..whole.len() {
        assert_eq!(read(&whole[..length], 3, ends()), Answer::Garbled, "{length} bytes");
    }
    for length in 0..whole.len() {
        let mut short = whole.clone();
        short[..4].copy_from_slice(&u32::try_from(length).unwrap().to_ne_bytes());
        assert_eq!(read(&short, 3, ends()), Answer::Garbled, "said to have {length} bytes");
    }
}

#[test]
fn a_question_names_the_callers_socket_first() {
    let bytes = question(ends(), 3);
    assert_eq!(bytes.len(), 72);
    assert_eq!(bytes[..4], 72_u32.to_ne_bytes());
    assert_eq!((bytes[16], bytes[17]), (AF_INET, IPPROTO_TCP));
    assert_eq!(bytes[24..28], [0xa0, 0x01, 0x1f, 0x58]);
    assert_eq!(bytes[28..32], [127, 0, 0, 1]);
    let v6 = Ends { theirs: "[::1]:1".parse().unwrap(), ours: "[::2]:2".parse().unwrap() };
    let bytes = question(v6, 3);
    assert_eq!((bytes.len(), bytes[16], bytes[43], bytes[59]), (72, AF_INET6, 1, 2));
}

proptest! {
    #[test]
    fn no_answer_whatever_makes_it_fail(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        // The chance to guess both ends is nil, so nobody may be found.
        prop_assert!(!matches!(read(&bytes, 3, ends()), Answer::Found(Found::Held(_))));
    }

    #[test]
    fn a_changed_answer_is_read_without_failing(at in 0_usize..88, byte: u8) {
        let mut bytes = message(SOCK_DIAG_BY_FAMILY, 3, &socket(1, ends(), UID, 55));
        bytes[at] = byte;
        let told = read(&bytes, 3, ends());
        if let Answer::Found(Found::Held(uid)) = told {
            prop_assert!(uid == UID || (80..84).contains(&at));
        }
    }
}
