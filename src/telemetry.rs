//! The log: lines on standard error, as text or JSON. It never holds up a request: lines go
//! through a bounded queue to a thread of their own, and those that find it full are counted and
//! dropped. Values of fields cannot forge lines or reach a terminal as escape sequences.

use std::fmt::{self, Write as _};
use std::io::{self, IsTerminal, Write};
use std::panic::PanicHookInfo;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, SyncSender, TrySendError};
use std::thread;
use std::time::Duration;

use tracing::field::Field;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Subscriber};
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::layer::SubscriberExt;

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Writes out what is still queued when it is dropped, so that the last lines are not lost.
#[derive(Debug)]
#[must_use = "the last lines of the log are lost without it"]
pub struct LogGuard {
    queue: SyncSender<Message>,
}

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// `B24GATE_LOG` is not a filter.
    #[error(
        "B24GATE_LOG: {0:?} is not a level; use error, warn, info, debug, trace or off, or a part \
         of the program with its level, such as b24gate=debug, separated by commas"
    )]
    Filter(String),
    /// The thread that writes did not start.
    #[error("the log cannot be started")]
    Thread(#[source] io::Error),
    /// There is one already.
    #[error("the log was started before")]
    Started,
}

/// Starts the log for the whole process, at the level that `B24GATE_LOG` says (`info` if it is
/// not set).
pub fn init(format: LogFormat) -> Result<LogGuard, LogError> {
    let filter = filter(&std::env::var("B24GATE_LOG").unwrap_or_default())?;
    let stderr = io::stderr();
    let colours = stderr.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let (queue, messages) = mpsc::sync_channel(QUEUE_LINES_MAX);
    let dropped = Arc::new(AtomicU64::new(0));
    let lines = Lines { queue: queue.clone(), dropped: Arc::clone(&dropped) };
    thread::Builder::new()
        .name("log".to_owned())
        .spawn(move || drain(&messages, &dropped, format, stderr))
        .map_err(LogError::Thread)?;
    let started = match format {
        LogFormat::Text => tracing::subscriber::set_global_default(text(filter, lines, colours)),
        LogFormat::Json => tracing::subscriber::set_global_default(json(filter, lines)),
    };
    started.map_err(|_already_set| LogError::Started)?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(LogGuard { queue })
}

/// In place of the standard hook, which writes the message to standard error as it is.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let said = panic.payload_as_str().map_or_else(String::new, harmless);
    let place = panic.location().map_or_else(|| "unknown".to_owned(), ToString::to_string);
    let thread = thread::current();
    tracing::error!(%said, %place, thread = thread.name().unwrap_or("unnamed"), "panic");
}

/// A panic's message without what it may quote: slices of text, values with their text, and words
/// so long that they could be a token. The place tells a developer the rest.
fn harmless(message: &str) -> String {
    let mut told = String::new();
    let mut open = None;
    for c in message.chars() {
        match open {
            Some(quote) if c == quote => open = None,
            Some(_) => continue,
            None if c == '"' || c == '`' => open = Some(c),
            None => {}
        }
        told.push(c);
    }
    let is_in_word = |c: char| c.is_ascii_alphanumeric() || "_-.+/=%".contains(c);
    let mut words: Vec<&str> = told.split_inclusive(|c| !is_in_word(c)).collect();
    for word in &mut words {
        if word.len() > PANIC_WORD_MAX {
            *word = "... ";
        }
    }
    words.concat().chars().take(PANIC_MAX).collect()
}

fn filter(text: &str) -> Result<Targets, LogError> {
    let mut targets = Targets::new().with_default(Level::INFO);
    for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let (target, level) = match part.split_once('=') {
            Some((target, level)) => (Some(target.trim()), level.trim()),
            // Without this, a misspelt level would silence the log as the name of a target.
            None => (None, part),
        };
        let wrong = |_| LogError::Filter(part.to_owned());
        let level = LevelFilter::from_str(level).map_err(wrong)?;
        targets = match target {
            Some(target) => targets.with_target(target, level),
            None => targets.with_default(level),
        };
    }
    Ok(targets)
}

fn text<W>(filter: Targets, writer: W, colours: bool) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer()
        .fmt_fields(debug_fn(write_field).delimited(" "))
        .with_ansi(colours)
        .with_writer(writer)
        // It would report to standard error by a macro that panics when that is closed.
        .log_internal_errors(false);
    tracing_subscriber::registry().with(filter).with(layer)
}

fn json<W>(filter: Targets, writer: W) -> impl Subscriber + Send + Sync
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_writer(writer)
        .log_internal_errors(false);
    tracing_subscriber::registry().with(filter).with(layer)
}

fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    if field.name() != "message" {
        write!(writer, "{}=", field.name())?;
    }
    write!(Printable(writer), "{value:?}")
}

/// Passes text on with its control characters spelt out.
struct Printable<'a, 'w>(&'a mut Writer<'w>);

impl fmt::Write for Printable<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for part in text.split_inclusive(char::is_control) {
            match part.chars().next_back() {
                Some(last) if last.is_control() => {
                    self.0.write_str(part.strip_suffix(last).unwrap_or_default())?;
                    write!(self.0, "{}", last.escape_default())?;
                }
                _ => self.0.write_str(part)?,
            }
        }
        Ok(())
    }
}

/// The end of the queue where lines go in.
#[derive(Clone, Debug)]
struct Lines {
    queue: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

#[derive(Debug)]
enum Message {
    Line(Box<[u8]>),
    /// Answer when everything before it has been written.
    Flush(SyncSender<()>),
}

impl MakeWriter<'_> for Lines {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Write for Lines {
    /// Takes one line; the formatter hands over each in one piece.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.queue.try_send(Message::Line(line.into())).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes lines until the process ends. A standard error that is closed loses the log and
/// nothing else.
fn drain(messages: &Receiver<Message>, dropped: &AtomicU64, format: LogFormat, mut to: impl Write) {
    for message in messages {
        match message {
            Message::Line(line) => drop(to.write_all(&line)),
            Message::Flush(done) => drop(done.try_send(())),
        }
        let count = dropped.swap(0, Ordering::Relaxed);
        if count > 0 {
            drop(match format {
                LogFormat::Text => writeln!(to, "WARN log lines dropped count={count}"),
                LogFormat::Json => writeln!(
                    to,
                    r#"{{"level":"WARN","message":"log lines dropped","count":{count}}}"#
                ),
            });
        }
    }
}

impl Drop for LogGuard {
    fn drop(&mut self) {
        let (done, flushed) = mpsc::sync_channel(1);
        let mut message = Message::Flush(done);
        for _ in 0..FLUSH_ATTEMPTS {
            match self.queue.try_send(message) {
                Ok(()) => {
                    // Whether it was flushed or not, the end does not wait longer.
                    flushed.recv_timeout(FLUSH_PAUSE * FLUSH_ATTEMPTS).unwrap_or_default();
                    return;
                }
                Err(TrySendError::Full(same)) => message = same,
                Err(TrySendError::Disconnected(_)) => return,
            }
            thread::sleep(FLUSH_PAUSE);
        }
    }
}

/// A few seconds of a busy gateway's log; about 1 MiB.
const QUEUE_LINES_MAX: usize = 4096;
/// A standard error that nobody reads delays the end by a second at most, twice.
const FLUSH_ATTEMPTS: u32 = 50;
const FLUSH_PAUSE: Duration = Duration::from_millis(20);

/// No secret is this short.
const PANIC_WORD_MAX: usize = 24;
/// Enough of a panic's message, characters.
const PANIC_MAX: usize = 300;

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What the log says about hostile values.
    fn hostile(format: LogFormat) -> String {
        let shared = Shared::default();
        let writer = shared.clone();
        let make = move || writer.clone();
        let filter = filter("info").unwrap();
        let evil = "\u{1b}[2J\u{9b}31m\nforged";
        let log = || {
            tracing::info!(name = evil, shown = %evil, list = ?[evil], "message {evil}");
            tracing::debug!("not wanted");
        };
        match format {
            LogFormat::Text => tracing::subscriber::with_default(text(filter, make, false), log),
            LogFormat::Json => tracing::subscriber::with_default(json(filter, make), log),
        }
        let bytes = shared.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn hostile_values_reach_the_text_log_spelt_out_in_one_line() {
        let log = hostile(LogFormat::Text);
        assert_eq!(log.lines().count(), 1, "{log:?}");
        assert!(!log.trim_end().contains(char::is_control), "{log:?}");
        assert!(log.contains(r"shown=\u{1b}[2J\u{9b}31m\nforged"), "{log}");
        assert!(log.contains(r#"name="\u{1b}[2J"#), "{log}");
    }

    #[test]
    fn hostile_values_reach_the_json_log_as_json() {
        let log = hostile(LogFormat::Json);
        assert_eq!(log.lines().count(), 1, "{log:?}");
        assert!(!log.contains('\u{1b}'), "{log:?}");
        let line: serde_json::Value = serde_json::from_str(&log).unwrap();
        assert_eq!(line["shown"], "\u{1b}[2J\u{9b}31m\nforged");
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn a_panics_message_is_told_without_what_it_quotes() {
        let token = "0f".repeat(35);
        for (message, told) in [
            ("failpoint forward", "failpoint forward"),
            ("index out of bounds: the len is 3 but the index is 7", ""),
            (
                &*format!("start byte index 1 is not a char boundary; it is inside `{token}`[...]"),
                "start byte index 1 is not a char boundary; it is inside ``[...]",
            ),
            (
                "called `Result::unwrap()` on an `Err` value: Bad(\"Bearer A-canary",
                "called `` on an `` value: Bad(\"",
            ),
            (&*format!("no such token: {token}, sorry"), "no such token: ...  sorry"),
        ] {
            assert_eq!(harmless(message), if told.is_empty() { message } else { told });
        }
        assert_eq!(harmless(&"x ".repeat(1_000)).len(), PANIC_MAX);
    }

    #[test]
    fn levels_are_understood_and_misspelt_ones_are_refused() {
        for text in ["", "debug", "INFO", "off", "b24gate=debug", "warn, hyper=off,b24gate=trace"] {
            assert!(filter(text).is_ok(), "{text}");
        }
        for text in ["inof", "b24gate", "b24gate=loud", "debug,loud"] {
            let error = filter(text).unwrap_err().to_string();
            assert!(error.contains("is not a level; use error, warn"), "{error}");
        }
    }

    #[test]
    fn a_full_queue_drops_lines_counts_them_and_never_waits() {
        let (queue, messages) = mpsc::sync_channel(2);
        let dropped = Arc::new(AtomicU64::new(0));
        let mut lines = Lines { queue, dropped: Arc::clone(&dropped) };
        for _ in 0..5 {
            lines.write_all(b"line\n").unwrap();
        }
        drop(lines);
        let mut out = Vec::new();
        drain(&messages, &dropped, LogFormat::Text, &mut out);
        let out = String::from_utf8(out).unwrap();
        assert_eq!(out, "line\nWARN log lines dropped count=3\nline\n");
    }

    #[test]
    fn a_broken_standard_error_loses_lines_and_nothing_else() {
        struct Broken;
        impl Write for Broken {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (queue, messages) = mpsc::sync_channel(4);
        let (done, flushed) = mpsc::sync_channel(1);
        queue.send(Message::Line(b"line\n".as_slice().into())).unwrap();
        queue.send(Message::Flush(done)).unwrap();
        drop(queue);
        drain(&messages, &AtomicU64::new(0), LogFormat::Json, Broken);
        flushed.recv().unwrap();
    }
}
