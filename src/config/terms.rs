//! What a client may do, as people write it: in the configuration, and for a client that a command
//! makes, on the command line. Both are held to the same.

use std::time::Duration;

use time::{Date, Month, OffsetDateTime, Time, UtcOffset};
use toml::value::{Datetime, Offset};

use super::document::nearest;
use super::sections::check_name;
use super::values::{self, echo};

/// The name of a client.
pub fn client_name(name: &str) -> Result<(), String> {
    check_name(name)?;
    if name == ANONYMOUS {
        return Err(format!(
            "the name {name:?} is what those are called who have no key; choose another"
        ));
    }
    Ok(())
}

/// The name of a portal that a client may call, among those that there are.
pub fn portal_named<'a>(
    name: &str,
    known: impl Iterator<Item = &'a str> + Clone,
) -> Result<(), String> {
    if known.clone().any(|it| it == name) {
        return Ok(());
    }
    let hint =
        nearest(name, known).map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
    Err(format!("there is no portal {}{hint}", echo(name)))
}

/// `crm.*`, `!*.delete`: the letters of methods, `*` for any number of them, `!` in front.
pub fn method_pattern(given: &str) -> Result<(), String> {
    let pattern = given.strip_prefix('!').unwrap_or(given);
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"._*".contains(&byte);
    if pattern.is_empty() || pattern.len() > PATTERN_MAX || !pattern.bytes().all(sound) {
        return Err(format!(
            "{} is not a pattern of methods; write \"crm.*\", or \"!*.delete\" for what is forbidden",
            echo(given)
        ));
    }
    Ok(())
}

/// When a client expires, unix seconds: a duration from `now` on, such as `30d`, or a date.
pub fn expiry(text: &str, now: u64) -> Result<u64, String> {
    if let Some(lifetime) = values::parse_duration(text) {
        let at = now.checked_add(lifetime.as_secs()).filter(|at| *at < END);
        return at.ok_or_else(|| format!("{} is too long", echo(text)));
    }
    let at = text.parse::<Datetime>().ok().and_then(|date| moment(&date)).ok_or_else(|| {
        let given = echo(text);
        format!("{given} is neither a time such as 30d or 12h nor a date such as 2027-01-31")
    })?;
    if at <= now { Err(format!("{} is past", echo(text))) } else { Ok(at) }
}

/// A length of time as the configuration has them: `1h`, `30d`.
pub fn lifetime(text: &str) -> Result<Duration, String> {
    let lifetime = values::parse_duration(text);
    lifetime.ok_or_else(|| format!("{} is not a time; write it as 1h, 30m or 2d", echo(text)))
}

/// A date (the beginning of that day, UTC) or a date with a time, as unix seconds.
pub(super) fn moment(given: &Datetime) -> Option<u64> {
    let date = given.date?;
    let month = Month::try_from(date.month).ok()?;
    let date = Date::from_calendar_date(i32::from(date.year), month, date.day).ok()?;
    let time = match given.time {
        None => Time::MIDNIGHT,
        Some(time) => Time::from_hms(time.hour, time.minute, time.second.unwrap_or(0)).ok()?,
    };
    let offset = match given.offset {
        Some(Offset::Custom { minutes }) => {
            UtcOffset::from_whole_seconds(i32::from(minutes) * 60).ok()?
        }
        Some(Offset::Z) | None => UtcOffset::UTC,
    };
    let moment = OffsetDateTime::new_in_offset(date, time, offset).unix_timestamp();
    u64::try_from(moment).ok()
}

/// What metrics and logs call those who have no name.
const ANONYMOUS: &str = "anonymous";
/// Longer than any method.
const PATTERN_MAX: usize = 200;
/// The end of the year 9999, behind which dates are not written as people do.
const END: u64 = 253_402_300_800;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_a_time_from_now_or_a_date_that_is_to_come() {
        let now = 1_800_000_000; // 2027-01-15
        for (text, at) in [
            ("30d", now + 30 * 86_400),
            ("12h", now + 12 * 3_600),
            ("2027-01-31", 1_801_353_600),
            ("2027-01-31T12:30:00Z", 1_801_398_600),
            ("2027-01-31T12:30:00+02:00", 1_801_391_400),
        ] {
            assert_eq!(expiry(text, now), Ok(at), "{text}");
        }
        for (text, said) in [
            ("2026-12-31", "is past"),
            ("1969-01-01", "neither"),
            ("2027-02-30", "neither"),
            ("tomorrow", "neither"),
            ("30", "neither"),
            ("12:30:00", "neither"),
            ("9999999999d", "neither"),
            ("99999d", "too long"),
        ] {
            let refused = expiry(text, now + 252_000_000_000 * u64::from(text == "99999d"));
            let refused = refused.unwrap_err();
            assert!(refused.contains(said), "{text}: {refused}");
        }
    }

    #[test]
    fn a_client_is_called_like_a_section_and_not_like_nobody() {
        for name in ["erp", "nightly-export", "1c"] {
            assert_eq!(client_name(name), Ok(()), "{name}");
        }
        for name in ["", "Erp", "-erp", "a b", "rest", "anonymous", "a.b"] {
            assert!(client_name(name).is_err(), "{name}");
        }
    }
}
