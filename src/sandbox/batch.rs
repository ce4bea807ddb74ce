//! `batch` of versions 1 and 2 (Bitrix24 REST docs, batch; rest module, `rest_provider.php`).

use std::time::Duration;

use super::answer::ApiError;
use super::methods::{self, Outcome};
use super::params;
use super::portal::{self, Call};
use super::value::Value;

/// Runs up to 50 commands one after the other. The answer is a 200 even if all of them fail.
pub(super) fn run(call: &mut Call<'_>, params: &Value) -> Outcome {
    let halt = params.get_any_case("halt").is_some_and(|halt| {
        halt.int()
            .map_or_else(|| halt.text().is_some_and(|text| !text.is_empty()), |flag| flag != 0)
    });
    let mut report = Report::default();
    let commands = params.get_any_case("cmd").map(Value::entries).unwrap_or_default();
    let commands = commands.iter().filter_map(|(key, command)| match command {
        Value::Text(command) => Some((key, command)),
        _ => None,
    });
    for (position, (key, command)) in commands.enumerate() {
        let outcome = if position < COMMANDS_MAX {
            run_command(call, command, &report.results)
        } else {
            let text = "Max batch length exceeded";
            Err(ApiError::new(400, "ERROR_BATCH_LENGTH_EXCEEDED", text))
        };
        let failed = outcome.is_err();
        report.add(call, key, outcome);
        if failed && halt {
            break;
        }
    }
    report.outcome()
}

fn run_command(
    call: &mut Call<'_>,
    command: &str,
    results: &Value,
) -> Result<(&'static str, Outcome), ApiError> {
    let (name, query) = command.split_once('?').unwrap_or((command, ""));
    let method = methods::find(name).ok_or_else(portal::not_found)?;
    if ["batch", "download", "upload"].contains(&method.name) {
        let text = "Method is not allowed for batch usage";
        return Err(ApiError::new(400, "ERROR_BATCH_METHOD_NOT_ALLOWED", text));
    }
    let mut params = params::parse_str(query.as_bytes());
    for reserved in ["auth", "access_token"] {
        params.remove(reserved);
    }
    resolve(&mut params, results);
    portal::check_operating(call.inner, method.name)?;
    Ok((method.name, call.run(method, &params)?))
}

/// Puts earlier results in the place of `$result[key][path]`.
fn resolve(value: &mut Value, results: &Value) {
    match value {
        Value::Array(entries) => entries.iter_mut().for_each(|(_, value)| resolve(value, results)),
        Value::Text(text) => {
            if let Some(resolved) = resolve_text(text, results) {
                *value = resolved;
            }
        }
        _ => {}
    }
}

fn resolve_text(text: &str, results: &Value) -> Option<Value> {
    if !text.contains(REFERENCE) {
        return None;
    }
    let mut written = String::new();
    let mut rest = text;
    while let Some((before, reference)) = rest.split_once(REFERENCE) {
        let (found, tail) = follow(reference, results);
        if before.is_empty() && tail.is_empty() && written.is_empty() {
            return Some(found.clone());
        }
        written.push_str(before);
        written.push_str(&found.text().unwrap_or_default());
        rest = tail;
    }
    written.push_str(rest);
    Some(Value::Text(written))
}

/// Follows `[a][b]`; an unknown step ends at the deepest value that exists.
fn follow<'a, 'b>(path: &'a str, results: &'b Value) -> (&'b Value, &'a str) {
    let (mut found, mut rest, mut lost) = (results, path, false);
    while let Some((key, tail)) = rest.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        match found.get(key) {
            Some(next) if !lost => found = next,
            _ => lost = true,
        }
        rest = tail;
    }
    (found, rest)
}

/// The five maps of an answer. Each one is `[]` while it is empty, because PHP writes it so.
#[derive(Debug)]
struct Report {
    results: Value,
    errors: Value,
    totals: Value,
    nexts: Value,
    times: Value,
    delay: Duration,
}

impl Default for Report {
    fn default() -> Self {
        let empty = || Value::EMPTY;
        Self {
            results: empty(),
            errors: empty(),
            totals: empty(),
            nexts: empty(),
            times: empty(),
            delay: Duration::ZERO,
        }
    }
}

impl Report {
    fn add(
        &mut self,
        call: &mut Call<'_>,
        key: &str,
        outcome: Result<(&'static str, Outcome), ApiError>,
    ) {
        let (name, outcome) = match outcome {
            Ok(done) => done,
            Err(error) => return self.errors.set(key, error.value()),
        };
        self.delay += outcome.delay;
        let time = call.time(name, self.delay);
        self.times.set(key, time);
        self.results.set(key, outcome.result);
        if let Some(total) = outcome.total {
            self.totals.set(key, total.into());
        }
        if let Some(next) = outcome.next {
            self.nexts.set(key, next.into());
        }
    }

    fn outcome(self) -> Outcome {
        let result = Value::map([
            ("result", self.results),
            ("result_error", self.errors),
            ("result_total", self.totals),
            ("result_next", self.nexts),
            ("result_time", self.times),
        ]);
        Outcome { delay: self.delay, ..Outcome::of(result) }
    }
}

/// Bitrix24 REST docs, batch.
const COMMANDS_MAX: usize = 50;
const REFERENCE: &str = "$result";

#[cfg(test)]
mod tests {
    use super::*;

    fn check(reference: &str, expected: impl Into<Value>) {
        let results = Value::map([("a", Value::map([("ID", 7_i64.into()), ("T", "x".into())]))]);
        let mut value = Value::from(reference);
        resolve(&mut value, &results);
        assert_eq!(value, expected.into(), "{reference}");
    }

    #[test]
    fn references_take_the_place_of_earlier_results() {
        check("$result[a][ID]", 7_i64);
        check("n$result[a][ID]-$result[a][T]", "n7-x");
        check("$result[a][T][deeper]", "x");
        check("plain", "plain");
    }
}
