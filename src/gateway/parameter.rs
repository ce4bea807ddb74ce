//! A client's own `auth` in the body, where the token travels as a parameter.
//!
//! For Bitrix24 a body parameter wins over the query, so with `inject = "parameter"` a client's
//! stale `auth` would replace the gateway's token. It is blanked in place, with spaces in JSON, with
//! `&` in a form, and in multipart by taking the part its name: the length stays, nothing is
//! re-serialised, and PHP reads nothing there. The same holds for a webhook as the credential.
//! (With Bearer the header wins over everything, and bodies are not looked at, unless the portal
//! refuses a token before it is known to read the header.)

use std::ops::Range;

use crate::gateway::body::Body;
use crate::gateway::inbound::{Inbound, Stop};
use crate::gateway::multipart::Multipart;
use crate::gateway::query::is_credential_name;
use crate::gateway::wire::ClientStream;

impl Body {
    /// Blanks what the portal would read as a credential; true if there was any.
    pub(crate) async fn hide_credentials<S: ClientStream>(
        &mut self,
        inbound: &mut Inbound<S>,
        content_type: Option<&[u8]>,
    ) -> Result<bool, Stop> {
        let Some(mut finder) = Finder::of(content_type) else {
            return Ok(false);
        };
        let hidden = match self {
            Self::None => false,
            Self::Inbox(length) => {
                let bytes = inbound.bytes_mut().get_mut(..*length).unwrap_or_default();
                finder.read(bytes);
                let found = finder.finish();
                for found in &found {
                    blank(bytes, found.clone(), 0, finder.filler());
                }
                !found.is_empty()
            }
            Self::Memory { inbox, rest, .. } => {
                let bytes = inbound.bytes_mut().get_mut(..*inbox).unwrap_or_default();
                finder.read(bytes);
                finder.read(rest);
                let found = finder.finish();
                for found in &found {
                    blank(bytes, found.clone(), 0, finder.filler());
                    blank(rest, found.clone(), bytes.len(), finder.filler());
                }
                !found.is_empty()
            }
            Self::Upload(upload) => {
                upload.record_rest(inbound).await?;
                upload.edit(finder).await?
            }
        };
        Ok(hidden)
    }
}

/// Blanks the part of `found` that lies in `bytes`, which start at `offset` of the body.
fn blank(bytes: &mut [u8], found: Range<usize>, offset: usize, filler: u8) {
    let start = found.start.saturating_sub(offset).min(bytes.len());
    let end = found.end.saturating_sub(offset).min(bytes.len());
    if let Some(part) = bytes.get_mut(start..end) {
        part.fill(filler);
    }
}

/// Finds the stretches of a body that the portal would read as a credential, in one pass.
#[derive(Debug)]
pub(crate) struct Finder {
    at: usize,
    found: Vec<Range<usize>>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Form { name: Vec<u8>, start: usize, in_value: bool },
    Json(Json),
    Multipart(Multipart),
}

/// Where in a JSON text: only the members of the outermost object matter.
#[derive(Debug, Default)]
struct Json {
    depth: usize,
    object: bool,
    string: Option<Text>,
    /// The next string at depth one is a key.
    expects_key: bool,
    /// The member being read, if it is a credential.
    credential_at: Option<usize>,
    member_at: Option<usize>,
    comma_at: Option<usize>,
}

#[derive(Debug)]
struct Text {
    escaped: bool,
    key: Option<Vec<u8>>,
}

impl Finder {
    /// For a body of this type; `None` where nobody can tell parameters from content.
    pub(crate) fn of(content_type: Option<&[u8]>) -> Option<Self> {
        let kind = content_type.unwrap_or_default().to_ascii_lowercase();
        let kind =
            if kind.starts_with(b"application/json") || kind.windows(5).any(|w| w == b"+json") {
                Kind::Json(Json::default())
            } else if kind.starts_with(b"multipart/") {
                Kind::Multipart(Multipart::of(content_type.unwrap_or_default())?)
            } else {
                // Anything else PHP reads as a form, or Bitrix24 does where PHP does not.
                Kind::Form { name: Vec::new(), start: 0, in_value: false }
            };
        Some(Self { at: 0, found: Vec::new(), kind })
    }

    /// What a blanked byte becomes.
    pub(crate) fn filler(&self) -> u8 {
        match self.kind {
            Kind::Form { .. } => b'&',
            Kind::Json(_) => b' ',
            Kind::Multipart(_) => b'X',
        }
    }

    /// Reads on.
    pub(crate) fn read(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match &mut self.kind {
                Kind::Form { name, start, in_value } => match byte {
                    b'&' => {
                        if is_credential_name(name) {
                            self.found.push(*start..self.at);
                        }
                        name.clear();
                        *in_value = false;
                        *start = self.at + 1;
                    }
                    b'=' => *in_value = true,
                    _ if !*in_value && name.len() < NAME_MAX => name.push(*byte),
                    _ => {}
                },
                Kind::Multipart(parts) => parts.step(*byte, &mut self.found),
                Kind::Json(json) => {
                    if let Some(found) = json.step(*byte, self.at) {
                        self.found.push(found);
                    }
                }
            }
            self.at += 1;
        }
    }

    /// All that was found.
    pub(crate) fn finish(&mut self) -> Vec<Range<usize>> {
        if let Kind::Form { name, start, .. } = &self.kind
            && is_credential_name(name)
        {
            self.found.push(*start..self.at);
        }
        std::mem::take(&mut self.found)
    }
}

impl Json {
    fn step(&mut self, byte: u8, at: usize) -> Option<Range<usize>> {
        if let Some(text) = &mut self.string {
            if text.step(byte) {
                let key = self.string.take().and_then(|text| text.key);
                if let Some(key) = key {
                    self.expects_key = false;
                    self.credential_at = self.member_at.filter(|_| is_credential_key(&key));
                }
            }
            return None;
        }
        match byte {
            b'"' => {
                let is_key = self.depth == 1 && self.object && self.expects_key;
                if is_key {
                    self.member_at = Some(at);
                }
                self.string = Some(Text { escaped: false, key: is_key.then(Vec::new) });
                None
            }
            b'{' | b'[' => {
                if self.depth == 0 {
                    self.object = byte == b'{';
                    self.expects_key = true;
                }
                self.depth += 1;
                None
            }
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                let start = self.credential_at.filter(|_| self.depth == 0)?;
                self.credential_at = None;
                Some(self.comma_at.unwrap_or(start)..at)
            }
            b',' if self.depth == 1 && self.object => {
                self.expects_key = true;
                let Some(start) = self.credential_at.take() else {
                    self.comma_at = Some(at);
                    return None;
                };
                Some(start..at + 1)
            }
            _ => None,
        }
    }
}

impl Text {
    /// True at the closing quote.
    fn step(&mut self, byte: u8) -> bool {
        if byte == b'"' && !self.escaped {
            return true;
        }
        self.escaped = byte == b'\\' && !self.escaped;
        if let Some(key) = &mut self.key
            && key.len() < NAME_MAX
        {
            key.push(byte);
        }
        false
    }
}

/// JSON keys may be escaped (`\u0061uth`), but PHP does not fold them.
fn is_credential_key(raw: &[u8]) -> bool {
    let quoted = [b"\"", raw, b"\""].concat();
    let Ok(key) = serde_json::from_slice::<String>(&quoted) else {
        return false;
    };
    matches!(key.as_str(), "auth" | "access_token" | "aplogin" | "ap" | "sessid")
}

/// The longest spelling of a credential's name, every letter escaped, is 72 bytes.
const NAME_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    /// The body as the portal gets it, read in two pieces.
    fn blanked(content_type: &str, body: &str, cut: usize) -> String {
        let mut finder = Finder::of(Some(content_type.as_bytes())).unwrap();
        let mut bytes = body.as_bytes().to_vec();
        finder.read(&bytes[..cut]);
        finder.read(&bytes[cut..]);
        for found in finder.finish() {
            blank(&mut bytes, found, 0, finder.filler());
        }
        String::from_utf8(bytes).unwrap()
    }

    fn check(content_type: &str, body: &str, expected: &str) {
        for cut in 0..=body.len() {
            assert_eq!(blanked(content_type, body, cut), expected, "{body} cut at {cut}");
        }
    }

    #[test]
    fn a_forms_own_credential_is_blanked_and_nothing_else() {
        let form = "application/x-www-form-urlencoded";
        check(form, "a=1&auth=x&b=2", "a=1&&&&&&&&b=2");
        check(form, "auth=x", "&&&&&&");
        check(form, "a=1&%61uth=x", "a=1&&&&&&&&&");
        check(form, "a=auth=x&authx=1", "a=auth=x&authx=1");
        check("", "access.token=x&a=1", "&&&&&&&&&&&&&&&a=1");
    }

    #[test]
    fn a_json_objects_own_credential_is_blanked_and_stays_valid() {
        for (body, left) in [
            (r#"{"auth":"x","a":1}"#, r#"{"a":1}"#),
            (r#"{"a":1,"auth":"x"}"#, r#"{"a":1}"#),
            (r#"{"auth":"x"}"#, "{}"),
            (r#"{"a":{"auth":"in"},"auth":["x",{"y":"}"}]}"#, r#"{"a":{"auth":"in"}}"#),
            (r#"{"a":1,"auth":2,"access_token":"\"}"}"#, r#"{"a":1}"#),
            (r#"{"\u0061uth":"x","a":"\\"}"#, r#"{"a":"\\"}"#),
            (r#"["auth",{"auth":1}]"#, r#"["auth",{"auth":1}]"#),
            (r#"{"authx":1,"xauth":2}"#, r#"{"authx":1,"xauth":2}"#),
        ] {
            let blanks = " ".repeat(body.len() - left.len());
            let at = (0..=left.len())
                .find(|at| {
                    let (start, end) = left.split_at(*at);
                    let expected = [start, &blanks, end].concat();
                    blanked("application/json; charset=utf-8", body, 0) == expected
                })
                .unwrap_or_else(|| panic!("{body}: {}", blanked("application/json", body, 0)));
            let (start, end) = left.split_at(at);
            let expected = [start, &blanks, end].concat();
            check("application/json; charset=utf-8", body, &expected);
        }
    }

    #[test]
    fn a_multipart_forms_own_credential_loses_its_name() {
        let body = "--x\r\nContent-Disposition: form-data; name=\"auth\"\r\n\r\n1\r\n--x--\r\n";
        let line = "Content-Disposition: form-data; name=\"auth\"";
        let nameless = body.replace(line, &"X".repeat(line.len()));
        check("multipart/form-data; boundary=x", body, &nameless);
    }

    #[test]
    fn a_multipart_body_without_a_boundary_is_left_alone() {
        assert!(Finder::of(Some(b"multipart/form-data")).is_none());
    }
}
