//! `b24gate wait`: until the running gateway can serve calls.

use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;

use super::output::{Failure, failed, finish};
use super::{Exit, Global, WaitOptions, control_runtime};
use crate::control::{self, Reply, Request};

/// Waits, and says what it waited for in vain.
pub(super) fn run(global: &Global, options: &WaitOptions) -> Exit {
    let state = match global.state_directory() {
        Ok(state) => state,
        Err(exit) => return exit,
    };
    match control_runtime() {
        Ok(runtime) => finish(runtime.block_on(wait(&state, options))),
        Err(exit) => exit,
    }
}

async fn wait(state: &Path, options: &WaitOptions) -> Result<String, Failure> {
    let end = Instant::now().checked_add(options.timeout);
    loop {
        let reasons = reasons(state, options.portal.clone()).await?;
        if reasons.is_empty() {
            return Ok("ready".to_owned());
        }
        if end.is_some_and(|end| Instant::now() >= end) {
            return Err(failed(format!("not ready:\n  {}", reasons.join("\n  "))));
        }
        let next = Instant::now() + STEP;
        tokio::time::sleep_until(end.map_or(next, |end| next.min(end))).await;
    }
}

async fn reasons(state: &Path, portal: Option<String>) -> Result<Vec<String>, Failure> {
    match control::ask(state, &Request::Readiness { portal }).await {
        Ok(Some(Reply::Readiness(reasons))) => Ok(reasons),
        Ok(Some(Reply::Refused(text))) => Err(failed(format!("the gateway refuses: {text}"))),
        Ok(Some(_)) => Err(failed("the gateway's answer is not clear")),
        Ok(None) => {
            Ok(vec![format!("no gateway runs on {}; start `b24gate serve`", state.display())])
        }
        // One that starts or stops may be caught in the middle.
        Err(error) => Ok(vec![format!("the running gateway does not answer: {error}")]),
    }
}

/// `500ms`, `60s`, `5m`, `1h`; a bare number is seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let at = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(at);
    let milliseconds = match unit {
        "ms" => 1,
        "s" | "" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => 0,
    };
    let number = number.parse::<u64>().ok().filter(|_| milliseconds > 0);
    number
        .and_then(|number| number.checked_mul(milliseconds))
        .map(Duration::from_millis)
        .ok_or_else(|| "is not a time; write it as 60s, 5m or 500ms".to_owned())
}

/// Between two questions.
const STEP: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units_and_bare_numbers_are_seconds() {
        for (text, milliseconds) in
            [("500ms", 500), ("60s", 60_000), ("5m", 300_000), ("1h", 3_600_000), ("7", 7_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for wrong in ["", "s", "5 m", "5d", "-1s", "1.5s", "18446744073709551615h"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
