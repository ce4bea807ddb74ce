use super::*;

fn reply(wire: &str) -> Reply {
    match parse(wire.as_bytes(), false).unwrap() {
        Parsed::Final(_, reply) => reply,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_answer_loses_cookies_cors_and_hop_by_hop_fields_and_keeps_the_rest() {
    let reply = reply(
        "HTTP/1.1 200 OK\r\nServer: nginx\r\nSet-Cookie: a=b\r\n\
         Access-Control-Allow-Origin: *\r\nConnection: keep-alive\r\nKeep-Alive: timeout=20\r\n\
         Content-Type: application/json; charset=utf-8\r\nContent-Length: 2\r\n\r\n",
    );
    assert_eq!(
        std::str::from_utf8(&reply.head).unwrap(),
        "HTTP/1.1 200 OK\r\nServer: nginx\r\nContent-Type: application/json; charset=utf-8\r\n"
    );
    assert_eq!(reply.framing, Framing::Length(2));
    assert_eq!(reply.content, Content::Json);
    assert_eq!(reply.idle_max, Some(Duration::from_secs(19)));
    assert!(reply.keeps_open);
}

#[test]
fn answers_that_could_be_split_differently_are_not_http() {
    for wire in [
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "HTTP/1.1 101 Switching\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
        "HTTP/1.1 200 OK\r\nA: b\x00\r\n\r\n",
        "SSH-2.0-OpenSSH\r\n\r\n",
    ] {
        assert!(parse(wire.as_bytes(), false).is_err(), "{wire}");
    }
}

#[test]
fn an_interim_answer_is_not_the_answer() {
    assert!(matches!(
        parse(b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\nHTTP", false),
        Ok(Parsed::Interim(37))
    ));
}

#[test]
fn a_body_is_looked_at_without_taking_it() {
    let chunks = reply("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    let seen = chunks.look(b"3\r\n{\"e\r\n3\r\nrr\"\r\n0\r\n\r\n", 100).unwrap();
    assert_eq!(seen, (b"{\"err\"".as_slice().into(), true));
    let counted = reply("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n");
    assert_eq!(counted.look(b"abcdHTTP/1.1", 100).unwrap(), (b"abcd".as_slice().into(), true));
    assert_eq!(counted.look(b"abc", 100).unwrap(), (b"abc".as_slice().into(), false));
}
