//! A JSON text, of which only the members of the outermost object matter.

use crate::gateway::parameter::{Found, NAME_MAX, Raw};
use crate::gateway::query::Meaning;

/// Where in a JSON text.
#[derive(Debug, Default)]
pub(crate) struct Json {
    depth: usize,
    object: bool,
    string: Option<Text>,
    /// The next string at depth one is a key.
    expects_key: bool,
    /// The member being read, if it is a credential.
    credential: Option<(usize, Meaning)>,
    in_value: bool,
    raw: Raw,
    member_at: Option<usize>,
    comma_at: Option<usize>,
}

#[derive(Debug)]
struct Text {
    escaped: bool,
    key: Option<Vec<u8>>,
}

impl Json {
    /// Reads a byte; a credential when this byte ends it.
    pub(crate) fn step(&mut self, byte: u8, at: usize) -> Option<Found> {
        let is_value = self.in_value && self.credential.is_some();
        if let Some(text) = &mut self.string {
            if text.step(byte) {
                self.end_of_string();
            }
            if is_value {
                self.raw.push(byte);
            }
            return None;
        }
        match byte {
            b'"' => self.start_of_string(at),
            b':' if self.depth == 1 && self.object => self.in_value = true,
            b'{' | b'[' => {
                if self.depth == 0 {
                    self.object = byte == b'{';
                    self.expects_key = true;
                }
                self.depth += 1;
            }
            b'}' | b']' => {
                self.depth = self.depth.saturating_sub(1);
                if self.depth == 0 {
                    self.in_value = false;
                    let (start, meaning) = self.credential.take()?;
                    return Some(self.found(self.comma_at.unwrap_or(start), at, meaning));
                }
            }
            b',' if self.depth == 1 && self.object => {
                self.expects_key = true;
                self.in_value = false;
                let Some((start, meaning)) = self.credential.take() else {
                    self.comma_at = Some(at);
                    return None;
                };
                return Some(self.found(start, at + 1, meaning));
            }
            _ => {}
        }
        if is_value {
            self.raw.push(byte);
        }
        None
    }

    /// What a text that is cut off leaves: the portal does not read it, but it would get it.
    pub(crate) fn finish(&mut self, at: usize) -> Option<Found> {
        let (start, meaning) = self.credential.take()?;
        Some(self.found(start, at, meaning))
    }

    fn start_of_string(&mut self, at: usize) {
        let is_key = self.depth == 1 && self.object && self.expects_key;
        if is_key {
            self.member_at = Some(at);
        }
        self.string = Some(Text { escaped: false, key: is_key.then(Vec::new) });
    }

    fn end_of_string(&mut self) {
        if let Some(key) = self.string.take().and_then(|text| text.key) {
            self.expects_key = false;
            self.credential = self.member_at.and_then(|at| Some((at, credential(&key)?)));
        }
    }

    fn found(&mut self, start: usize, end: usize, meaning: Meaning) -> Found {
        Found::new(std::iter::once(start..end).collect(), meaning, self.raw.take(text))
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

/// What a member's value says; nothing for `null`, as if the member were not there.
fn text(raw: &[u8]) -> Option<Vec<u8>> {
    match serde_json::from_slice(raw).ok()? {
        serde_json::Value::String(text) => Some(text.into_bytes()),
        serde_json::Value::Null => Some(Vec::new()),
        serde_json::Value::Number(number) => Some(number.to_string().into_bytes()),
        _ => None,
    }
}

/// JSON keys may be escaped (`\u0061uth`), but PHP does not fold them.
fn credential(raw: &[u8]) -> Option<Meaning> {
    let quoted = [b"\"", raw, b"\""].concat();
    match serde_json::from_slice::<String>(&quoted).ok()?.as_str() {
        "auth" => Some(Meaning::Auth),
        "access_token" => Some(Meaning::AccessToken),
        "aplogin" | "ap" | "sessid" => Some(Meaning::Credential),
        _ => None,
    }
}
