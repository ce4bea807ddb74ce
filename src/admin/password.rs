//! The password of the operator's listener: HTTP Basic (RFC 7617) with any user name.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::HeaderMap;
use http::header::AUTHORIZATION;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::secret::Secret;

use super::refusal::Refusal;

/// Lets the password through, and guessing only slowly: for everybody together, since guesses can
/// come from many addresses.
#[derive(Debug, Default)]
pub(super) struct Lock {
    /// When a password was tried that was wrong, or is not known to be right yet; oldest first.
    tries: Mutex<VecDeque<Instant>>,
}

impl Lock {
    /// Lets through whoever knows `password`.
    pub(super) async fn open(&self, password: &Secret, headers: &HeaderMap) -> Result<(), Refusal> {
        let mut given = headers.get_all(AUTHORIZATION).iter();
        let (Some(given), None) = (given.next(), given.next()) else {
            return Err(Refusal::unauthorized());
        };
        let Some(given) = given.to_str().ok().and_then(password_of) else {
            return Err(Refusal::unauthorized());
        };
        self.wait_for_a_try().await?;
        // Hashed, so that the time says nothing about the length either.
        let same = Sha256::digest(&*given).ct_eq(&Sha256::digest(password.expose().as_bytes()));
        if !bool::from(same) {
            return Err(Refusal::unauthorized());
        }
        self.tries.lock().unwrap_or_else(PoisonError::into_inner).pop_back();
        Ok(())
    }

    /// A right password must not be locked out by somebody else's wrong ones, so it waits a little.
    async fn wait_for_a_try(&self) -> Result<(), Refusal> {
        let begun = Instant::now();
        while let Some(wait) = self.take_a_try() {
            if begun.elapsed() + wait > WAIT_MAX {
                return Err(Refusal::too_many_tries());
            }
            tokio::time::sleep(wait).await;
        }
        Ok(())
    }

    /// Counts a try, or says how long none is free.
    fn take_a_try(&self) -> Option<Duration> {
        let mut tries = self.tries.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        while tries.front().is_some_and(|at| now.duration_since(*at) >= SPAN) {
            tries.pop_front();
        }
        if let (true, Some(oldest)) = (tries.len() >= WRONG_MAX, tries.front()) {
            return Some(SPAN.saturating_sub(now.duration_since(*oldest)));
        }
        tries.push_back(now);
        None
    }
}

/// What stands behind the first colon of `Basic <base64>`.
fn password_of(field: &str) -> Option<Zeroizing<Vec<u8>>> {
    let (scheme, text) = field.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = from_base64(text.trim())?;
    let colon = pair.iter().position(|byte| *byte == b':')?;
    Some(Zeroizing::new(pair.get(colon + 1..)?.to_vec()))
}

/// Reads standard base64, with its padding or without; `None` when a character does not belong.
fn from_base64(text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let text = text.trim_end_matches('=');
    let mut bytes = Zeroizing::new(Vec::with_capacity(text.len() * 3 / 4));
    let (mut bits, mut count) = (0_u32, 0);
    for letter in text.bytes() {
        let six = match letter {
            b'A'..=b'Z' => letter - b'A',
            b'a'..=b'z' => letter - b'a' + 26,
            b'0'..=b'9' => letter - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(six)) & 0xFFFF;
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(bits >> count & 0xFF).ok()?);
        }
    }
    Some(bytes)
}

/// Wrong passwords in [`SPAN`]: a person who mistypes does not notice, a million guesses take days.
const WRONG_MAX: usize = 5;
const SPAN: Duration = Duration::from_secs(1);
/// How long a password waits to be looked at while others are guessing.
const WAIT_MAX: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    /// `operator:right` and `operator:wrong`.
    const RIGHT: &str = "Basic b3BlcmF0b3I6cmlnaHQ=";
    const WRONG: &str = "Basic b3BlcmF0b3I6d3Jvbmc=";

    async fn knock(lock: &Lock, field: &str) -> u16 {
        let mut headers = HeaderMap::new();
        headers.insert(AUTHORIZATION, field.parse().unwrap());
        let opened = lock.open(&Secret::new("right"), &headers).await;
        opened.map_or_else(|refusal| refusal.status.as_u16(), |()| 200)
    }

    #[tokio::test(start_paused = true)]
    async fn five_wrong_passwords_a_second_are_looked_at_and_no_more_however_many_come() {
        let lock = Lock::default();
        let begun = Instant::now();
        let mut knocks: Vec<_> = (0..200).map(|_| Box::pin(knock(&lock, WRONG))).collect();
        let mut answers = Vec::new();
        while !knocks.is_empty() {
            let mut left = Vec::new();
            for mut one in knocks {
                match tokio::time::timeout(Duration::ZERO, &mut one).await {
                    Ok(status) => answers.push(status),
                    Err(_waiting) => left.push(one),
                }
            }
            knocks = left;
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        let looked_at = answers.iter().filter(|status| **status == 401).count();
        let seconds = usize::try_from(begun.elapsed().as_secs()).unwrap() + 1;
        assert!(seconds <= 4, "they waited for {seconds} s");
        assert!(looked_at <= WRONG_MAX * seconds, "{looked_at} in {seconds} s");
        assert_eq!(answers.iter().filter(|status| **status == 429).count(), 200 - looked_at);
    }

    #[tokio::test(start_paused = true)]
    async fn a_right_password_waits_behind_wrong_ones_and_gets_through() {
        let lock = Lock::default();
        for _ in 0..WRONG_MAX {
            assert_eq!(knock(&lock, WRONG).await, 401);
        }
        let begun = Instant::now();
        assert_eq!(knock(&lock, RIGHT).await, 200);
        assert!(begun.elapsed() >= SPAN, "it was looked at out of turn");
    }

    #[tokio::test(start_paused = true)]
    async fn right_passwords_cost_no_tries() {
        let (lock, begun) = (Lock::default(), Instant::now());
        for _ in 0..100 {
            assert_eq!(knock(&lock, RIGHT).await, 200);
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_no_basic_credential_is_no_password() {
        let lock = Lock::default();
        for field in [
            "right",
            "Bearer right",
            "Basic",
            "Basic right",
            "Basic !!!!",
            "Basic cmlnaHQ=",
            "Basic ",
        ] {
            assert_eq!(knock(&lock, field).await, 401, "{field}");
        }
        // Without padding, and with an empty user name.
        assert_eq!(knock(&lock, "basic OnJpZ2h0").await, 200);
    }
}
