//! A form, pair by pair.

use crate::gateway::parameter::{Found, NAME_MAX, Raw};
use crate::gateway::query::{Meaning, meaning};

/// Where in a form.
#[derive(Debug, Default)]
pub(crate) struct Form {
    name: Vec<u8>,
    /// Where the pair starts.
    start: usize,
    /// What the name means, once it is complete.
    meaning: Option<Meaning>,
    raw: Raw,
}

impl Form {
    /// Reads a byte; a credential when this byte ends it.
    pub(crate) fn step(&mut self, byte: u8, at: usize) -> Option<Found> {
        match (byte, self.meaning) {
            (b'&', _) => {
                let found = self.finish(at);
                self.start = at + 1;
                return found;
            }
            (b'=', None) => self.meaning = Some(meaning(&self.name)),
            (_, None) if self.name.len() < NAME_MAX => {
                self.name.push(byte);
                // PHP does not see blanks in front of a name, however many there are.
                if matches!(&*self.name, b"+" | b" " | b"%20") {
                    self.name.clear();
                }
            }
            (_, Some(meaning)) if meaning.is_credential() => self.raw.push(byte),
            _ => {}
        }
        None
    }

    /// Ends the pair.
    pub(crate) fn finish(&mut self, at: usize) -> Option<Found> {
        let meaning = self.meaning.take().unwrap_or_else(|| meaning(&self.name));
        self.name.clear();
        if !meaning.is_credential() {
            return None;
        }
        let value = self.raw.take(|raw| Some(decoded(raw)));
        Some(Found::new(std::iter::once(self.start..at).collect(), meaning, value))
    }
}

/// A name or value as PHP reads it: `+` is a blank, `%41` is `A`, and what is neither stays.
pub(crate) fn decoded(raw: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(raw.len());
    let mut rest = raw;
    while let Some((byte, after)) = rest.split_first() {
        rest = after;
        match (byte, after) {
            (b'+', _) => text.push(b' '),
            (b'%', [high, low, behind @ ..])
                if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() =>
            {
                text.push(hex(*high) << 4 | hex(*low));
                rest = behind;
            }
            _ => text.push(*byte),
        }
    }
    text
}

fn hex(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20).wrapping_sub(b'a') + 10,
    }
}
