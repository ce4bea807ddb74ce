//! Sealing: what the database file shows of a token is ciphertext that opens in one place only.
//!
//! XChaCha20-Poly1305 with a random nonce. The place (portal, chain, generation, field) is
//! authenticated with it, so that a record copied over another one, or an old one put back under a
//! newer generation, does not open.

use std::fmt;

use chacha20poly1305::aead::{Aead as _, KeyInit as _, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use zeroize::Zeroizing;

use crate::credential::{Generation, Secret};
use crate::store::key::Key;

/// The layout of a sealed text: this byte, the nonce, the ciphertext with its tag.
const VERSION: u8 = 1;

/// Bytes of a nonce; random ones of this length do not repeat.
const NONCE: usize = 24;

/// Seals and opens with one key.
pub(super) struct Sealer(XChaCha20Poly1305);

/// Where a sealed text belongs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    pub(super) portal: &'a str,
    pub(super) chain: i64,
    pub(super) generation: Generation,
    pub(super) field: Field,
}

/// Which text of a chain it is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Field {
    Access = 1,
    /// Keeps its place when it becomes the previous one: it belongs to the generation it was
    /// issued with.
    Refresh = 2,
    /// Not a credential: a fixed text by which the right key is known.
    Proof = 3,
    /// Of a portal, not of one of its chains.
    ApplicationToken = 4,
}

/// The text does not belong where it was found, or the key is another.
#[derive(Debug)]
pub(super) struct DoesNotOpen;

/// There were no random numbers, or the text is longer than any token.
#[derive(Debug, thiserror::Error)]
#[error("the token cannot be sealed")]
pub(super) struct CannotSeal;

impl Sealer {
    pub(super) fn new(key: &Key) -> Self {
        Self(XChaCha20Poly1305::new(&key.0.into()))
    }

    pub(super) fn seal(&self, place: Place<'_>, secret: &Secret) -> Result<Vec<u8>, CannotSeal> {
        self.seal_bytes(&place.bytes(), secret.expose().as_bytes())
    }

    pub(super) fn open(&self, place: Place<'_>, sealed: &[u8]) -> Result<Secret, DoesNotOpen> {
        let bytes = self.open_bytes(&place.bytes(), sealed)?;
        std::str::from_utf8(&bytes).map(Secret::new).map_err(|_not_text| DoesNotOpen)
    }

    /// Seals what is not a token, together with a label of the caller's. A label must not begin
    /// with [`VERSION`], by which the places of tokens begin.
    pub(super) fn seal_bytes(&self, label: &[u8], bytes: &[u8]) -> Result<Vec<u8>, CannotSeal> {
        let mut nonce = [0; NONCE];
        getrandom::fill(&mut nonce).map_err(|_no_detail| CannotSeal)?;
        let payload = Payload { msg: bytes, aad: label };
        let text =
            self.0.encrypt(&XNonce::from(nonce), payload).map_err(|_no_detail| CannotSeal)?;
        let mut sealed = Vec::with_capacity(1 + NONCE + text.len());
        sealed.push(VERSION);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&text);
        Ok(sealed)
    }

    /// Opens what [`Sealer::seal_bytes`] made.
    pub(super) fn open_bytes(
        &self,
        label: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, DoesNotOpen> {
        let Some((&VERSION, rest)) = sealed.split_first() else {
            return Err(DoesNotOpen);
        };
        let (nonce, text) = rest.split_first_chunk::<NONCE>().ok_or(DoesNotOpen)?;
        self.0
            .decrypt(&XNonce::from(*nonce), Payload { msg: text, aad: label })
            .map(Zeroizing::new)
            .map_err(|_no_detail| DoesNotOpen)
    }
}

/// How much longer the sealed text is than the plain one.
pub(super) const OVERHEAD: usize = 1 + NONCE + 16;

impl Place<'_> {
    /// Unambiguous: fixed lengths first, the name last.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(18 + self.portal.len());
        bytes.push(VERSION);
        bytes.push(self.field as u8);
        bytes.extend_from_slice(&self.chain.to_le_bytes());
        bytes.extend_from_slice(&self.generation.0.to_le_bytes());
        bytes.extend_from_slice(self.portal.as_bytes());
        bytes
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealer(***)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place<'_> =
        Place { portal: "acme", chain: 7, generation: Generation(3), field: Field::Refresh };

    #[test]
    fn a_sealed_text_opens_in_its_place_and_shows_nothing_of_itself() {
        let sealer = Sealer::new(&Key([1; 32]));
        let secret = Secret::new("R-canary");
        let sealed = sealer.seal(PLACE, &secret).unwrap();
        assert!(sealer.open(PLACE, &sealed).unwrap().matches("R-canary"));
        assert!(!sealed.windows(6).any(|window| window == b"canary"));
        assert_ne!(sealed, sealer.seal(PLACE, &secret).unwrap());
    }

    #[test]
    fn a_sealed_text_opens_nowhere_else_and_with_no_other_key() {
        let sealer = Sealer::new(&Key([1; 32]));
        let sealed = sealer.seal(PLACE, &Secret::new("R1")).unwrap();
        for elsewhere in [
            Place { portal: "acm", ..PLACE },
            Place { chain: 8, ..PLACE },
            Place { generation: Generation(2), ..PLACE },
            Place { field: Field::Access, ..PLACE },
        ] {
            assert!(sealer.open(elsewhere, &sealed).is_err(), "{elsewhere:?}");
        }
        assert!(Sealer::new(&Key([2; 32])).open(PLACE, &sealed).is_err());
    }

    #[test]
    fn any_altered_or_missing_byte_keeps_it_shut() {
        let sealer = Sealer::new(&Key([1; 32]));
        let sealed = sealer.seal(PLACE, &Secret::new("R1")).unwrap();
        for index in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[index] ^= 1;
            assert!(sealer.open(PLACE, &altered).is_err(), "{index}");
            assert!(sealer.open(PLACE, &sealed[..index]).is_err(), "{index}");
        }
    }
}
