//! The points as the variable names them, and what happens at them.

use std::str::FromStr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::failpoint::Misspelt;

static POINTS: OnceLock<Vec<Point>> = OnceLock::new();

/// What happens at one place.
#[derive(Debug)]
struct Point {
    name: String,
    action: Action,
    /// How many times it still happens.
    left: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Panic,
    /// SIGKILL: nothing is written, closed or said.
    Kill,
    Abort,
    /// Holds up the thread, not the task.
    Sleep(Duration),
}

/// Reads `B24GATE_FAILPOINT`, once for the process.
pub fn arm() -> Result<(), Misspelt> {
    let points = read(&std::env::var("B24GATE_FAILPOINT").unwrap_or_default())?;
    for point in &points {
        tracing::warn!(name = point.name, action = ?point.action, "failpoint armed");
    }
    POINTS.get_or_init(|| points);
    Ok(())
}

/// Does what `B24GATE_FAILPOINT` says of this place, if anything.
#[track_caller]
pub fn hit(name: &'static str) {
    let points = POINTS.get().map(Vec::as_slice).unwrap_or_default();
    for point in points.iter().filter(|point| point.name == name && point.takes_a_turn()) {
        tracing::warn!(name, "failpoint reached");
        point.action.run(name);
    }
}

fn read(text: &str) -> Result<Vec<Point>, Misspelt> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(Point::from_str).collect()
}

impl Point {
    fn takes_a_turn(&self) -> bool {
        let taking = |left: u64| left.checked_sub(1);
        self.left.try_update(Ordering::Relaxed, Ordering::Relaxed, taking).is_ok()
    }
}

impl FromStr for Point {
    type Err = Misspelt;

    fn from_str(text: &str) -> Result<Self, Misspelt> {
        let read = || {
            let (name, what) = text.split_once('=')?;
            let (what, count) = match what.split_once('*') {
                Some((what, count)) => (what, count.parse().ok()?),
                None => (what, u64::MAX),
            };
            let action = match (what, what.split_once(':')) {
                ("panic", _) => Action::Panic,
                ("kill", _) => Action::Kill,
                ("abort", _) => Action::Abort,
                (_, Some(("sleep", time))) => {
                    Action::Sleep(Duration::from_millis(time.parse().ok()?))
                }
                _ => return None,
            };
            let is_word = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
            let left = AtomicU64::new(count);
            let is_name = !name.is_empty() && name.bytes().all(is_word);
            is_name.then(|| Self { name: name.to_owned(), action, left })
        };
        read().ok_or_else(|| Misspelt(text.to_owned()))
    }
}

impl Action {
    #[expect(clippy::panic, reason = "that is the point")]
    #[track_caller]
    fn run(self, name: &'static str) {
        match self {
            Self::Panic => panic!("failpoint {name}"),
            Self::Kill => {
                let own = rustix::process::getpid();
                let sent = rustix::process::kill_process(own, rustix::process::Signal::KILL);
                panic!("still alive: {sent:?}");
            }
            Self::Abort => std::process::abort(),
            Self::Sleep(time) => std::thread::sleep(time),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_points_are_read_with_their_counts() {
        let points = read("after_intent=kill, forward=panic*2,relay=sleep:50*1,x=abort").unwrap();
        let read: Vec<_> = points
            .iter()
            .map(|point| (point.name.as_str(), point.action, point.left.load(Ordering::Relaxed)))
            .collect();
        let sleep = Action::Sleep(Duration::from_millis(50));
        assert_eq!(
            read,
            [
                ("after_intent", Action::Kill, u64::MAX),
                ("forward", Action::Panic, 2),
                ("relay", sleep, 1),
                ("x", Action::Abort, u64::MAX),
            ]
        );
        assert!(super::read("").unwrap().is_empty());
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        for text in
            ["x", "x=", "x=explode", "x=panic*", "x=panic*-1", "x=sleep", "x=sleep:1s", "=panic"]
        {
            let error = read(&format!("fine=kill,{text}")).unwrap_err().to_string();
            assert!(error.contains(&format!("{text:?} is not name=action")), "{error}");
        }
    }

    #[test]
    fn a_counted_point_acts_so_often_and_no_more() {
        let point: Point = "x=panic*2".parse().unwrap();
        assert_eq!([(); 4].map(|()| point.takes_a_turn()), [true, true, false, false]);
    }
}
