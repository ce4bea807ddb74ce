//! Single values: sizes, durations, addresses, URLs. Pure functions from a TOML value to a
//! checked one, or to a sentence that says what is wrong and how to write it.

use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::document::{Flaws, nearest};

/// A TOML value with its place.
pub(super) type Value<'v> = Spanned<DeValue<'v>>;

pub(super) const KIB: u64 = 1 << 10;
pub(super) const MIB: u64 = 1 << 20;
pub(super) const GIB: u64 = 1 << 30;
pub(super) const TIB: u64 = 1 << 40;

/// A text that says something.
pub(super) fn text(value: &Value<'_>) -> Result<String, Flaws> {
    let text = plain(value)?;
    if text.trim().is_empty() {
        return Err("is empty; leave it out, or give it a value".into());
    }
    if text.chars().any(char::is_control) {
        return Err("holds a control character, such as a line break; write it in one line".into());
    }
    Ok(text.to_owned())
}

/// `true` or `false`.
pub(super) fn boolean(value: &Value<'_>) -> Result<bool, Flaws> {
    let wrong = || format!("must be true or false without quotes, not {}", kind(value.get_ref()));
    value.get_ref().as_bool().ok_or_else(|| wrong().into())
}

/// One of a few words.
pub(super) fn choice<T: Copy>(value: &Value<'_>, words: &[(&str, T)]) -> Result<T, Flaws> {
    let given = plain(value)?;
    if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == given) {
        return Ok(*meaning);
    }
    let given = echo(given);
    let hint = nearest(&given, words.iter().map(|(word, _)| *word))
        .map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
    let all: Vec<_> = words.iter().map(|(word, _)| format!("{word:?}")).collect();
    Err(format!("{given} is not one of {}{hint}", all.join(", ")).into())
}

/// A list, each element read by `read`; all that is wrong in it is told.
pub(super) fn list<T>(
    value: &Value<'_>,
    read: impl Fn(&Value<'_>) -> Result<T, Flaws>,
) -> Result<Vec<T>, Flaws> {
    let Some(array) = value.get_ref().as_array() else {
        let kind = kind(value.get_ref());
        return Err(format!(r#"must be a list in brackets, such as ["..."], not {kind}"#).into());
    };
    let mut flaws = Flaws::none();
    let mut elements = Vec::with_capacity(array.len());
    for element in array {
        match read(element) {
            Ok(element) => elements.push(element),
            Err(wrong) => flaws.extend(wrong.at(element.span().start)),
        }
    }
    if flaws.is_empty() { Ok(elements) } else { Err(flaws) }
}

/// A number of bytes: `1048576`, `"1MiB"`, `"1MB"`.
pub(super) fn size(value: &Value<'_>, bounds: RangeInclusive<u64>) -> Result<u64, Flaws> {
    let bytes = match value.get_ref() {
        DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
        DeValue::String(text) => parse_size(text),
        _ => None,
    };
    let Some(bytes) = bytes else {
        let given = given(value);
        return Err(
            format!(r#"{given} is not a size; write it as "256MiB", "64KiB" or bytes"#).into()
        );
    };
    if !bounds.contains(&bytes) {
        let (low, high) = (show_size(*bounds.start()), show_size(*bounds.end()));
        return Err(
            format!("{} is out of bounds; it goes from {low} to {high}", given(value)).into()
        );
    }
    Ok(bytes)
}

/// A length of time: `"8s"`, `"500ms"`, `"1.5s"`, `"25m"`, `"1h"`.
pub(super) fn duration(
    value: &Value<'_>,
    bounds: RangeInclusive<Duration>,
) -> Result<Duration, Flaws> {
    let parsed = match value.get_ref() {
        DeValue::String(text) => parse_duration(text),
        _ => None,
    };
    let Some(duration) = parsed else {
        let given = given(value);
        let units = r#"write it with its unit, such as "500ms", "8s", "25m" or "1h""#;
        return Err(format!("{given} is not a duration; {units}").into());
    };
    if !bounds.contains(&duration) {
        let (low, high) = (show_duration(*bounds.start()), show_duration(*bounds.end()));
        let given = given(value);
        return Err(format!("{given} is out of bounds; it goes from {low} to {high}").into());
    }
    Ok(duration)
}

/// The text of a value, whatever it says.
pub(super) fn plain<'v>(value: &'v Value<'_>) -> Result<&'v str, Flaws> {
    let wrong = || format!("must be a text in quotes, not {}", kind(value.get_ref()));
    value.get_ref().as_str().ok_or_else(|| wrong().into())
}

/// A text of the operator's in one line and of bounded length. Not for values that may be secret.
pub(super) fn echo(text: &str) -> String {
    let mut short: String = text.chars().take(ECHO_CHARS_MAX).collect();
    if short.len() < text.len() {
        short.push_str("...");
    }
    format!("{short:?}")
}

fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split_number(text);
    let factor = match unit {
        "" | "B" => 1,
        "KiB" => KIB,
        "MiB" => MIB,
        "GiB" => GIB,
        "TiB" => TIB,
        "kB" | "KB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor)
}

pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split_number(text);
    let unit_ns: u64 = match unit {
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        "d" => 86_400_000_000_000,
        _ => return None,
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    // Nine digits are nanoseconds of a second; more of them mean nothing here.
    if fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let scale = 10_u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let part = unit_ns.checked_mul(fraction.parse().ok()?)? / scale;
    let total = whole.parse::<u64>().ok()?.checked_mul(unit_ns)?.checked_add(part)?;
    Some(Duration::from_nanos(total))
}

/// `"8 s"` as `("8", "s")`.
fn split_number(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim_start())
}

fn show_size(bytes: u64) -> String {
    for (unit, name) in [(TIB, "TiB"), (GIB, "GiB"), (MIB, "MiB"), (KIB, "KiB")] {
        if bytes >= unit && bytes.is_multiple_of(unit) {
            return format!("{}{name}", bytes / unit);
        }
    }
    bytes.to_string()
}

fn show_duration(duration: Duration) -> String {
    let (seconds, millis) = (duration.as_secs(), duration.subsec_millis());
    match (seconds, millis) {
        (_, 1..) => format!("{}ms", duration.as_millis()),
        (3600.., 0) if seconds.is_multiple_of(3600) => format!("{}h", seconds / 3600),
        (60.., 0) if seconds.is_multiple_of(60) => format!("{}m", seconds / 60),
        (_, 0) => format!("{seconds}s"),
    }
}

/// The value as given, for messages about sizes and durations.
fn given(value: &Value<'_>) -> String {
    match value.get_ref() {
        DeValue::String(text) => echo(text),
        DeValue::Integer(number) => number.to_string(),
        DeValue::Float(number) => number.to_string(),
        other => kind(other).to_owned(),
    }
}

/// What a value is, with its article.
fn kind(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) | DeValue::Float(_) => "a number",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Enough to recognise a value by, too little to fill a terminal.
const ECHO_CHARS_MAX: usize = 64;
