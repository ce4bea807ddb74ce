//! A portal's error pages without the webhook that they were asked with.
//!
//! A webhook stands in the path, and pages of web servers like to repeat the path. In errors and
//! pages the secret is overwritten on their way, wherever the network cut them. Ordinary answers
//! pass as they are, because they are not looked into.

use crate::secret::Secret;

/// The bytes of a body that have not gone on yet.
#[derive(Debug)]
pub(crate) struct Mask<'s> {
    secret: &'s Secret,
    held: Vec<u8>,
}

impl<'s> Mask<'s> {
    /// Nothing has come.
    pub(crate) fn new(secret: &'s Secret) -> Self {
        Self { secret, held: Vec::new() }
    }

    /// More of the body.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.held.extend_from_slice(bytes);
    }

    /// What can go on: all but what may be the start of the secret.
    pub(crate) fn ready(&mut self) -> Vec<u8> {
        overwrite(&mut self.held, self.secret);
        let secret = self.secret.expose().as_bytes();
        let longest = self.held.len().min(secret.len().saturating_sub(1));
        let begun = (1..=longest)
            .rev()
            .find(|length| secret.get(..*length).is_some_and(|start| self.held.ends_with(start)))
            .unwrap_or(0);
        let kept = self.held.split_off(self.held.len() - begun);
        std::mem::replace(&mut self.held, kept)
    }

    /// The rest, once the body has ended.
    pub(crate) fn rest(&mut self) -> Vec<u8> {
        overwrite(&mut self.held, self.secret);
        std::mem::take(&mut self.held)
    }
}

/// Stars for the secret, as many as it has bytes: lengths stay true.
pub(crate) fn overwrite(bytes: &mut [u8], secret: &Secret) {
    let secret = secret.expose().as_bytes();
    if secret.is_empty() {
        return;
    }
    let places: Vec<_> = memchr::memmem::find_iter(bytes, secret).collect();
    for at in places {
        if let Some(found) = bytes.get_mut(at..at + secret.len()) {
            found.fill(b'*');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(secret: &str, pieces: &[&[u8]]) -> String {
        let secret = Secret::new(secret);
        let mut mask = Mask::new(&secret);
        let mut out = Vec::new();
        for piece in pieces {
            mask.push(piece);
            out.extend(mask.ready());
        }
        out.extend(mask.rest());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn the_secret_is_overwritten_wherever_the_body_is_cut() {
        let body = "no /rest/1/s3s3cret/x here: s3cret, s3s3cre";
        let expected = body.replace("s3cret", "******");
        for first in 0..=body.len() {
            for second in first..=body.len() {
                let (start, end) = body.as_bytes().split_at(second);
                let (start, middle) = start.split_at(first);
                let pieces = [start, middle, end];
                assert_eq!(masked("s3cret", &pieces), expected, "{first} {second}");
            }
        }
    }

    #[test]
    fn only_what_may_be_the_secret_is_held_back() {
        let secret = Secret::new("s3cret");
        let mut mask = Mask::new(&secret);
        mask.push(b"a page about s3c");
        assert_eq!(mask.ready(), b"a page about ");
        mask.push(b"ond thing");
        assert_eq!(mask.ready(), b"s3cond thing");
    }

    #[test]
    fn a_secret_of_repetitions_is_overwritten_too() {
        assert_eq!(masked("aba", &[b"ab", b"aba", b"b"]), "***bab");
    }
}
