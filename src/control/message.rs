//! What is said over the control socket.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::credential::{Grant, Status, unix_now};

/// What a command wants.
#[derive(Debug)]
pub enum Request {
    /// Make this pair the portal's credential.
    Import {
        /// The portal's name in the configuration.
        portal: String,
        /// The pair.
        grant: Grant,
    },
    /// All portals.
    List,
    /// One portal.
    Show {
        /// The portal's name in the configuration.
        portal: String,
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
    /// The import is durable.
    Stored(PortalView),
    /// The portals by name.
    Portals(Vec<PortalView>),
    /// The portal.
    Portal(PortalView),
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

/// What is shown of a portal; holds no secret.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortalView {
    /// The name in the configuration.
    pub name: String,
    /// Where it lives.
    pub url: String,
    /// The credential's state in a word.
    pub state: String,
    /// The OAuth server's code for it.
    pub code: Option<String>,
    /// The generation in use.
    pub generation: Option<u64>,
    /// When the access token expires, unix seconds.
    pub expires_at: Option<u64>,
    /// Whose rights it carries.
    pub user_id: Option<u64>,
    /// The portal's stable key.
    pub member_id: Option<String>,
    /// When it was last renewed by the running gateway, unix seconds.
    pub refreshed_at: Option<u64>,
    /// The code of the last failure since the last success.
    pub last_error: Option<String>,
    /// Whether the pair in use is not stored yet: stopping the gateway now would lose it.
    pub unsaved: bool,
}

impl PortalView {
    /// The view of a credential's status.
    pub fn new(name: &str, url: String, status: &Status) -> Self {
        Self {
            name: name.to_owned(),
            url,
            state: status.word().to_owned(),
            code: status.state.code().map(str::to_owned),
            generation: status.generation.map(|generation| generation.0),
            expires_at: status.expires_at,
            user_id: status.user_id,
            member_id: status.member_id.clone(),
            refreshed_at: status.refreshed_at,
            last_error: status.last_error.clone(),
            unsaved: status.unsaved,
        }
    }
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
            Some("show") => Ok(Self::Show { portal: portal? }),
            Some("backup") => match text(&request, "file") {
                Some(file) if file.starts_with('/') => Ok(Self::Backup { file }),
                _ => Err("no file is named by its whole path".to_owned()),
            },
            Some("import") => {
                let Some(Value::Object(grant)) = request.remove("grant") else {
                    return Err("there is no grant".to_owned());
                };
                let grant = Grant::from_object(grant, unix_now())
                    .map_err(|error| format!("the grant is of no use: {error}"))?;
                Ok(Self::Import { portal: portal?, grant })
            }
            _ => Err("the request is none of import, list, show, backup".to_owned()),
        }
    }

    pub(super) fn to_line(&self) -> Zeroizing<Vec<u8>> {
        let request = match self {
            Self::List => json!({"do": "list"}),
            Self::Show { portal } => json!({"do": "show", "portal": portal}),
            Self::Backup { file } => json!({"do": "backup", "file": file}),
            Self::Import { portal, grant } => json!({
                "do": "import",
                "portal": portal,
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
