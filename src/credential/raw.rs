//! An answer of an OAuth server as it came, which is made durable before it is read.

use std::fmt;
use std::time::Duration;

use zeroize::Zeroizing;

/// The answer of a token endpoint, unread. It may hold a pair, so it is shown to nobody.
#[derive(Clone)]
pub struct RawAnswer {
    /// The HTTP status; 200 where a redirect carried the pair in its address.
    pub status: u16,
    /// `Retry-After`, if the server sent one.
    pub retry_after: Option<Duration>,
    /// When it came, unix seconds: what `expires_in` is counted from.
    pub at: u64,
    /// Whether its end was seen. What was cut off may still hold a whole pair.
    pub complete: bool,
    /// The body, at most 64 KiB, or the parameters of the address as an object.
    pub body: Zeroizing<Vec<u8>>,
}

/// The layout of the bytes: this number, the status, `Retry-After` in seconds plus one (zero: none),
/// the time, whether it is complete, the body. Integers are little endian.
const VERSION: u8 = 1;

/// Bytes before the body.
const HEAD: usize = 1 + 2 + 8 + 8 + 1;

impl RawAnswer {
    /// The bytes to keep.
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        let mut bytes = Zeroizing::new(Vec::with_capacity(HEAD + self.body.len()));
        let retry_after = self.retry_after.map_or(0, |wait| wait.as_secs().saturating_add(1));
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.status.to_le_bytes());
        bytes.extend_from_slice(&retry_after.to_le_bytes());
        bytes.extend_from_slice(&self.at.to_le_bytes());
        bytes.push(u8::from(self.complete));
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// Reads what [`RawAnswer::to_bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (&[VERSION], rest) = bytes.split_first_chunk::<1>()? else {
            return None;
        };
        let (status, rest) = rest.split_first_chunk()?;
        let (retry_after, rest) = rest.split_first_chunk()?;
        let (at, rest) = rest.split_first_chunk()?;
        let (&[complete], body) = rest.split_first_chunk::<1>()?;
        let retry_after = u64::from_le_bytes(*retry_after);
        Some(Self {
            status: u16::from_le_bytes(*status),
            retry_after: retry_after.checked_sub(1).map(Duration::from_secs),
            at: u64::from_le_bytes(*at),
            complete: complete == 1,
            body: Zeroizing::new(body.to_vec()),
        })
    }
}

impl fmt::Debug for RawAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, retry_after, at, complete, body } = self;
        f.debug_struct("RawAnswer")
            .field("status", status)
            .field("retry_after", retry_after)
            .field("at", at)
            .field("complete", complete)
            .field("length", &body.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_back_as_it_was_written() {
        for retry_after in [None, Some(Duration::ZERO), Some(Duration::from_secs(7))] {
            let answer = RawAnswer {
                status: 200,
                retry_after,
                at: 1_700_000_000,
                complete: true,
                body: Zeroizing::new(b"{\"access_token\":\"A-canary\"}".to_vec()),
            };
            let read = RawAnswer::from_bytes(&answer.to_bytes()).unwrap();
            assert_eq!(read.to_bytes(), answer.to_bytes());
            assert_eq!((read.status, read.retry_after, read.at), (200, retry_after, answer.at));
            assert!(read.complete && read.body == answer.body);
            assert!(!format!("{read:?}").contains("canary"));
        }
        assert!(RawAnswer::from_bytes(b"").is_none());
        assert!(RawAnswer::from_bytes(&[2; 40]).is_none());
        assert!(RawAnswer::from_bytes(&[1; 19]).is_none());
    }
}
