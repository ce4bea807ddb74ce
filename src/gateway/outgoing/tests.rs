use super::*;
use crate::gateway::head;

fn outgoing(wire: &str, framing: Framing) -> Outgoing {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let head = head::read(wire.as_bytes(), &mut fields).unwrap();
    let target = Target::parse(head.target).unwrap();
    let asked = Asked::read(&head);
    let mut outgoing = Outgoing::prepare(&head, &target, &asked, "acme.bitrix24.com");
    outgoing.delimit(framing);
    outgoing
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn the_portal_gets_its_own_host_the_token_and_nothing_between_neighbours() {
    let wire = "POST /rest/1/KEY/crm.deal.Get.json?auth=old&a=1 HTTP/1.1\r\nHost: localhost\r\n\
        Authorization: Bearer old\r\nCookie: a=b\r\nUser-Agent: x\r\nExpect: 100-continue\r\n\
        Connection: close, X-Listed, authorization, host, content-length\r\nX-Listed: 1\r\n\
        X-Request-ID: r1\r\nIdempotency-Key: k1\r\nAccept-Encoding: br, gzip;q=0.8\r\n\
        Content-Length: 2\r\n\r\n";
    let mut head = outgoing(wire, Framing::Length(2));
    assert_eq!(
        text(head.with(Slot::Bearer, &Secret::new("T"))),
        "POST /rest/crm.deal.Get.json?a=1 HTTP/1.1\r\nHost: acme.bitrix24.com\r\n\
         User-Agent: x\r\nX-Request-ID: r1\r\nIdempotency-Key: k1\r\n\
         Accept-Encoding: gzip\r\nContent-Length: 2\r\n\
         Authorization: Bearer T\r\n\r\n"
    );
}

#[test]
fn a_second_attempt_carries_only_the_second_token() {
    let mut head = outgoing("GET /rest/profile HTTP/1.1\r\nHost: a\r\n\r\n", Framing::None);
    head.with(Slot::Bearer, &Secret::new("OLD"));
    head.with(Slot::Parameter, &Secret::new("OLDER"));
    assert_eq!(
        text(head.with(Slot::Bearer, &Secret::new("NEW"))),
        "GET /rest/profile HTTP/1.1\r\nHost: acme.bitrix24.com\r\nAuthorization: Bearer NEW\r\n\r\n"
    );
}

#[test]
fn as_a_parameter_the_token_stands_first_in_the_query() {
    let mut head = outgoing("GET /rest/a?b=1 HTTP/1.1\r\nHost: a\r\n\r\n", Framing::None);
    let line = |head: &[u8]| text(head).lines().next().unwrap().to_owned();
    let token = Secret::new("T+");
    assert_eq!(line(head.with(Slot::Parameter, &token)), "GET /rest/a?auth=T%2B&b=1 HTTP/1.1");
    let mut bare = outgoing("GET /rest/a HTTP/1.1\r\nHost: a\r\n\r\n", Framing::None);
    assert_eq!(line(bare.with(Slot::Parameter, &token)), "GET /rest/a?auth=T%2B HTTP/1.1");
}

#[test]
fn a_webhook_stands_in_the_path_once_however_often_the_call_is_sent() {
    let secret = Secret::new("s3cret");
    for (target, path) in [
        ("/rest/9/old/a.b.json?c=1&auth=x", "/rest/7/s3cret/a.b.json?c=1"),
        ("/rest/api/tasks.task.get", "/rest/api/7/s3cret/tasks.task.get"),
    ] {
        let wire = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        let mut head = outgoing(&wire, Framing::None);
        for _ in 0..2 {
            assert_eq!(
                text(head.with_webhook(7, &secret)),
                format!("GET {path} HTTP/1.1\r\nHost: acme.bitrix24.com\r\n\r\n")
            );
        }
    }
}

#[test]
fn a_moved_portal_gets_its_new_name() {
    let mut head = outgoing("GET /rest/a HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n", Framing::None);
    head.with(Slot::Bearer, &Secret::new("T"));
    head.readdress("neu.bitrix24.de:8443");
    assert_eq!(
        text(head.with(Slot::Bearer, &Secret::new("T"))),
        "GET /rest/a HTTP/1.1\r\nHost: neu.bitrix24.de:8443\r\nX: y\r\n\
         Authorization: Bearer T\r\n\r\n"
    );
}

#[test]
fn a_post_without_a_body_says_so() {
    let mut head = outgoing("POST /rest/a HTTP/1.1\r\nHost: a\r\n\r\n", Framing::None);
    assert!(text(head.as_it_is()).ends_with("Content-Length: 0\r\n\r\n"));
}

#[test]
fn gzip_is_asked_for_only_where_the_client_takes_it() {
    assert!(accepts_gzip(b"gzip"));
    assert!(accepts_gzip(b"GZIP;q=0.5"));
    assert!(!accepts_gzip(b"gzip;q=0"));
    assert!(!accepts_gzip(b"br"));
}
