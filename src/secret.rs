//! A string nobody may print: the only type in which tokens, client secrets and codes travel.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// A secret text, wiped from memory when dropped.
///
/// It has no `Display`, no `Serialize` and no `==` on purpose: a log line, an answer or a
/// comparison that leaks timing does not compile. [`Secret::expose`] is the one way out, and its
/// call sites are few enough to be read one by one.
#[derive(Clone)]
pub struct Secret(Box<str>);

impl Secret {
    /// Takes a text into custody.
    pub fn new(text: impl Into<Box<str>>) -> Self {
        Self(text.into())
    }

    /// The text itself, for the wire and the sealed store only.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Compares in constant time (for texts of equal length).
    pub fn matches(&self, other: &str) -> bool {
        self.0.as_bytes().ct_eq(other.as_bytes()).into()
    }

    /// Whether there is any text at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_of_a_secret_is_three_stars() {
        assert_eq!(format!("{:?}", Secret::new("R-canary")), "***");
    }

    #[test]
    fn a_secret_matches_only_the_very_same_text() {
        let secret = Secret::new("abc");
        assert!(secret.matches("abc"));
        assert!(!secret.matches("abd"));
        assert!(!secret.matches("abcd"));
    }
}
