//! What is said over the control socket.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::credential::{Admitted, Grant, unix_now};
use crate::views::{Details, PortalView};

/// Lines of a ledger that are told at most.
pub const LEDGER_MAX: u32 = 1_000;

/// What a command wants.
#[derive(Debug)]
pub enum Request {
    /// Take this pair for the portal.
    Import {
        /// The portal's name in the configuration.
        portal: String,
        /// The pair.
        grant: Grant,
        /// Whether it takes the place of the one in use.
        replace: bool,
    },
    /// All portals.
    List,
    /// One portal.
    Show {
        /// The portal's name in the configuration.
        portal: String,
        /// How many lines of its ledger, at most [`LEDGER_MAX`].
        ledger: u32,
    },
    /// Write a backup of the store.
    Backup {
        /// Where to; absolute.
        file: String,
    },
}

/// The gateway's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// What has become of the pair, durably.
    Imported(Admitted),
    /// The portals by name.
    Portals(Vec<PortalView>),
    /// The portal.
    Portal(Box<Details>),
    /// The backup is on the disk.
    BackedUp(BackupView),
    /// Why not, in a sentence.
    Refused(String),
}

/// What is in a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupView {
    /// Portals that have a credential.
    pub portals: u64,
    /// Chains, the spares among them.
    pub chains: u64,
}

impl Request {
    /// Reads a line; the error is a sentence for whoever sent it.
    pub(super) fn parse(line: &[u8]) -> Result<Self, String> {
        let Ok(Value::Object(mut request)) = serde_json::from_slice(line) else {
            return Err("the request is not a JSON object".to_owned());
        };
        let text = |request: &Map<String, Value>, key| {
            request.get(key).and_then(Value::as_str).map(str::to_owned)
        };
        let portal = text(&request, "portal").ok_or_else(|| "no portal is named".to_owned());
        match text(&request, "do").as_deref() {
            Some("list") => Ok(Self::List),
            Some("show") => {
                let lines = request.get("ledger").and_then(Value::as_u64).unwrap_or(0);
                let ledger = u32::try_from(lines).unwrap_or(LEDGER_MAX).min(LEDGER_MAX);
                Ok(Self::Show { portal: portal?, ledger })
            }
            Some("backup") => match text(&request, "file") {
                Some(file) if file.starts_with('/') => Ok(Self::Backup { file }),
                _ => Err("no file is named by its whole path".to_owned()),
            },
            Some("import") => {
                let Some(Value::Object(grant)) = request.remove("grant") else {
                    return Err("there is no grant".to_owned());
                };
                let grant = Grant::imported(grant, unix_now())
                    .map_err(|error| format!("the grant is of no use: {error}"))?;
                let replace = request.get("replace").and_then(Value::as_bool).unwrap_or(false);
                Ok(Self::Import { portal: portal?, grant, replace })
            }
            _ => Err("the request is none of import, list, show, backup".to_owned()),
        }
    }

    pub(super) fn to_line(&self) -> Zeroizing<Vec<u8>> {
        let request = match self {
            Self::List => json!({"do": "list"}),
            Self::Show { portal, ledger } => {
                json!({"do": "show", "portal": portal, "ledger": ledger})
            }
            Self::Backup { file } => json!({"do": "backup", "file": file}),
            Self::Import { portal, grant, replace } => json!({
                "do": "import",
                "portal": portal,
                "replace": replace,
                "grant": {
                    "access_token": grant.access.expose(),
                    "refresh_token": grant.refresh.expose(),
                    "expires": grant.expires_at,
                    "member_id": grant.member_id,
                    "user_id": grant.user_id,
                    "client_endpoint": grant.client_endpoint,
                },
            }),
        };
        let mut line = Zeroizing::new(request.to_string().into_bytes());
        line.push(b'\n');
        line
    }
}
