//! The head of a request: found, read strictly, and refused whenever it is not plainly one request.
//!
//! The request line is read here because real clients send raw `<`, `>` and `"` in the target,
//! which `httparse` refuses; the field lines are `httparse`'s work. What RFC 9112 lets a recipient
//! repair (bare LF, folded lines, two lengths) is refused instead: a repaired request is one that
//! somebody else may have read differently.

use crate::error::{Kind, Refusal};

/// The most field lines a request may have.
pub(crate) const FIELDS_MAX: usize = 100;
/// As many as most programs send. To make room for all that may come takes longer than to read them.
pub(crate) const FIELDS_FEW: usize = 16;

/// A field line, name and value as received.
pub(crate) type Field<'b> = httparse::Header<'b>;

/// The verbs of Bitrix24 REST, and the one by which a browser asks about a page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Head,
    Post,
    /// Never a call; it is answered here or refused.
    Options,
}

/// The two versions of HTTP that are spoken here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Http10,
    Http11,
}

/// How the body of a message is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is no body.
    None,
    /// `Content-Length`
    Length(u64),
    /// `Transfer-Encoding: chunked`
    Chunked,
    /// Until the connection closes (answers only).
    Close,
}

/// A request head over the bytes it was read from.
#[derive(Debug)]
pub(crate) struct Head<'b, 'f> {
    pub(crate) verb: Verb,
    /// The request target as received: origin form or absolute form.
    pub(crate) target: &'b [u8],
    pub(crate) version: Version,
    pub(crate) fields: &'f [Field<'b>],
}

/// Finds the end of a head without looking at any byte twice.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    /// Bytes looked at.
    seen: usize,
    /// Where the current line starts.
    line: usize,
    /// Lines that are complete.
    lines: usize,
}

impl Scan {
    /// Looks at what is new in `bytes`; the length of the head once its blank line is there.
    pub(crate) fn end_of_head(&mut self, bytes: &[u8]) -> Result<Option<usize>, Refusal> {
        while let Some(at) = bytes.get(self.seen..).and_then(|rest| memchr::memchr(b'\n', rest)) {
            let line_feed = self.seen + at;
            let line = bytes.get(self.line..line_feed).unwrap_or_default();
            let Some((b'\r', line)) = line.split_last() else {
                return Err(malformed("a line of the request head does not end with CRLF"));
            };
            self.seen = line_feed + 1;
            self.line = self.seen;
            if !line.is_empty() {
                self.lines += 1;
            } else if self.lines > 0 {
                return Ok(Some(self.seen));
            } else if self.seen > 2 {
                return Err(malformed("blank lines stand before the request line"));
            }
        }
        self.seen = bytes.len();
        Ok(None)
    }

    /// What to answer when the head does not fit into the buffer.
    pub(crate) fn too_large(&self) -> Refusal {
        if self.lines == 0 {
            Refusal::new(
                Kind::TargetTooLong,
                "the request target is longer than 60 kB: send the parameters in a POST body",
            )
        } else {
            Refusal::new(Kind::HeadTooLarge, "the request head is larger than 64 KiB")
        }
    }
}

/// Reads a complete head, which ends with its blank line. It is too large if it has more fields than
/// there is room for in `fields`.
pub(crate) fn read<'b, 'f>(
    bytes: &'b [u8],
    fields: &'f mut [Field<'b>],
) -> Result<Head<'b, 'f>, Refusal> {
    // RFC 9112, section 2.2: one empty line before the request line is an old client's habit.
    let bytes = bytes.strip_prefix(b"\r\n").unwrap_or(bytes);
    let end = memchr::memchr(b'\r', bytes).ok_or_else(|| malformed("there is no request line"))?;
    let (line, rest) = bytes.split_at(end);
    let lines = rest.strip_prefix(b"\r\n").unwrap_or_default();
    let (verb, target, version) = read_line(line)?;
    let fields = match httparse::parse_headers(lines, fields) {
        Ok(httparse::Status::Complete((_, fields))) => fields,
        Ok(httparse::Status::Partial) => return Err(malformed("the request head is cut off")),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Refusal::new(Kind::HeadTooLarge, "more than 100 header fields"));
        }
        Err(_) => return Err(malformed("a header field is not valid HTTP")),
    };
    Ok(Head { verb, target, version, fields })
}

fn read_line(line: &[u8]) -> Result<(Verb, &[u8], Version), Refusal> {
    let mut words = line.split(|byte| *byte == b' ');
    let (Some(verb), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(malformed(
            "the request line is not `VERB target HTTP/1.1` (is there a space in the URL?)",
        ));
    };
    let version = match version {
        b"HTTP/1.1" => Version::Http11,
        b"HTTP/1.0" => Version::Http10,
        _ => return Err(malformed("only HTTP/1.1 and HTTP/1.0 are spoken here")),
    };
    let verb = match verb {
        b"GET" => Verb::Get,
        b"POST" => Verb::Post,
        b"HEAD" => Verb::Head,
        b"OPTIONS" => Verb::Options,
        b"CONNECT" => {
            let text = "the gateway is an HTTP proxy and no tunnel: write http:// instead of \
                        https:// in the address that your tool calls";
            return Err(Refusal::new(Kind::VerbRefused, text));
        }
        _ if !verb.is_empty() && verb.iter().all(|byte| is_token(*byte)) => {
            return Err(verb_refused());
        }
        _ => return Err(malformed("the verb is not a token")),
    };
    if target.is_empty() || target.iter().any(|byte| !is_target(*byte)) {
        return Err(malformed("the request target holds a control character or a `#`"));
    }
    Ok((verb, target, version))
}

/// How the body is delimited, or why that cannot be told for certain (RFC 9112, section 6.3).
pub(crate) fn framing(version: Version, fields: &[Field<'_>]) -> Result<Framing, Refusal> {
    let (mut length, mut chunked) = (None, false);
    for field in fields {
        if field.name.eq_ignore_ascii_case("content-length") {
            if length.is_some() {
                return Err(malformed("there are two Content-Length fields"));
            }
            length =
                Some(read_length(field.value).ok_or_else(|| {
                    malformed("Content-Length is not a number of at most 15 digits")
                })?);
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            if chunked || !field.value.eq_ignore_ascii_case(b"chunked") {
                return Err(malformed("Transfer-Encoding is not exactly `chunked`"));
            }
            chunked = true;
        }
    }
    match (length, chunked) {
        (Some(_), true) => {
            Err(malformed("Content-Length and Transfer-Encoding exclude each other"))
        }
        (None, true) if version == Version::Http10 => {
            Err(malformed("HTTP/1.0 has no Transfer-Encoding"))
        }
        (None, true) => Ok(Framing::Chunked),
        (None | Some(0), false) => Ok(Framing::None),
        (Some(length), false) => Ok(Framing::Length(length)),
    }
}

/// A length of one to fifteen digits and nothing else.
pub(crate) fn read_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > 15 {
        return None;
    }
    value.iter().try_fold(0_u64, |sum, byte| {
        byte.is_ascii_digit().then(|| sum * 10 + u64::from(byte - b'0'))
    })
}

/// The comma-separated elements of a list field, trimmed.
pub(crate) fn elements(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|item| !item.is_empty())
}

/// A 400 with what is wrong.
pub(crate) fn malformed(what: &'static str) -> Refusal {
    Refusal::new(Kind::Malformed, what)
}

/// A 405.
pub(crate) fn verb_refused() -> Refusal {
    Refusal::new(Kind::VerbRefused, "Bitrix24 REST is called with GET or POST")
}

/// `tchar` of RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Any visible character and raw UTF-8: what Bitrix24's own users put into a URL.
fn is_target(byte: u8) -> bool {
    byte > b' ' && byte != 0x7f && byte != b'#'
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(bytes: &[u8]) -> Result<Option<usize>, Kind> {
        Scan::default().end_of_head(bytes).map_err(|refusal| refusal.kind)
    }

    fn framing_of(bytes: &[u8]) -> Result<Framing, Kind> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let head = read(bytes, &mut fields).map_err(|refusal| refusal.kind)?;
        framing(head.version, head.fields).map_err(|refusal| refusal.kind)
    }

    #[test]
    fn a_head_is_found_at_the_same_place_in_any_slicing() {
        let wire = b"GET /rest/profile HTTP/1.1\r\nHost: localhost\r\n\r\nGET /next";
        for step in 1..wire.len() {
            let mut scan = Scan::default();
            let found = (step..=wire.len())
                .step_by(step)
                .find_map(|seen| scan.end_of_head(&wire[..seen]).unwrap());
            let found = found.or_else(|| scan.end_of_head(wire).unwrap());
            assert_eq!(found, Some(47), "step {step}");
        }
    }

    #[test]
    fn a_bare_line_feed_is_refused_as_soon_as_it_is_seen() {
        assert_eq!(scan(b"GET / HTTP/1.1\n"), Err(Kind::Malformed));
        assert_eq!(scan(b"GET / HTTP/1.1\r\nHost: a\n\r\n"), Err(Kind::Malformed));
        assert_eq!(scan(b"\r\n\r\nGET / HTTP/1.1\r\n\r\n"), Err(Kind::Malformed));
    }

    #[test]
    fn raw_filter_characters_in_the_target_are_read() {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let head = read(
            b"GET /rest/crm.deal.list?filter[>ID]=0&x=\"<\" HTTP/1.1\r\nHost: a\r\n\r\n",
            &mut fields,
        )
        .unwrap();
        assert_eq!(head.target, b"/rest/crm.deal.list?filter[>ID]=0&x=\"<\"");
        assert_eq!(head.fields.len(), 1);
    }

    #[test]
    fn heads_that_are_not_plainly_one_request_are_refused() {
        for (wire, kind) in [
            (&b"GET  / HTTP/1.1\r\n\r\n"[..], Kind::Malformed),
            (b"GET /a b HTTP/1.1\r\n\r\n", Kind::Malformed),
            (b"GET / HTTP/2.0\r\n\r\n", Kind::Malformed),
            (b"PRI * HTTP/2.0\r\n\r\n", Kind::Malformed),
            (b"GET /\x7f HTTP/1.1\r\n\r\n", Kind::Malformed),
            (b"GET /#a HTTP/1.1\r\n\r\n", Kind::Malformed),
            (b"G(T / HTTP/1.1\r\n\r\n", Kind::Malformed),
            (b"TRACE / HTTP/1.1\r\n\r\n", Kind::VerbRefused),
            (b"CONNECT a:1 HTTP/1.1\r\n\r\n", Kind::VerbRefused),
            (b"get / HTTP/1.1\r\n\r\n", Kind::VerbRefused),
            (b"GET / HTTP/1.1\r\n Host: folded\r\n\r\n", Kind::Malformed),
            (b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", Kind::Malformed),
            (b"GET / HTTP/1.1\r\nHost : a\r\n\r\n", Kind::Malformed),
            (b"GET / HTTP/1.1\r\nA: b\x00c\r\n\r\n", Kind::Malformed),
            (b"GET / HTTP/1.1\r\nA: b\rc\r\n\r\n", Kind::Malformed),
            (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n", Kind::Malformed),
            (b"POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n", Kind::Malformed),
            (b"POST / HTTP/1.1\r\nContent-Length: 1, 1\r\n\r\n", Kind::Malformed),
            (b"POST / HTTP/1.1\r\nContent-Length:\r\n\r\n", Kind::Malformed),
            (b"POST / HTTP/1.1\r\nContent-Length: 9999999999999999\r\n\r\n", Kind::Malformed),
            (
                b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
                Kind::Malformed,
            ),
            (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Kind::Malformed),
            (b"POST / HTTP/1.1\r\nTransfer-Encoding: identity\r\n\r\n", Kind::Malformed),
            (
                b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
                Kind::Malformed,
            ),
            (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", Kind::Malformed),
        ] {
            assert_eq!(framing_of(wire), Err(kind), "{:?}", String::from_utf8_lossy(wire));
        }
    }

    #[test]
    fn a_hundred_and_one_fields_are_too_many() {
        let wire = format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(FIELDS_MAX + 1));
        assert_eq!(framing_of(wire.as_bytes()), Err(Kind::HeadTooLarge));
    }
}
