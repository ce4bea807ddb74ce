//! What is shown of clients: never a key, never a digest.

use serde::{Deserialize, Serialize};

use crate::client::{Known, Register, Source, Standing};
use crate::credential::unix_now;

/// A client in a line.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientView {
    /// The name.
    pub name: String,
    /// Where its rules are: `configuration`, `command`, `nowhere`.
    pub source: String,
    /// Whether it is let in, in a word or two.
    pub state: String,
    /// The portals it may call; none told is every portal.
    pub portals: Option<Vec<String>>,
    /// Patterns of methods, with `!` in front of what is forbidden.
    pub methods: Vec<String>,
    /// Whether it may only read.
    pub read_only: bool,
    /// When it stops being let in, unix seconds.
    pub expires_at: Option<u64>,
    /// Its share of a portal's budget.
    pub weight: u32,
    /// The longest time that its calls are held back, milliseconds, where that is its own.
    pub max_wait_ms: Option<u64>,
    /// Its keys, oldest first.
    pub keys: Vec<KeyView>,
    /// Requests since the gateway started; none is told where no gateway runs.
    pub calls: Option<u64>,
    /// When the last of them ended, unix seconds.
    pub last_used_at: Option<u64>,
}

/// A key of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyView {
    /// When it was made, unix seconds.
    pub made_at: u64,
    /// When it stops working, unix seconds.
    pub expires_at: Option<u64>,
    /// Whether it has.
    pub expired: bool,
}

/// Everybody, by name, as a gateway that runs knows them.
pub async fn of_running(register: &Register) -> Vec<ClientView> {
    let now = unix_now();
    register.known(now).await.into_iter().map(|known| ClientView::of(known, now)).collect()
}

/// Everybody, by name, where no gateway runs: nothing was counted.
pub async fn of_store(register: &Register) -> Vec<ClientView> {
    of_known(register.known(unix_now()).await)
}

/// As [`of_store`], of whom is known.
pub fn of_known(known: Vec<Known>) -> Vec<ClientView> {
    let now = unix_now();
    let view = |known| ClientView { calls: None, ..ClientView::of(known, now) };
    known.into_iter().map(view).collect()
}

impl ClientView {
    fn of(known: Known, now: u64) -> Self {
        let key = |(made_at, expires_at): (u64, Option<u64>)| KeyView {
            made_at,
            expires_at,
            expired: expires_at.is_some_and(|at| at <= now),
        };
        let milliseconds = |wait: std::time::Duration| wait.as_millis().try_into().ok();
        Self {
            name: known.name,
            source: source(known.source).to_owned(),
            state: state(known.standing).to_owned(),
            portals: known.rules.portals,
            methods: known.rules.methods,
            read_only: known.rules.read_only,
            expires_at: known.rules.expires_at,
            weight: known.weight,
            max_wait_ms: known.max_wait.and_then(milliseconds),
            keys: known.keys.into_iter().map(key).collect(),
            calls: Some(known.calls),
            last_used_at: known.last_used_at,
        }
    }

    /// What it may do, in words.
    pub fn rules(&self) -> String {
        let portals = self.portals.as_ref().map(|names| names.join(", "));
        let mut words = vec![match portals {
            None => "every portal".to_owned(),
            Some(names) if names.is_empty() => "no portal".to_owned(),
            Some(names) => names,
        }];
        words.push(if self.methods.is_empty() {
            "every method".to_owned()
        } else {
            self.methods.join(" ")
        });
        if self.read_only {
            words.push("only to read".to_owned());
        }
        words.join("; ")
    }

    /// What there is to do about it.
    pub fn advice(&self) -> Option<String> {
        let Self { name, .. } = self;
        match self.state.as_str() {
            "no key" => Some(format!("no key yet: b24gate client add {name}")),
            "refused" => Some(format!(
                "its section is gone, so its keys are refused: put [clients.{name}] back, or \
                 b24gate client remove {name}"
            )),
            "unreadable" => Some(format!(
                "what it may do cannot be read, so its keys are refused: b24gate client remove \
                 {name}, and add it anew"
            )),
            "revoked" => Some(format!(
                "revoked, and NOT stored yet: mend the store, then b24gate client remove {name}"
            )),
            "expired" if self.source == "configuration" => {
                Some(format!("expired: see expires in [clients.{name}]"))
            }
            "expired" => Some(format!("expired: b24gate client remove {name}, and add it anew")),
            _ => None,
        }
    }
}

fn source(source: Source) -> &'static str {
    match source {
        Source::Configuration => "configuration",
        Source::Command => "command",
        Source::Nowhere => "nowhere",
    }
}

fn state(standing: Standing) -> &'static str {
    match standing {
        Standing::Ready => "ready",
        Standing::NoKey => "no key",
        Standing::Expired => "expired",
        Standing::NoRules => "refused",
        Standing::Unreadable => "unreadable",
        Standing::Revoked => "revoked",
    }
}
