//! What alerts are about, and in what condition it can be.

use std::fmt;
use std::time::Duration;

/// What an alert is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    /// A portal, by name.
    Portal(String),
    /// Where credentials are kept.
    Store,
}

/// How it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Condition {
    /// A portal: all is well.
    Connected,
    /// A portal: nobody knows whether its token was exchanged.
    Suspect,
    /// A portal: refused until a human has done something elsewhere.
    Paused,
    /// A portal: a human has to connect it again.
    Dead,
    /// The store: all is well.
    Ok,
    /// The store: it cannot be written.
    Failing,
}

impl Subject {
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Portal(_) => "portal",
            Self::Store => "store",
        }
    }

    pub(super) fn portal(&self) -> Option<&str> {
        match self {
            Self::Portal(name) => Some(name),
            Self::Store => None,
        }
    }

    /// What people take for granted who have heard nothing.
    pub(super) fn healthy(&self) -> Condition {
        match self {
            Self::Portal(_) => Condition::Connected,
            Self::Store => Condition::Ok,
        }
    }

    /// Under which the store remembers what a target has heard: `webhook portal acme`.
    pub(super) fn key(&self, target: &str) -> String {
        format!("{target} {self}")
    }

    /// The subject of a key of `target`.
    pub(super) fn of_key(target: &str, key: &str) -> Option<Self> {
        match key.strip_prefix(target)?.strip_prefix(' ')? {
            "store" => Some(Self::Store),
            other => other.strip_prefix("portal ").map(|name| Self::Portal(name.to_owned())),
        }
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Portal(name) => write!(f, "portal {name}"),
            Self::Store => f.write_str("store"),
        }
    }
}

impl Condition {
    const ALL: [Self; 6] =
        [Self::Connected, Self::Suspect, Self::Paused, Self::Dead, Self::Ok, Self::Failing];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Suspect => "suspect",
            Self::Paused => "paused",
            Self::Dead => "dead",
            Self::Ok => "ok",
            Self::Failing => "failing",
        }
    }

    pub(super) fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|condition| condition.word() == word)
    }

    /// How long it must last to be news. A doubt mostly settles itself within minutes; until then
    /// it says nothing, and what was so before still holds.
    pub(super) fn news_after(self) -> Duration {
        match self {
            Self::Suspect => Duration::from_mins(10),
            Self::Connected | Self::Paused | Self::Dead | Self::Ok | Self::Failing => {
                Duration::from_secs(2)
            }
        }
    }
}
