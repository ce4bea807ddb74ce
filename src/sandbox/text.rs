//! Spellings: hex, base64, dates. Small enough to be ours, so that the sandbox needs no crate that
//! the gateway does not.

use std::fmt::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sha2::{Digest, Sha256};

/// Lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        for nibble in [byte >> 4, byte & 15] {
            text.push(char::from_digit(u32::from(nibble), 16).unwrap_or('0'));
        }
        text
    })
}

/// The first 12 hex digits of a SHA-256: enough to tell tokens apart, not enough to use one.
pub(super) fn fingerprint(token: &str) -> String {
    let mut text = hex(&Sha256::digest(token));
    text.truncate(12);
    text
}

/// Random bytes in hex.
pub(super) fn random_hex(bytes: usize) -> String {
    let mut buffer = vec![0; bytes];
    fill_random(&mut buffer);
    hex(&buffer)
}

/// Fills with random bytes; a system without randomness leaves zeros, which is good enough here.
pub(super) fn fill_random(buffer: &mut [u8]) {
    if getrandom::fill(buffer).is_err() {
        buffer.fill(0);
    }
}

/// Standard base64 with padding (RFC 4648 section 4).
pub(super) fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let mut word = 0_u32;
        for position in 0..3 {
            word = word << 8 | u32::from(group.get(position).copied().unwrap_or(0));
        }
        for (position, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            let index = word >> shift & 63;
            text.push(match index {
                _ if position > group.len() => '=',
                _ => char::from(ALPHABET.get(index as usize).copied().unwrap_or(b'=')),
            });
        }
    }
    text
}

/// Reads standard base64; `None` when a character does not belong there.
pub(super) fn from_base64(text: &str) -> Option<Vec<u8>> {
    let (mut word, mut bits) = (0_u32, 0);
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    for character in text.bytes().filter(|byte| *byte != b'=' && !byte.is_ascii_whitespace()) {
        let index = ALPHABET.iter().position(|known| *known == character)?;
        word = word << 6 | u32::try_from(index).ok()?;
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(word >> bits & 255).unwrap_or(0));
            word &= (1 << bits) - 1;
        }
    }
    Some(bytes)
}

/// Whole milliseconds of a duration.
pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The time since 1970.
pub(super) fn unix_now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// Whole seconds since 1970.
pub(super) fn unix_seconds() -> u64 {
    unix_now().as_secs()
}

/// `2026-08-21T10:00:00+00:00`, as portals write dates.
pub(super) fn iso8601(unix: u64) -> String {
    let (year, month, day) = civil(unix / 86_400);
    let (hour, minute, second) = (unix / 3_600 % 24, unix / 60 % 60, unix % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}+00:00")
}

/// `Fri, 21 Aug 2026 10:00:00 GMT` (RFC 9110 section 5.6.7).
pub(super) fn http_date(unix: u64) -> String {
    let days = unix / 86_400;
    let (year, month, day) = civil(days);
    let weekday = WEEKDAYS.get(usize::try_from(days % 7).unwrap_or(0)).copied().unwrap_or("Thu");
    let month = MONTHS
        .iter()
        .zip(1..)
        .find(|(_, number)| *number == month)
        .map_or("Jan", |(name, _)| *name);
    let mut text = format!("{weekday}, {day:02} {month} {year:04} ");
    let (hour, minute, second) = (unix / 3_600 % 24, unix / 60 % 60, unix % 60);
    let written = write!(text, "{hour:02}:{minute:02}:{second:02} GMT");
    debug_assert!(written.is_ok(), "writing to a String cannot fail");
    text
}

/// Year, month, day of a day count since 1970 (Howard Hinnant's `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const WEEKDAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_reads_what_it_writes() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(plain.as_bytes()), coded);
            assert_eq!(from_base64(coded).unwrap(), plain.as_bytes());
        }
        assert_eq!(from_base64("a b!"), None);
    }

    #[test]
    fn dates_are_written_as_the_wire_has_them() {
        assert_eq!(iso8601(1_787_306_400), "2026-08-21T10:00:00+00:00");
        assert_eq!(http_date(1_787_306_400), "Fri, 21 Aug 2026 10:00:00 GMT");
        assert_eq!(http_date(951_782_400), "Tue, 29 Feb 2000 00:00:00 GMT");
    }
}
