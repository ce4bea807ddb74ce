//! The layout of a slot: a label that anybody can read, and the sealed answer, which opens under
//! that very label only.
//!
//! Magic and layout version (8 bytes), the store's identity (16), chain, generation, time (8 each),
//! the length of the sealed part (4), the length of the portal's name (2), the name, the sealed
//! part. Integers are little endian. What follows is what an earlier, longer answer left behind.

use crate::credential::{ChainId, Generation, RawAnswer};
use crate::store::sealed::{CannotSeal, OVERHEAD, Sealer};

/// Bytes of a slot when it is made: a usual answer is under 1 KiB, and what fits allocates nothing.
pub(super) const SIZE: usize = 16 * 1024;

/// Longest file read, bytes: an answer has at most 64 KiB.
pub(super) const READ_MAX: u64 = 256 * 1024;

/// The first byte is not one by which the places of tokens begin, so that no label is such a place.
const MAGIC: &[u8; 8] = b"b24slot\x01";

/// Which store wrote it. A database that was made anew has another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::store) struct Identity(pub(in crate::store) [u8; 16]);

/// What anybody can read of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Label {
    pub(super) identity: Identity,
    pub(super) portal: String,
    pub(super) chain: ChainId,
    pub(super) generation: Generation,
    pub(super) at: u64,
}

/// Whether it begins like a slot with an answer; one that was only prepared holds zeros.
pub(super) fn is_written(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

pub(super) fn encode(
    sealer: &Sealer,
    label: &Label,
    answer: &RawAnswer,
) -> Result<Vec<u8>, CannotSeal> {
    let plain = answer.to_bytes();
    let sealed = u32::try_from(plain.len() + OVERHEAD).map_err(|_too_long| CannotSeal)?;
    let name = u16::try_from(label.portal.len()).map_err(|_too_long| CannotSeal)?;
    let mut bytes = Vec::with_capacity(SIZE.max(plain.len() + 512));
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&label.identity.0);
    bytes.extend_from_slice(&label.chain.0.to_le_bytes());
    bytes.extend_from_slice(&label.generation.0.to_le_bytes());
    bytes.extend_from_slice(&label.at.to_le_bytes());
    bytes.extend_from_slice(&sealed.to_le_bytes());
    bytes.extend_from_slice(&name.to_le_bytes());
    bytes.extend_from_slice(label.portal.as_bytes());
    let sealed = sealer.seal_bytes(&bytes, &plain)?;
    bytes.extend_from_slice(&sealed);
    Ok(bytes)
}

/// The label, as it claims to be: only opening proves it.
pub(super) fn label(bytes: &[u8]) -> Option<Label> {
    parts(bytes).map(|(label, ..)| label)
}

/// The label and the answer, when all of it is as it was written, with this key.
pub(super) fn decode(sealer: &Sealer, bytes: &[u8]) -> Option<(Label, RawAnswer)> {
    let (label, head, sealed) = parts(bytes)?;
    let plain = sealer.open_bytes(head, sealed).ok()?;
    Some((label, RawAnswer::from_bytes(&plain)?))
}

fn parts(bytes: &[u8]) -> Option<(Label, &[u8], &[u8])> {
    let rest = bytes.strip_prefix(MAGIC)?;
    let (identity, rest) = rest.split_first_chunk()?;
    let (chain, rest) = rest.split_first_chunk()?;
    let (generation, rest) = rest.split_first_chunk()?;
    let (at, rest) = rest.split_first_chunk()?;
    let (sealed, rest) = rest.split_first_chunk()?;
    let (name, rest) = rest.split_first_chunk()?;
    let (portal, rest) = rest.split_at_checked(u16::from_le_bytes(*name).into())?;
    let head = bytes.get(..bytes.len() - rest.len())?;
    let sealed = rest.get(..usize::try_from(u32::from_le_bytes(*sealed)).ok()?)?;
    let label = Label {
        identity: Identity(*identity),
        portal: str::from_utf8(portal).ok()?.to_owned(),
        chain: ChainId(i64::from_le_bytes(*chain)),
        generation: Generation(u64::from_le_bytes(*generation)),
        at: u64::from_le_bytes(*at),
    };
    Some((label, head, sealed))
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;
    use crate::store::key::Key;

    #[test]
    fn a_slot_opens_whole_with_its_key_and_not_when_any_byte_of_it_was_altered() {
        let sealer = Sealer::new(&Key([1; 32]));
        let label_ = Label {
            identity: Identity([7; 16]),
            portal: "acme".to_owned(),
            chain: ChainId(3),
            generation: Generation(9),
            at: 1_700_000_000,
        };
        let answer = RawAnswer {
            status: 200,
            retry_after: None,
            at: 1_700_000_000,
            complete: true,
            body: Zeroizing::new(b"R-canary".to_vec()),
        };
        let bytes = encode(&sealer, &label_, &answer).unwrap();
        assert!(!bytes.windows(6).any(|window| window == b"canary"));
        let mut longer = bytes.clone();
        longer.extend_from_slice(b"what an earlier answer left");
        let (found, opened) = decode(&sealer, &longer).unwrap();
        assert_eq!(found, label_);
        assert_eq!(label(&bytes), Some(label_));
        assert_eq!(opened.to_bytes(), answer.to_bytes());
        assert!(decode(&Sealer::new(&Key([2; 32])), &bytes).is_none());
        for index in 0..bytes.len() {
            let mut altered = bytes.clone();
            altered[index] ^= 1;
            assert!(decode(&sealer, &altered).is_none(), "{index}");
            assert!(decode(&sealer, &bytes[..index]).is_none(), "{index}");
        }
        assert!(decode(&sealer, &[0; SIZE]).is_none());
    }
}
