//! A call as it is kept and shown.

use std::borrow::Cow;

use serde::Serialize;

/// Whether the portal has run a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Executed {
    /// The portal answered it.
    Yes,
    /// It was refused here, or the portal's answer proves that it has not.
    No,
    /// It was sent, and nobody can know.
    Unknown,
}

/// A call, or calls that were not kept.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its number, in the order in which calls ended.
    #[serde(skip)]
    pub id: i64,
    /// When it came, unix milliseconds.
    pub at_ms: u64,
    /// The client; `None` is anonymous.
    pub client: Option<String>,
    /// The user who runs the calling program, where that was asked.
    pub uid: Option<u32>,
    /// The portal, where it came as far.
    pub portal: Option<String>,
    /// The method as it stands in the path, where it is one.
    pub method: Option<String>,
    /// What the client was answered; `None` when it left before.
    pub status: Option<u16>,
    /// How long it took, milliseconds.
    pub ms: Option<u64>,
    /// Why it was sent to the portal more than once.
    pub replayed: Option<Cow<'static, str>>,
    /// `yes`, `no` or `unknown`.
    pub executed: Option<Cow<'static, str>>,
    /// The gateway's error code, where it answered by itself.
    pub code: Option<Cow<'static, str>>,
    /// This is no call: so many more were not kept, up to then.
    pub not_kept: Option<u64>,
}

impl Executed {
    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Yes => "yes",
            Self::No => "no",
            Self::Unknown => "unknown",
        }
    }

    /// By its word.
    pub fn of(word: &str) -> Option<Self> {
        [Self::Yes, Self::No, Self::Unknown].into_iter().find(|it| it.as_str() == word)
    }
}
