//! Fields of a multipart body that the portal would read as a credential, found in one pass.
//!
//! A field is hidden by overwriting its `Content-Disposition`: without one, PHP (`rfc1867.c`) skips
//! the part, and no byte moves.

use std::ops::Range;

use crate::gateway::query::is_credential_name;

/// Where in a body, line by line.
#[derive(Debug)]
pub(crate) struct Multipart {
    /// `--` and what the content type says.
    delimiter: Vec<u8>,
    /// The start of the current line, as far as it is needed.
    line: Vec<u8>,
    line_at: usize,
    previous: u8,
    at: usize,
    in_head: bool,
    /// Whether the last field of the part's head is a `Content-Disposition`.
    goes_on: bool,
    /// The lines of the part's `Content-Disposition`, and where they stand.
    disposition: Vec<u8>,
    places: Vec<Range<usize>>,
}

impl Multipart {
    /// For a body of this type; `None` where it names no boundary, so that nobody can read it.
    pub(crate) fn of(content_type: &[u8]) -> Option<Self> {
        let lower = content_type.to_ascii_lowercase();
        let at = memchr::memmem::find(&lower, b"boundary")? + b"boundary".len();
        let rest = content_type.get(at..)?.trim_ascii_start().strip_prefix(b"=")?;
        let rest = rest.trim_ascii_start();
        let boundary = match rest.strip_prefix(b"\"") {
            Some(quoted) => quoted.split(|byte| *byte == b'"').next(),
            None => rest.split(|byte| b";,".contains(byte)).next().map(<[u8]>::trim_ascii_end),
        };
        let boundary = boundary.filter(|boundary| !boundary.is_empty())?;
        Some(Self {
            delimiter: [b"--", boundary].concat(),
            line: Vec::new(),
            line_at: 0,
            previous: 0,
            at: 0,
            in_head: false,
            goes_on: false,
            disposition: Vec::new(),
            places: Vec::new(),
        })
    }

    /// Reads a byte; `found` gets what is to be overwritten, if this byte has settled it.
    pub(crate) fn step(&mut self, byte: u8, found: &mut Vec<Range<usize>>) {
        self.at += 1;
        let previous = std::mem::replace(&mut self.previous, byte);
        if byte != b'\n' {
            if self.line.len() < LINE_MAX {
                self.line.push(byte);
            }
            return;
        }
        let mut line = std::mem::take(&mut self.line);
        let start = std::mem::replace(&mut self.line_at, self.at);
        let text = line.strip_suffix(b"\r").unwrap_or(&line);
        let end = self.at - 1 - usize::from(previous == b'\r');
        if self.end_of_line(text, start..end) {
            found.append(&mut self.places);
        }
        line.clear();
        self.line = line;
    }

    /// True when the part is a credential.
    fn end_of_line(&mut self, line: &[u8], place: Range<usize>) -> bool {
        if line.starts_with(&self.delimiter) {
            self.in_head = true;
            self.goes_on = false;
            self.disposition.clear();
            self.places.clear();
            return false;
        }
        if !self.in_head {
            return false;
        }
        if line.is_empty() {
            self.in_head = false;
            return names_credential(&self.disposition);
        }
        if !line.first().is_some_and(u8::is_ascii_whitespace) {
            let name = line.split(|byte| *byte == b':').next().unwrap_or_default();
            self.goes_on = name.eq_ignore_ascii_case(b"Content-Disposition");
        }
        if self.goes_on {
            // There may be several, and readers differ in which counts.
            if self.disposition.len() < LINE_MAX {
                self.disposition.extend_from_slice(line);
                self.disposition.push(b';');
            }
            self.places.push(place);
        }
        false
    }
}

/// Whether any `name=` of a `Content-Disposition` is a credential's; readers differ in which counts.
fn names_credential(text: &[u8]) -> bool {
    let lower = text.to_ascii_lowercase();
    // What is too long to be looked at is no field of an honest client.
    text.len() >= LINE_MAX
        || memchr::memmem::find_iter(&lower, b"name").any(|at| {
            let before = at.checked_sub(1).and_then(|before| lower.get(before));
            let is_own_word = before.is_none_or(|byte| !byte.is_ascii_alphanumeric());
            let after = text.get(at + b"name".len()..).unwrap_or_default().trim_ascii_start();
            is_own_word
                && after
                    .strip_prefix(b"=")
                    .is_some_and(|value| is_credential_name(&word(value.trim_ascii_start())))
        })
}

/// A value in quotes of either kind, or up to the next separator.
fn word(value: &[u8]) -> Vec<u8> {
    let quote = value.first().copied().filter(|byte| b"\"'".contains(byte));
    let mut bytes = value.iter().skip(usize::from(quote.is_some()));
    let mut word = Vec::new();
    while let Some(byte) = bytes.next() {
        match (byte, quote) {
            (b'\\', Some(_)) => word.extend(bytes.next()),
            (byte, Some(quote)) if *byte == quote => break,
            (byte, None) if *byte == b';' || byte.is_ascii_whitespace() => break,
            _ => word.push(*byte),
        }
    }
    word
}

/// Far more than the head of any part; in a part's content only the start of a line matters.
const LINE_MAX: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &[u8] = b"multipart/form-data; boundary=\"B 1\"";

    /// The body with what is found overwritten.
    fn hidden(content_type: &[u8], body: &str) -> String {
        let mut reader = Multipart::of(content_type).unwrap();
        let (mut found, mut bytes) = (Vec::new(), body.as_bytes().to_vec());
        for byte in body.bytes() {
            reader.step(byte, &mut found);
        }
        for place in found {
            bytes[place].fill(b'X');
        }
        String::from_utf8(bytes).unwrap()
    }

    fn part(head: &str) -> String {
        format!("--B 1\r\n{head}\r\n\r\nvalue\r\n--B 1--\r\n")
    }

    fn blank(text: &str) -> String {
        "X".repeat(text.len())
    }

    #[test]
    fn fields_that_are_read_as_a_credential_are_hidden_however_they_are_spelt() {
        for line in [
            "Content-Disposition: form-data; name=\"auth\"",
            "content-disposition:form-data;name=auth",
            "CONTENT-DISPOSITION: form-data; x=y; NAME = 'access.token'",
            "Content-Disposition: form-data; name=\"a\"; name=\"auth[]\"",
            "Content-Disposition: form-data; name=\"au\\th\"",
            "Content-Disposition: form-data; name=\" ap\"",
        ] {
            assert_eq!(hidden(TYPE, &part(line)), part(&blank(line)), "{line}");
            let more = |line| part(&format!("Content-Type: text/plain\r\n{line}\r\nA: b"));
            assert_eq!(hidden(TYPE, &more(line)), more(&blank(line)), "{line}");
        }
    }

    #[test]
    fn a_field_in_several_lines_is_hidden_with_all_of_them() {
        let (first, second) = ("Content-Disposition: form-data; name=\"a\"", " ; name=\"sessid\"");
        let expected = part(&format!("{}\r\n{}", blank(first), blank(second)));
        assert_eq!(hidden(TYPE, &part(&format!("{first}\r\n{second}"))), expected);
        let another = "Content-Disposition: x; name=\"auth\"";
        for (one, other) in [(first, another), (another, first)] {
            let expected = part(&format!("{}\r\n{}", blank(one), blank(other)));
            assert_eq!(hidden(TYPE, &part(&format!("{one}\r\n{other}"))), expected);
        }
        let long = format!("{first};{}", "x".repeat(2 * LINE_MAX));
        assert_eq!(hidden(TYPE, &part(&long)), part(&blank(&long)));
    }

    #[test]
    fn other_fields_and_contents_stay() {
        for head in [
            "Content-Disposition: form-data; name=\"author\"",
            "Content-Disposition: form-data; name=\"a\"; filename=\"auth\"",
            "Content-Disposition: form-data; name=\"fields[auth]\"",
            "X: form-data; name=\"auth\"",
            "X: y\r\n\r\nContent-Disposition: form-data; name=\"auth\"",
        ] {
            assert_eq!(hidden(TYPE, &part(head)), part(head), "{head}");
        }
    }

    #[test]
    fn every_part_is_looked_at() {
        let (own, line) =
            ("Content-Disposition: x; name=x", "Content-Disposition: x; name=aplogin");
        let body =
            |second: &str| format!("--b\r\n{own}\r\n\r\n--c\r\n--b\r\n{second}\r\n\r\n1\r\n--b--");
        let content_type = b"multipart/form-data; boundary=b";
        assert_eq!(hidden(content_type, &body(line)), body(&blank(line)));
    }

    #[test]
    fn a_body_without_a_boundary_is_read_by_nobody() {
        for content_type in [&b"multipart/form-data"[..], b"multipart/form-data; boundary=\"\""] {
            assert!(Multipart::of(content_type).is_none());
        }
    }
}
