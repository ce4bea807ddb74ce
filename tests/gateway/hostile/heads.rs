//! Heads that are not plainly one request, and bodies that are not plainly one body.

use crate::support::wire::{calls, chunks, pattern, request, stage, stage_with};

use super::{only_probes, refused};

const LINE: &str = "POST /rest/profile HTTP/1.1\r\nHost: localhost\r\n";

/// S-30: framing that two readers could see differently. Behind each head stands what one of them
/// would take for a second request.
const SMUGGLED: &[&str] = &[
    "Content-Length: 6\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nContent-Length: 6",
    "Content-Length: 0\r\nTransfer-Encoding: chunked",
    "Content-Length: 6\r\nContent-Length: 6",
    "Content-Length: 6\r\nContent-Length: 0",
    "Content-Length: 0\r\nContent-Length: 0",
    "Content-Length: 6\r\ncontent-length: 7",
    "Content-Length: 6, 6",
    "Content-Length: 6,0",
    "Content-Length: +6",
    "Content-Length: -6",
    "Content-Length: 0x6",
    "Content-Length: 6.0",
    "Content-Length: 6 0",
    "Content-Length: 6\t0",
    "Content-Length: \"6\"",
    "Content-Length: six",
    "Content-Length:",
    "Content-Length: ,",
    "Content-Length: 0006000000000000",
    "Content-Length: 18446744073709551622",
    "Content-Length: 99999999999999999999999999999999999999",
    "Content-Length : 6",
    "Content-Length\t: 6",
    " Content-Length: 6",
    "Content-Length: 6\u{b2}",
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: chunked, gzip",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: chunked;q=1",
    "Transfer-Encoding: \"chunked\"",
    "Transfer-Encoding: chunked\u{a0}",
    "Transfer-Encoding: \u{b}chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity",
    "Transfer-Encoding:",
    "Transfer-Encoding: ,chunked",
    "Transfer-Encoding : chunked",
    " Transfer-Encoding: chunked",
    "Transfer-Encoding\u{b}: chunked",
    "Transfer-Encoding:\r\n chunked",
    "X: y\r\n Transfer-Encoding: chunked",
    "X: y\r\n\tfolded",
    "X: y\rTransfer-Encoding: chunked",
    "X: y\nTransfer-Encoding: chunked",
    "X: y\n\nGET /rest/profile HTTP/1.1",
    "X: y\0z",
    "X: y\u{7f}",
    "X: \u{1b}[31mred",
    "X\0Y: z",
    "X Y: z",
    "X(Y): z",
    "\"X\": z",
    ": z",
    "no colon at all",
    "GET /rest/profile HTTP/1.1",
    "Host: localhost",
    "Host: evil.example",
    "host: localhost",
];

#[tokio::test]
async fn s_30_framing_that_could_be_read_twice_is_a_400_and_ends_the_connection() {
    let (portal, gate) = stage().await;
    let second = "0\r\n\r\nGET /rest/crm.deal.delete?id=1 HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (number, fields) in SMUGGLED.iter().enumerate() {
        let wire = format!("{LINE}{fields}\r\n\r\n{second}");
        let answer = refused(&gate, wire.as_bytes(), number).await;
        assert_eq!(
            (answer.status, answer.error().as_str()),
            (400, "GATEWAY_BAD_REQUEST"),
            "{fields:?}"
        );
        assert_eq!(answer.field("connection"), Some("close"), "{fields:?}");
    }
    only_probes(&portal);
}

#[tokio::test]
async fn s_30_spellings_that_php_would_fold_into_framing_do_not_frame() {
    let (portal, gate) = stage().await;
    for fields in ["Content_Length: 3\r\n", "Transfer_Encoding: chunked\r\n", "HTTP_HOST: evil\r\n"]
    {
        let wire = request("POST /rest/sandbox.echo", fields, b"a=1");
        let mut client = crate::support::http::Client::connect(gate.address).await;
        client.send(&wire).await;
        assert_eq!(client.answer().await.unwrap().status, 200);
        let call = calls(&portal).pop().unwrap();
        assert_eq!(call.body.as_deref(), Some("a=1"));
        assert!(!call.headers.iter().any(|line| line.contains('_')), "{:?}", call.headers);
    }
}

/// S-30: request lines.
const LINES: &[(&str, u16)] = &[
    ("GET /rest/profile", 400),
    ("GET /rest/profile HTTP/1.1 x", 400),
    ("GET  /rest/profile HTTP/1.1", 400),
    ("GET /rest/profile  HTTP/1.1", 400),
    (" GET /rest/profile HTTP/1.1", 400),
    ("GET\t/rest/profile\tHTTP/1.1", 400),
    ("GET /rest/pro file HTTP/1.1", 400),
    ("GET /rest/profile HTTP/1.2", 400),
    ("GET /rest/profile HTTP/0.9", 400),
    ("GET /rest/profile HTTP/2.0", 400),
    ("GET /rest/profile HTTP/1.10", 400),
    ("GET /rest/profile HTTP/1", 400),
    ("GET /rest/profile http/1.1", 400),
    ("GET /rest/profile HTTP/11", 400),
    ("GET /rest/profile\u{b}HTTP/1.1", 400),
    ("GET /rest/profile\0 HTTP/1.1", 400),
    ("GET /rest/profile\u{7f} HTTP/1.1", 400),
    ("GET /rest/profile?a=\u{1}b HTTP/1.1", 400),
    ("GET /rest/profile\rX: y HTTP/1.1", 400),
    ("GET /rest/profile?a\nb HTTP/1.1", 400),
    ("GET /rest/profile#x HTTP/1.1", 400),
    ("G\u{e9}T /rest/profile HTTP/1.1", 400),
    ("G(T /rest/profile HTTP/1.1", 400),
    ("\0GET /rest/profile HTTP/1.1", 400),
    ("\r\n\r\nGET /rest/profile HTTP/1.1", 400),
    // S-36: verbs and forms of targets.
    ("PRI * HTTP/2.0", 400),
    ("OPTIONS * HTTP/1.1", 405),
    ("OPTIONS /rest/profile HTTP/1.1", 405),
    ("TRACE /rest/profile HTTP/1.1", 405),
    ("CONNECT acme.bitrix24.com:443 HTTP/1.1", 405),
    ("CONNECT localhost HTTP/1.1", 405),
    ("PUT /rest/profile HTTP/1.1", 405),
    ("PATCH /rest/profile HTTP/1.1", 405),
    ("DELETE /rest/crm.deal.delete?id=1 HTTP/1.1", 405),
    ("PROPFIND /rest/profile HTTP/1.1", 405),
    ("get /rest/profile HTTP/1.1", 405),
    ("Post /rest/profile HTTP/1.1", 405),
    ("GETS /rest/profile HTTP/1.1", 405),
    ("GET * HTTP/1.1", 400),
    ("GET rest/profile HTTP/1.1", 400),
    ("GET localhost/rest/profile HTTP/1.1", 400),
    ("GET http:/rest/profile HTTP/1.1", 400),
    ("GET ftp://localhost/rest/profile HTTP/1.1", 400),
    ("GET file:///rest/profile HTTP/1.1", 400),
    ("GET http://evil.example/rest/profile HTTP/1.1", 400),
    ("GET http://localhost:1/rest/profile HTTP/1.1", 400),
    ("GET http://a@localhost/rest/profile HTTP/1.1", 400),
    ("GET http://localhost@evil.example/rest/profile HTTP/1.1", 400),
    ("GET http:///rest/profile HTTP/1.1", 400),
    ("GET http://localhost HTTP/1.1", 404),
];

#[tokio::test]
async fn s_30_s_36_request_lines_that_are_not_a_call_are_refused() {
    let (portal, gate) = stage().await;
    for (number, (line, status)) in LINES.iter().enumerate() {
        let wire = format!("{line}\r\nHost: localhost\r\n\r\n");
        let answer = refused(&gate, wire.as_bytes(), number).await;
        assert_eq!(answer.status, *status, "{line:?}: {}", answer.text());
        if *status == 405 {
            assert_eq!(answer.field("allow"), Some("GET, HEAD, POST"), "{line:?}");
        }
    }
    only_probes(&portal);
}

#[tokio::test]
async fn s_36_the_preface_of_http_2_is_refused_at_once() {
    let (portal, gate) = stage().await;
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    assert_eq!(refused(&gate, &preface, 0).await.status, 400);
    only_probes(&portal);
}

#[tokio::test]
async fn s_30_a_request_of_http_1_1_without_a_host_is_a_400() {
    let (portal, gate) = stage().await;
    for (number, head) in [
        "GET /rest/profile HTTP/1.1\r\n\r\n",
        "GET http://localhost/rest/profile HTTP/1.1\r\n\r\n",
        "GET /rest/profile HTTP/1.1\r\nX-Host: localhost\r\n\r\n",
        "POST /rest/profile HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ]
    .iter()
    .enumerate()
    {
        assert_eq!(refused(&gate, head.as_bytes(), number).await.status, 400, "{head:?}");
    }
    only_probes(&portal);
}

/// S-30: chunked bodies that two readers could see differently.
const CHUNKS: &[&[u8]] = &[
    b"3\na=1\r\n0\r\n\r\n",
    b"3\r\na=1\n0\r\n\r\n",
    b"3\r\na=10\r\n\r\n",
    b"3\r\na=1xx0\r\n\r\n",
    b"2\r\na=1\r\n0\r\n\r\n",
    b"0x3\r\na=1\r\n0\r\n\r\n",
    b"+3\r\na=1\r\n0\r\n\r\n",
    b"-3\r\na=1\r\n0\r\n\r\n",
    b" 3\r\na=1\r\n0\r\n\r\n",
    b"3_\r\na=1\r\n0\r\n\r\n",
    b"g\r\na=1\r\n0\r\n\r\n",
    b"\r\na=1\r\n0\r\n\r\n",
    b";x\r\na=1\r\n0\r\n\r\n",
    b"3;x=\0\r\na=1\r\n0\r\n\r\n",
    b"3;x\ry\r\na=1\r\n0\r\n\r\n",
    b"3\r\r\na=1\r\n0\r\n\r\n",
    b"ffffffffffffffff\r\na=1",
    b"10000000000000003\r\na=1\r\n0\r\n\r\n",
    b"3\r\na=1\r\n0\n\n",
    b"3\r\na=1\r\n0\r\nX: \x01\r\n\r\n",
    b"3\r\na=1\r\n0\r\nX: y\n\r\n",
];

#[tokio::test]
async fn s_30_chunks_that_could_be_read_twice_are_a_400_and_end_the_connection() {
    let (portal, gate) = stage_with(|setup| setup.gateway("replay_memory = \"64KiB\"")).await;
    let line =
        "POST /rest/sandbox.echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (tail, size) = (b"GET /rest/profile HTTP/1.1\r\nHost: localhost\r\n\r\n", 200_000);
    for (number, body) in CHUNKS.iter().enumerate() {
        let wire = [line.as_bytes(), body, tail].concat();
        assert_eq!(refused(&gate, &wire, number).await.status, 400, "{number}");
    }
    only_probes(&portal);
    // Behind chunks that are already on their way to the portal, the call must not be completed.
    let begun = chunks(&pattern(size), 10_000);
    let begun = &begun[..begun.len() - b"0\r\nX-Checksum: 1\r\n\r\n".len()];
    for (number, body) in CHUNKS.iter().enumerate() {
        let wire = [line.as_bytes(), begun, body, tail].concat();
        assert_eq!(refused(&gate, &wire, number).await.status, 400, "{number}, large");
    }
    assert_eq!(portal.control().executions("profile"), 0);
    assert_eq!(portal.control().executions("sandbox.echo"), probes(&portal));
}

fn probes(portal: &b24gate::sandbox::Sandbox) -> u64 {
    calls(portal).iter().filter(|call| call.target.contains("probe=")).count() as u64
}

#[tokio::test]
async fn s_38_heads_and_bodies_beyond_their_bounds_are_refused() {
    let (portal, gate) = stage_with(|setup| setup.gateway("max_body = \"100KiB\"")).await;
    let many = "A: b\r\n".repeat(101);
    let long = "x".repeat(70_000);
    let over = pattern(102_401);
    let chunked = [
        b"POST /rest/profile HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n",
        chunks(&over, 1_000).as_slice(),
    ]
    .concat();
    let endless =
        "POST /rest/profile HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3;";
    let vectors: Vec<(Vec<u8>, u16)> = vec![
        (request("GET /rest/profile", &many, b""), 431),
        (request("GET /rest/profile", &format!("X: {long}\r\n"), b""), 431),
        (request("GET /rest/profile", &format!("{long}: y\r\n"), b""), 431),
        (request("GET /rest/profile", &"A: b\r\n".repeat(20_000), b""), 431),
        (request(&format!("GET /rest/profile?{long}"), "", b""), 414),
        (request(&format!("GET /rest/{long}"), "", b""), 414),
        (long.clone().into_bytes(), 414),
        (request("POST /rest/profile", "", &over), 413),
        (request("POST /rest/profile", "Content-Length: 999999999999999\r\n", b""), 413),
        (chunked, 413),
        (format!("{endless}{long}").into_bytes(), 400),
        (
            format!("{}0\r\n{}", &endless[..endless.len() - 2], "T: x\r\n".repeat(9_000))
                .into_bytes(),
            400,
        ),
    ];
    for (number, (wire, status)) in vectors.iter().enumerate() {
        assert_eq!(refused(&gate, wire, number).await.status, *status, "vector {number}");
    }
    only_probes(&portal);
    let exact = request("POST /rest/sandbox.echo?probe=x", "", &over[..102_400]);
    assert_eq!(crate::support::http::send(gate.address, exact).await.status, 200);
}

#[tokio::test]
async fn s_32_nothing_of_a_refused_request_comes_back_or_breaks_a_line_of_the_log() {
    let (_portal, gate) = stage().await;
    for (number, (line, fields)) in [
        ("GET /rest/<script>alert(1)</script> HTTP/1.1", ""),
        ("GET /rest/%0d%0aSet-Cookie:%20pwn=1 HTTP/1.1", ""),
        ("GET /pwn/rest/profile HTTP/1.1", ""),
        ("GET /rest/a.b/pwn\u{85}x HTTP/1.1", ""),
        ("PWN /rest/profile HTTP/1.1", ""),
        ("GET /rest/a/b HTTP/1.1", "X-Request-Id: pwn\u{9b}31m<script>\r\n"),
        ("GET /rest/a/b HTTP/1.1", "X-B24-Portal: pwn\r\n"),
        ("GET /rest/profile HTTP/1.1", "X-B24-Portal: pwn<script>\r\n"),
        ("GET /rest/profile HTTP/1.1", "Origin: http://pwn.example\r\n"),
    ]
    .iter()
    .enumerate()
    {
        let wire = format!("{line}\r\nHost: localhost\r\n{fields}\r\n");
        let answer = refused(&gate, wire.as_bytes(), number).await;
        let all = format!("{}{}", answer.head, answer.text()).to_lowercase();
        assert!(!all.contains("pwn") && !all.contains("<script"), "{line:?}: {all}");
    }
    let log = gate.log();
    assert!(log.bytes().all(|byte| byte >= 0x20 || byte == b'\n'), "{log:?}");
    assert!(!log.to_lowercase().contains("pwn"), "{log}");
}
