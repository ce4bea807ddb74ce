//! Fields of a multipart body that the portal would read as a credential, found in one pass.
//!
//! A field is hidden by overwriting its `Content-Disposition`: without one, PHP (`rfc1867.c`) skips
//! the part, and no byte moves. What it says is overwritten, too, because it may be a client's key.

use std::ops::Range;

use crate::gateway::parameter::{Found, Raw};
use crate::gateway::query::{Meaning, meaning};

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
    /// The credential whose content is being read.
    credential: Option<Credential>,
}

#[derive(Debug)]
struct Credential {
    meaning: Meaning,
    /// Its disposition.
    places: Vec<Range<usize>>,
    content: Range<usize>,
    /// The end of a line, of which only the next line says whether it belongs to the content.
    newline: &'static [u8],
    raw: Raw,
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
            credential: None,
        })
    }

    /// Reads a byte; a credential when this byte ends it.
    pub(crate) fn step(&mut self, byte: u8) -> Option<Found> {
        self.at += 1;
        let previous = std::mem::replace(&mut self.previous, byte);
        if byte != b'\n' {
            if self.line.len() < LINE_MAX {
                self.line.push(byte);
            }
            return None;
        }
        let mut line = std::mem::take(&mut self.line);
        let start = std::mem::replace(&mut self.line_at, self.at);
        let newline: &[u8] = if previous == b'\r' { b"\r\n" } else { b"\n" };
        let text = line.strip_suffix(b"\r").unwrap_or(&line);
        let found = self.end_of_line(text, start..self.at - newline.len(), newline);
        line.clear();
        self.line = line;
        found
    }

    /// A credential that the end of the body ends.
    pub(crate) fn finish(&mut self) -> Option<Found> {
        let (line, place) = (std::mem::take(&mut self.line), self.line_at..self.at);
        let ended = self.end_of_line(&line, place, b"");
        ended.or_else(|| self.credential.take().map(Credential::found))
    }

    fn end_of_line(
        &mut self,
        line: &[u8],
        place: Range<usize>,
        newline: &'static [u8],
    ) -> Option<Found> {
        if line.starts_with(&self.delimiter) {
            self.in_head = true;
            self.goes_on = false;
            self.disposition.clear();
            self.places.clear();
            return self.credential.take().map(Credential::found);
        }
        if !self.in_head {
            if let Some(credential) = &mut self.credential {
                credential.read(line, &place, newline);
            }
            return None;
        }
        if line.is_empty() {
            self.in_head = false;
            let content = place.end + newline.len()..place.end + newline.len();
            let places = std::mem::take(&mut self.places);
            let raw = Raw::default();
            self.credential = names_credential(&self.disposition).map(|meaning| Credential {
                meaning,
                places,
                content,
                newline: b"",
                raw,
            });
            return None;
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
        None
    }
}

impl Credential {
    /// Reads a line of the content.
    fn read(&mut self, line: &[u8], place: &Range<usize>, newline: &'static [u8]) {
        let before = std::mem::replace(&mut self.newline, newline);
        before.iter().chain(line).for_each(|byte| self.raw.push(*byte));
        self.content.end = place.end;
    }

    fn found(mut self) -> Found {
        let value = self.raw.take(|raw| Some(raw.to_vec()));
        if !self.content.is_empty() {
            self.places.push(self.content);
        }
        Found::new(self.places, self.meaning, value)
    }
}

/// What any `name=` of a `Content-Disposition` means, if it is a credential's; readers differ in
/// which counts.
fn names_credential(text: &[u8]) -> Option<Meaning> {
    // What is too long to be looked at is no field of an honest client.
    if text.len() >= LINE_MAX {
        return Some(Meaning::Credential);
    }
    let lower = text.to_ascii_lowercase();
    memchr::memmem::find_iter(&lower, b"name").find_map(|at| {
        let before = at.checked_sub(1).and_then(|before| lower.get(before));
        let is_own_word = before.is_none_or(|byte| !byte.is_ascii_alphanumeric());
        let after = text.get(at + b"name".len()..).unwrap_or_default().trim_ascii_start();
        let value = after.strip_prefix(b"=").filter(|_| is_own_word)?;
        Some(meaning(&word(value.trim_ascii_start()))).filter(|meaning| meaning.is_credential())
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
            found.extend(reader.step(byte));
        }
        found.extend(reader.finish());
        for place in found.into_iter().flat_map(|found| found.ranges) {
            bytes[place].fill(b'X');
        }
        String::from_utf8(bytes).unwrap()
    }

    fn part(head: &str) -> String {
        format!("--B 1\r\n{head}\r\n\r\nvalue\r\n--B 1--\r\n")
    }

    /// The same part without its disposition and content.
    fn gone(head: &str) -> String {
        part(head).replace("\r\n\r\nvalue\r\n", "\r\n\r\nXXXXX\r\n")
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
            assert_eq!(hidden(TYPE, &part(line)), gone(&blank(line)), "{line}");
            let more = |line| format!("Content-Type: text/plain\r\n{line}\r\nA: b");
            let found = hidden(TYPE, &part(&more(line)));
            assert_eq!(found, gone(&more(&blank(line))), "{line}");
        }
    }

    #[test]
    fn a_field_in_several_lines_is_hidden_with_all_of_them() {
        let (first, second) = ("Content-Disposition: form-data; name=\"a\"", " ; name=\"sessid\"");
        let expected = gone(&format!("{}\r\n{}", blank(first), blank(second)));
        assert_eq!(hidden(TYPE, &part(&format!("{first}\r\n{second}"))), expected);
        let another = "Content-Disposition: x; name=\"auth\"";
        for (one, other) in [(first, another), (another, first)] {
            let expected = gone(&format!("{}\r\n{}", blank(one), blank(other)));
            assert_eq!(hidden(TYPE, &part(&format!("{one}\r\n{other}"))), expected);
        }
        let long = format!("{first};{}", "x".repeat(2 * LINE_MAX));
        assert_eq!(hidden(TYPE, &part(&long)), gone(&blank(&long)));
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
        assert_eq!(hidden(content_type, &body(line)), body(&blank(line)).replace("\n1\r", "\nX\r"));
    }

    #[test]
    fn a_body_without_a_boundary_is_read_by_nobody() {
        for content_type in [&b"multipart/form-data"[..], b"multipart/form-data; boundary=\"\""] {
            assert!(Multipart::of(content_type).is_none());
        }
    }
}
