//! What commands say about clients.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value, json};

use crate::credential::Secret;
use crate::store::ClientRules;

/// What a command wants of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientRequest {
    /// All of them.
    List,
    /// Give a client its first key.
    Add {
        /// Its name.
        name: String,
        /// What it may do; `None` where the command has read that in the configuration.
        rules: Option<ClientRules>,
    },
    /// Give a client another key.
    Rotate {
        /// Its name.
        name: String,
        /// For how long the old one works, seconds.
        overlap: Option<u64>,
    },
    /// Take a client's keys away.
    Remove {
        /// Its name.
        name: String,
    },
}

/// A key that was just made, on its way to whoever asked for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewKey {
    /// The key.
    pub key: Shown,
    /// Where the gateway listens.
    pub addresses: Vec<String>,
    /// The portal that the path has to name; none where the key alone leads to one.
    pub portal: Option<String>,
}

/// A secret that is told, once: the one that goes into an answer of the control socket.
#[derive(Clone)]
pub struct Shown(pub Secret);

impl ClientRequest {
    /// Reads what stands behind `client ` in `do`.
    pub(super) fn parse(deed: &str, request: &Map<String, Value>) -> Result<Self, String> {
        let name = request.get("client").and_then(Value::as_str).map(str::to_owned);
        let name = name.ok_or_else(|| "no client is named".to_owned());
        match deed {
            "list" => Ok(Self::List),
            "add" => {
                let rules = request.get("rules").cloned().unwrap_or_default();
                let rules = serde_json::from_value(rules)
                    .map_err(|error| format!("the rules are of no use: {error}"))?;
                Ok(Self::Add { name: name?, rules })
            }
            "rotate" => {
                let overlap = request.get("overlap").and_then(Value::as_u64);
                Ok(Self::Rotate { name: name?, overlap })
            }
            "remove" => Ok(Self::Remove { name: name? }),
            _ => Err("the request is none that this gateway knows".to_owned()),
        }
    }

    pub(super) fn to_json(&self) -> Value {
        match self {
            Self::List => json!({"do": "client list"}),
            Self::Add { name, rules } => {
                json!({"do": "client add", "client": name, "rules": rules})
            }
            Self::Rotate { name, overlap } => {
                json!({"do": "client rotate", "client": name, "overlap": overlap})
            }
            Self::Remove { name } => json!({"do": "client remove", "client": name}),
        }
    }
}

impl fmt::Debug for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl PartialEq for Shown {
    fn eq(&self, other: &Self) -> bool {
        self.0.matches(other.0.expose())
    }
}

impl Eq for Shown {}

impl Serialize for Shown {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.expose())
    }
}

impl<'de> Deserialize<'de> for Shown {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Secret::new(String::deserialize(deserializer)?)))
    }
}
