//! Keys of clients: made here, shown once, known afterwards by their digest only.

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq;

use crate::secret::Secret;

/// A key as its client holds it: 16 characters `[a-z0-9]`, which fits wherever the secret of an
/// incoming webhook fits.
#[derive(Debug)]
pub struct Key(Secret);

/// SHA-256 of a key. A key has 82 bits from a secure source, so that nothing slower is needed.
#[derive(Clone, Copy, Debug, Eq)]
pub struct Digest([u8; 32]);

impl Key {
    /// A new one, from the operating system's source.
    ///
    /// # Errors
    /// When that source does not answer.
    pub fn draw() -> std::io::Result<Self> {
        let mut key = String::with_capacity(LENGTH);
        while key.len() < LENGTH {
            let mut bytes = [0; 32];
            getrandom::fill(&mut bytes)
                .map_err(|error| std::io::Error::other(error.to_string()))?;
            // Bytes beyond the last whole multiple of 36 would make some letters likelier.
            let even = bytes.iter().filter(|byte| usize::from(**byte) < 256 / 36 * 36);
            let letters = even.filter_map(|byte| LETTERS.get(usize::from(*byte) % LETTERS.len()));
            key.extend(letters.take(LENGTH - key.len()).map(|letter| char::from(*letter)));
        }
        Ok(Self(Secret::new(key)))
    }

    /// What the client is told, once.
    pub fn secret(&self) -> &Secret {
        &self.0
    }

    /// What is kept of it.
    pub fn digest(&self) -> Digest {
        Digest::over(self.0.expose().as_bytes())
    }
}

impl Digest {
    /// Of what a request shows as a key; `None` where it cannot be one by its shape.
    pub fn of(shown: &[u8]) -> Option<Self> {
        let shape = shown.len() == LENGTH && shown.iter().all(|byte| LETTERS.contains(byte));
        shape.then(|| Self::over(shown))
    }

    /// As kept in the store.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// As kept in the store.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn over(key: &[u8]) -> Self {
        Self(Sha256::digest(key).into())
    }
}

impl PartialEq for Digest {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl std::hash::Hash for Digest {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
const LENGTH: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_sixteen_letters_and_digits_and_no_two_are_the_same() {
        let keys: Vec<_> = (0..64).map(|_| Key::draw().unwrap()).collect();
        for key in &keys {
            let text = key.secret().expose();
            assert_eq!(text.len(), 16);
            assert!(text.bytes().all(|byte| LETTERS.contains(&byte)));
            assert_eq!(Digest::of(text.as_bytes()), Some(key.digest()));
        }
        let distinct: std::collections::HashSet<_> = keys.iter().map(Key::digest).collect();
        assert_eq!(distinct.len(), keys.len());
    }

    #[test]
    fn what_cannot_be_a_key_has_no_digest() {
        for shown in ["", "abc", "ABCDEFGHIJKLMNOP", "abcdefghijklmno_", "abcdefghijklmnopq"] {
            assert_eq!(Digest::of(shown.as_bytes()), None, "{shown}");
        }
    }
}
