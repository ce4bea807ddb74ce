//! S-30: lengths, chunks, folded lines and what follows on a connection.

use super::{Fate, SMUGGLED, Vector, all, get, post};

pub(super) fn vectors() -> Vec<Vector> {
    let chunked = |value: &str| post(&format!("{value}\r\n"), "3\r\na=1\r\n0\r\n\r\n");
    let chunks = |body: &str| post("Transfer-Encoding: chunked\r\n", body);
    let counted = |value: &str| post(&format!("Content-Length: {value}\r\n"), "a=1");
    let both = |first: &str, second: &str| {
        post(&format!("{first}\r\n{second}\r\n"), &format!("0\r\n\r\n{SMUGGLED}"))
    };
    [
        all(Fate::Refused, REFUSED_LENGTHS.iter().map(|value| counted(value))),
        all(Fate::Calls(1), ["3", "03", "000000000000003", "3 ", "  3", "\t3\t"].map(counted)),
        all(Fate::Refused, REFUSED_CODINGS.iter().map(|value| chunked(value))),
        all(Fate::Calls(1), CODINGS.iter().map(|value| chunked(value))),
        all(Fate::Refused, REFUSED_CHUNKS.iter().map(|body| chunks(body))),
        all(Fate::Calls(1), CHUNKS.iter().map(|body| chunks(body))),
        all(Fate::Nothing, UNFINISHED.iter().map(|body| chunks(body))),
        all(
            Fate::Refused,
            [
                both("Content-Length: 5", "Transfer-Encoding: chunked"),
                both("Transfer-Encoding: chunked", "Content-Length: 5"),
                both("Content-Length: 0", "Transfer-Encoding: chunked"),
                both("content-length: 5", "TRANSFER-ENCODING: chunked"),
                both("Content-Length: 5", "Content-Length: 0"),
                both("Content-Length: 5", "Content-Length: 5"),
                both("Content-Length: 5", "content-LENGTH: 5"),
                both("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
                both("Transfer-Encoding: identity", "Transfer-Encoding: chunked"),
                both("Transfer-Encoding: chunked", "Transfer-Encoding: identity"),
                both("Transfer-Encoding: chunked", "transfer-encoding: x"),
                both("Content-Length: 5", "Transfer-Encoding: identity"),
                both("Content-Length: 5", "Transfer-Encoding:"),
                "POST /rest/vector HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n\
                 0\r\n\r\n"
                    .to_owned(),
            ],
        ),
        all(Fate::Refused, FOLDED.iter().map(|lines| post(lines, &format!("a=1{SMUGGLED}")))),
        bodies(),
        pipelines(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Bodies that look like requests, and requests that end early.
fn bodies() -> Vec<Vector> {
    let length = SMUGGLED.len();
    let counted = format!("Content-Length: {length}\r\n");
    [
        all(
            Fate::Calls(1),
            [
                post(&counted, SMUGGLED),
                post(&format!("{counted}Expect: 100-Continue\r\nX: y\r\n"), SMUGGLED),
                post(&format!("{counted}Connection: keep-alive, content-length\r\n"), SMUGGLED),
                post(&format!("{counted}Transfer_Encoding: chunked\r\n"), SMUGGLED),
                post(&format!("{counted}X-Transfer-Encoding: chunked\r\n"), SMUGGLED),
                post(&format!("{counted}Trailer: X\r\nTE: trailers\r\n"), SMUGGLED),
                post(&format!("{counted}Upgrade: h2c\r\nConnection: Upgrade\r\n"), SMUGGLED),
                post(
                    "Transfer-Encoding: chunked\r\n",
                    &format!("{length:x}\r\n{SMUGGLED}\r\n0\r\n\r\n"),
                ),
                // A body of a GET is the GET's, and is no request.
                format!("GET /rest/vector HTTP/1.1\r\nHost: localhost\r\n{counted}\r\n{SMUGGLED}"),
                post("Content_Length: 3\r\nContent-Length: 0\r\n", ""),
                post("", ""),
                post("Content-Length: 0\r\n", ""),
                format!("GET /rest/vector HTTP/1.0\r\nHost: localhost\r\n{counted}\r\n{SMUGGLED}"),
            ],
        ),
        all(
            Fate::Nothing,
            [
                post("Content-Length: 4000\r\n", "a=1"),
                post("Transfer-Encoding: chunked\r\n", "fff\r\na=1"),
            ],
        ),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Several requests at once are what they are.
fn pipelines() -> Vec<Vector> {
    let (first, second) = (get(""), get("X: second\r\n"));
    let body = post("Content-Length: 3\r\n", "a=1");
    let broken = get("Content-Length: x\r\n");
    [
        all(
            Fate::Calls(2),
            [
                format!("{first}{second}"),
                format!("{body}{second}"),
                format!("{first}\r\n{second}"),
                format!("{first}{second}{broken}{SMUGGLED}"),
                format!("{first}{second}{SMUGGLED}").replace("smuggled", "vec.tor\r\n\0"),
            ],
        ),
        all(Fate::Calls(3), [format!("{first}{body}{second}")]),
        all(
            Fate::Calls(1),
            [
                format!("{first}{broken}{SMUGGLED}"),
                format!("{first}\r\n\r\n{SMUGGLED}"),
                format!("{first}\n{SMUGGLED}"),
                format!("{first}\0{SMUGGLED}"),
                format!("{}{SMUGGLED}", get("Connection: close\r\n")),
                format!("{}{SMUGGLED}", get("").replace("HTTP/1.1", "HTTP/1.0")),
            ],
        ),
        all(Fate::Refused, [format!("{broken}{SMUGGLED}"), format!("\n{SMUGGLED}")]),
    ]
    .into_iter()
    .flatten()
    .collect()
}

const REFUSED_LENGTHS: &[&str] = &[
    "+3",
    "-3",
    "-0",
    "0x3",
    "3,3",
    "3, 3",
    "3;3",
    "3 3",
    "3.0",
    "3e0",
    "1e0",
    "0b11",
    "3_0",
    "three",
    "\"3\"",
    "",
    " ",
    "\u{ff13}",
    "\u{663}",
    "0000000000000003",
    "9999999999999999",
    "18446744073709551619",
    "3\u{b}",
    "3\u{c}",
    "NaN",
    "-1",
    "3,",
    ",3",
];

const REFUSED_CODINGS: &[&str] = &[
    "Transfer-Encoding: xchunked",
    "Transfer-Encoding: chunkedx",
    "Transfer-Encoding: chunked, identity",
    "Transfer-Encoding: identity, chunked",
    "Transfer-Encoding: chunked, chunked",
    "Transfer-Encoding: gzip, chunked",
    "Transfer-Encoding: chunked, gzip",
    "Transfer-Encoding: chunked,",
    "Transfer-Encoding: ,chunked",
    "Transfer-Encoding: chunked;q=1",
    "Transfer-Encoding: chunked ; a=b",
    "Transfer-Encoding: \"chunked\"",
    "Transfer-Encoding: 'chunked'",
    "Transfer-Encoding: chunk",
    "Transfer-Encoding: identity",
    "Transfer-Encoding: gzip",
    "Transfer-Encoding: trailers",
    "Transfer-Encoding:",
    "Transfer-Encoding: ,",
    "Transfer-Encoding: c\u{200b}hunked",
    "Transfer-Encoding: chun\u{212a}ed",
    "Transfer-Encoding: \u{b}chunked",
    "Transfer-Encoding: chunked\u{b}",
    "Transfer-Encoding: chunked\0",
    "Transfer-Encoding: \0chunked",
    "Transfer-Encoding: chunked\rX: y",
    "Transfer-Encoding: chunked\n",
    "Transfer-Encoding : chunked",
    "Transfer-Encoding\t: chunked",
    "Transfer-Encoding\u{b}: chunked",
    "Transfer-Encoding\0: chunked",
    " Transfer-Encoding: chunked",
    "\tTransfer-Encoding: chunked",
    "\u{b}Transfer-Encoding: chunked",
    "X: y\r\n Transfer-Encoding: chunked",
    "Transfer-Encoding:\r\n chunked",
    "Transfer-Encoding\r\n: chunked",
    "Transfer\r\n-Encoding: chunked",
    "Transfer Encoding: chunked",
];

const CODINGS: &[&str] = &[
    "Transfer-Encoding: chunked",
    "transfer-encoding:chunked",
    "TRANSFER-ENCODING: CHUNKED",
    "Transfer-Encoding:   chunked\t ",
];

const REFUSED_CHUNKS: &[&str] = &[
    "3\na=1\r\n0\r\n\r\n",
    "3\ra=1\r\n0\r\n\r\n",
    "3\r\na=1\n0\r\n\r\n",
    "3\r\na=1\r0\r\n\r\n",
    "3\r\na=1\r\n0\n\n",
    "3\r\na=10\r\n\r\n",
    "3\r\na=1 \r\n0\r\n\r\n",
    "2\r\na=1\r\n0\r\n\r\n",
    "0x3\r\na=1\r\n0\r\n\r\n",
    "+3\r\na=1\r\n0\r\n\r\n",
    "-3\r\na=1\r\n0\r\n\r\n",
    " 3\r\na=1\r\n0\r\n\r\n",
    "3_\r\na=1\r\n0\r\n\r\n",
    "3,\r\na=1\r\n0\r\n\r\n",
    "3.0\r\na=1\r\n0\r\n\r\n",
    "g\r\na=1\r\n0\r\n\r\n",
    "\u{ff13}\r\na=1\r\n0\r\n\r\n",
    "\r\na=1\r\n0\r\n\r\n",
    ";x\r\na=1\r\n0\r\n\r\n",
    "\u{0}3\r\na=1\r\n0\r\n\r\n",
    "3\0\r\na=1\r\n0\r\n\r\n",
    "3;x=\0\r\na=1\r\n0\r\n\r\n",
    "3;x=\u{1}\r\na=1\r\n0\r\n\r\n",
    "3;x\ny\r\na=1\r\n0\r\n\r\n",
    "3;\ra=1\r\n0\r\n\r\n",
    "3;x\r\r\na=1\r\n0\r\n\r\n",
    "ffffffffffffffff\r\na=1\r\n0\r\n\r\n",
    "10000000000000003\r\na=1\r\n0\r\n\r\n",
    "00000000000000003\r\na=1\r\n0\r\n\r\n",
    "3\r\na=1\r\n0\r\nX: \u{1}\r\n\r\n",
    "3\r\na=1\r\n0\r\nX: y\n\r\n",
    "3\r\na=1\r\n0\r\nX: y\r\n\n",
    "3\r\na=1\r\n-0\r\n\r\n",
    "",
    "3",
    "3\r\na=",
    "3\r\na=1\r\n0;\n\r\n\r\n",
];

const CHUNKS: &[&str] = &[
    "0\r\n\r\n",
    "3\r\na=1\r\n000\r\n\r\n",
    "03\r\na=1\r\n0\r\n\r\n",
    "3;a\r\na=1\r\n0;b\r\n\r\n",
    "3;a=b;c=\"d\"\r\na=1\r\n0\r\n\r\n",
    "3 ;a\r\na=1\r\n0\r\n\r\n",
    "1\r\na\r\n1\r\n=\r\n1\r\n1\r\n0\r\n\r\n",
    "3\r\na=1\r\n0\r\nX-Trailer: y\r\nContent-Length: 9\r\n\r\n",
    "A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
    "3\r\n0\r\n\r\n0\r\n\r\n",
];

/// The rest is the probe's, which then is a part of the body or of nothing.
const UNFINISHED: &[&str] = &["fff\r\n", "fff\r\n0\r\n\r\n"];

const FOLDED: &[&str] = &[
    "X: a\r\n b\r\nContent-Length: 3\r\n",
    "X: a\r\n\tb\r\nContent-Length: 3\r\n",
    "Content-Length:\r\n 3\r\n",
    "Content-Length: 3\r\n \r\n",
    "X: a\r\n \r\nContent-Length: 3\r\n",
    "X:\r\n\t\r\nContent-Length: 3\r\n",
    "Content-Length : 3\r\n",
    "Content-Length\t: 3\r\n",
    " Content-Length: 3\r\n",
    "Content-Length\r\n",
    "Content-Length 3\r\n",
    ": 3\r\nContent-Length: 3\r\n",
    "X: a\nContent-Length: 3\r\n",
    "X: a\rContent-Length: 3\r\n",
    "X: a\r\r\nContent-Length: 3\r\n",
    "X\r: a\r\nContent-Length: 3\r\n",
    "Content-Length: 3\n\r\n",
    "Content-Length: 3\r\n\n",
];
