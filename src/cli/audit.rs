//! `b24gate audit`: who called what, from the file that the gateway keeps; with and without one that
//! runs.

use std::path::Path;
use std::time::Duration;

use serde::Serialize;
use time::{Date, Month};

use super::output::{Failure, complain, failed, say, try_say};
use super::table::{cell, line, table, widths};
use super::{AuditOptions, Exit, Global, control_runtime};
use crate::audit::{Archive, Entry, Executed, Filter, Sum};
use crate::control::{self, Reply, Request};
use crate::credential::{unix_now, utc};

/// A table of calls, as it is printed.
type Row = [String; COLUMNS];

/// Shows calls.
pub(super) fn run(global: &Global, options: &AuditOptions) -> Exit {
    let state = match global.state_directory() {
        Ok(state) => state,
        Err(exit) => return exit,
    };
    let runtime = match control_runtime() {
        Ok(runtime) => runtime,
        Err(exit) => return exit,
    };
    match runtime.block_on(show(&state, options)) {
        Ok(()) => Exit::Done,
        Err(failure) => {
            complain(&failure.text);
            Exit::of_code(failure.code)
        }
    }
}

async fn show(state: &Path, options: &AuditOptions) -> Result<(), Failure> {
    let archive = Archive::of(state);
    let filter = options.filter();
    if options.summary {
        let sums = archive.sums(&filter, SUMS_MAX).await.map_err(unreadable)?;
        say_sums(&archive, &sums, options.json)?;
        return Ok(());
    }
    if options.follow && !runs(state).await? {
        let place = state.display();
        return Err(failed(format!("no gateway runs on {place}, so there is nothing to follow")));
    }
    // Before the first look, so that nothing falls between the two.
    let mut seen = archive.last_id().await.map_err(unreadable)?;
    let mut calls = archive.latest(&filter, options.limit).await.map_err(unreadable)?;
    calls.reverse();
    if options.follow {
        calls.retain(|call| call.id <= seen);
    }
    let mut printer = Printer::new(options);
    if calls.is_empty() && !options.follow && !options.json {
        say(&format!("no call is kept in {} that fits", archive.path().display()));
        return Ok(());
    }
    let mut is_read = printer.print(&calls)?;
    while options.follow && is_read {
        // Asked first: what a gateway writes at its end is there when it is gone.
        let goes_on = runs(state).await?;
        let calls = archive.after(seen, &filter, FOLLOW_AT_ONCE).await.map_err(unreadable)?;
        seen = calls.last().map_or(seen, |call| call.id);
        is_read = printer.print(&calls)?;
        if !goes_on && calls.is_empty() {
            return Ok(());
        }
        if calls.is_empty() {
            tokio::time::sleep(FOLLOW_STEP).await;
        }
    }
    Ok(())
}

/// Whether a gateway runs on this state directory.
async fn runs(state: &Path) -> Result<bool, Failure> {
    match control::ask(state, &Request::Readiness { portal: None }).await {
        Ok(Some(Reply::Readiness(_))) => Ok(true),
        Ok(Some(Reply::Refused(text))) => Err(failed(format!("the gateway refuses: {text}"))),
        Ok(Some(_)) => Err(failed("the gateway's answer is not clear")),
        // One that stops may be caught in the middle.
        Ok(None) | Err(_) => Ok(false),
    }
}

/// Prints calls as they come: a table at once, further ones in its columns.
struct Printer {
    json: bool,
    follow: bool,
    widths: Option<[usize; COLUMNS]>,
}

impl Printer {
    fn new(options: &AuditOptions) -> Self {
        Self { json: options.json, follow: options.follow, widths: None }
    }

    /// Says whether anybody still reads.
    fn print(&mut self, calls: &[Entry]) -> Result<bool, Failure> {
        let mut lines = Vec::with_capacity(calls.len() + 1);
        if self.json {
            for call in calls {
                lines.push(json(call)?);
            }
        } else {
            let mut rows: Vec<Row> = calls.iter().map(row).collect();
            let known = self.widths;
            if known.is_none() {
                rows.insert(0, head(&rows, self.follow));
            }
            let widths = known.unwrap_or_else(|| widths(&rows));
            self.widths = Some(widths);
            lines.extend(rows.iter().map(|row| line(row, widths)));
        }
        Ok(lines.iter().all(|line| try_say(line).is_ok()))
    }
}

/// What stands above the columns. One that is empty is left out, unless it may yet be filled.
fn head(rows: &[Row], may_be_filled: bool) -> Row {
    std::array::from_fn(|column| {
        let any = |row: &Row| row.get(column).is_some_and(|cell| !cell.is_empty());
        let title = TITLES.get(column).copied().unwrap_or_default();
        let is_shown = may_be_filled || column < ALWAYS || rows.iter().any(any);
        if is_shown { title.to_owned() } else { String::new() }
    })
}

fn row(call: &Entry) -> Row {
    if let Some(count) = call.not_kept {
        let mut row = Row::default();
        let [when, client, ..] = &mut row;
        (*when, *client) = (moment(call.at_ms), "-".to_owned());
        let [.., code] = &mut row;
        *code = format!("{count} more calls were not kept");
        return row;
    }
    let word = |word: &Option<std::borrow::Cow<'static, str>>| {
        word.as_deref().unwrap_or_default().to_owned()
    };
    [
        moment(call.at_ms),
        cell(call.client.as_ref()),
        cell(call.portal.as_ref()),
        cell(call.method.as_ref()),
        call.status.map_or_else(|| "left".to_owned(), |status| status.to_string()),
        cell(call.ms),
        word(&call.executed),
        call.uid.map_or_else(String::new, |uid| uid.to_string()),
        word(&call.replayed),
        word(&call.code),
    ]
}

fn say_sums(archive: &Archive, sums: &[Sum], as_json: bool) -> Result<(), Failure> {
    if as_json {
        for sum in sums {
            say(&json(sum)?);
        }
        return Ok(());
    }
    if sums.is_empty() {
        say(&format!("no call is kept in {} that fits", archive.path().display()));
        return Ok(());
    }
    let head = ["CLIENT", "METHOD", "CALLS", "ERRORS", "LAST (UTC)"].map(str::to_owned);
    let rows = sums.iter().map(|sum| {
        [
            cell(sum.client.as_ref()),
            cell(sum.method.as_ref()),
            sum.calls.to_string(),
            sum.errors.to_string(),
            moment(sum.last_ms),
        ]
    });
    say(&table(&std::iter::once(head).chain(rows).collect::<Vec<_>>()));
    Ok(())
}

/// Everything else on this machine that has a time writes it in UTC, too.
fn moment(at_ms: u64) -> String {
    let second = utc(at_ms / 1_000);
    format!("{}.{:03}Z", second.trim_end_matches('Z'), at_ms % 1_000)
}

fn json(value: &impl Serialize) -> Result<String, Failure> {
    serde_json::to_string(value).map_err(|error| failed(error.to_string()))
}

#[expect(clippy::needless_pass_by_value, reason = "it is what map_err hands over")]
fn unreadable(error: crate::audit::ArchiveError) -> Failure {
    failed(error.to_string())
}

impl AuditOptions {
    fn filter(&self) -> Filter {
        Filter {
            client: self.client.clone(),
            portal: self.portal.clone(),
            method: self.method.clone(),
            status: self.status,
            executed: self.executed,
            since_ms: self.since.unwrap_or_default(),
        }
    }
}

/// `403` or `4xx`: the lowest and the highest.
pub(super) fn status(text: &str) -> Result<(u16, u16), String> {
    let wrong = || "is not a status; write it as 403 or 4xx".to_owned();
    let (digits, span) = match text.strip_suffix("xx") {
        Some(digit) if digit.len() == 1 => (digit, 100),
        _ => (text, 1),
    };
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let number = digits.parse::<u16>().ok().filter(|_| is_number).ok_or_else(wrong)?;
    let low =
        number.checked_mul(span).filter(|low| (100..1_000).contains(low)).ok_or_else(wrong)?;
    Ok((low, low + span - 1))
}

/// `yes`, `no` or `unknown`.
pub(super) fn executed(text: &str) -> Result<Executed, String> {
    Executed::of(text).ok_or_else(|| "is not one of yes, no, unknown".to_owned())
}

/// `90s`, `30m`, `1h`, `7d` ago, or the beginning of a day in UTC; as unix milliseconds.
pub(super) fn since(text: &str) -> Result<u64, String> {
    let seconds = match day(text) {
        Some(second) => second,
        None => unix_now().saturating_sub(ago(text).ok_or_else(|| {
            "is not a time; write it as 30m, 1h, 7d or as a day such as 2026-11-20".to_owned()
        })?),
    };
    Ok(seconds.saturating_mul(1_000))
}

fn ago(text: &str) -> Option<u64> {
    let at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(at);
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(seconds)
}

fn day(text: &str) -> Option<u64> {
    let mut parts = text.split('-');
    let mut number = |length: usize| {
        let part = parts.next()?;
        let is_number = part.len() == length && part.bytes().all(|byte| byte.is_ascii_digit());
        part.parse::<u16>().ok().filter(|_| is_number)
    };
    let (year, month, day) = (number(4)?, number(2)?, number(2)?);
    if parts.next().is_some() {
        return None;
    }
    let month = Month::try_from(u8::try_from(month).ok()?).ok()?;
    let date = Date::from_calendar_date(year.into(), month, u8::try_from(day).ok()?).ok()?;
    u64::try_from(date.midnight().assume_utc().unix_timestamp()).ok()
}

const COLUMNS: usize = 10;
const TITLES: [&str; COLUMNS] = [
    "WHEN (UTC)",
    "CLIENT",
    "PORTAL",
    "METHOD",
    "STATUS",
    "MS",
    "EXECUTED",
    "UID",
    "REPLAYED",
    "CODE",
];
/// So many columns are there whatever is in them.
const ALWAYS: usize = 7;
/// More lines than anybody looks through.
const SUMS_MAX: u32 = 1_000;
/// Between two looks for new calls; they are written once a second.
const FOLLOW_STEP: Duration = Duration::from_millis(500);
const FOLLOW_AT_ONCE: u32 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_one_or_a_hundred() {
        assert_eq!(status("403"), Ok((403, 403)));
        assert_eq!(status("4xx"), Ok((400, 499)));
        for wrong in ["", "xx", "40x", "04xx", "44xx", "99", "1000", "+403", "4XX"] {
            assert!(status(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_beginning_is_a_day_in_utc_or_a_span_before_now() {
        assert_eq!(since("2026-11-22"), Ok(1_795_305_600_000));
        assert_eq!(since("1970-01-01"), Ok(0));
        let now = unix_now() * 1_000;
        for (text, ms) in [("90s", 90_000), ("30m", 1_800_000), ("1h", 3_600_000)] {
            assert!(since(text).unwrap().abs_diff(now - ms) <= 2_000, "{text}");
        }
        assert!(since("7d").unwrap().abs_diff(now - 604_800_000) <= 2_000);
        for wrong in ["", "h", "7", "7w", "2026-02-30", "2026-1-1", "2026-11-20-1", "1969-12-31"] {
            assert!(since(wrong).is_err(), "{wrong}");
        }
    }
}
