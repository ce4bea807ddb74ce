//! What is said over the control socket.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use crate::control::clients::{ClientRequest, NewKey};
use crate::credential::{Admitted, Grant, Secret, unix_now};
use crate::views::clients::ClientView;
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
    /// Begin a login.
    Connect {
        /// The portal's name.
        portal: String,
        /// Whether the answer will be pasted.
        paste: bool,
        /// Whether the new pair takes the place of the one in use.
        replace: bool,
    },
    /// How did a login end?
    LoginOutcome {
        /// Its number.
        id: String,
    },
    /// What the operator's browser was redirected to, or the bare code.
    Paste {
        /// The login's number.
        id: String,
        /// As pasted.
        pasted: Secret,
    },
    /// Renew the token now.
    Refresh {
        /// The portal's name.
        portal: String,
    },
    /// Take a portal out of service, or put it back.
    SetDisabled {
        /// The portal's name.
        portal: String,
        /// Whether it is out of service from now on.
        disabled: bool,
    },
    /// Take a portal's credential out of use.
    Remove {
        /// The portal's name.
        portal: String,
    },
    /// What stands in the way of calls?
    Readiness {
        /// Of calls to this portal only.
        portal: Option<String>,
    },
    /// About clients.
    Client(ClientRequest),
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
    /// The login has begun.
    Login {
        /// Its number.
        id: String,
        /// What to open in a browser.
        link: String,
        /// How long it is good, seconds.
        expires_in: u64,
    },
    /// The login is still under way.
    UnderWay,
    /// The portal has a credential by this login; how it stands, in a sentence.
    Connected(String),
    /// The login has failed; why, in a sentence.
    NotConnected(String),
    /// The token is renewed, and this is its generation.
    Refreshed(u64),
    /// It is done, durably.
    Done,
    /// What stands in the way, a line each; nothing when calls can be served.
    Readiness(Vec<String>),
    /// The clients.
    Clients {
        /// By name.
        clients: Vec<ClientView>,
        /// Whether keys were lost with the database.
        lost: bool,
    },
    /// A key, which is told once.
    Key(NewKey),
    /// The client's keys are refused from now on, durably.
    ClientRemoved {
        /// Whether the configuration still describes it.
        described: bool,
    },
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
        let id = text(&request, "id").ok_or_else(|| "no login is named".to_owned());
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
                Ok(Self::Import { portal: portal?, grant, replace: flag(&request, "replace") })
            }
            Some("connect") => {
                let (paste, replace) = (flag(&request, "paste"), flag(&request, "replace"));
                Ok(Self::Connect { portal: portal?, paste, replace })
            }
            Some("login outcome") => Ok(Self::LoginOutcome { id: id? }),
            Some("paste") => match request.remove("pasted") {
                Some(Value::String(pasted)) => {
                    Ok(Self::Paste { id: id?, pasted: Secret::new(pasted) })
                }
                _ => Err("nothing is pasted".to_owned()),
            },
            Some("refresh") => Ok(Self::Refresh { portal: portal? }),
            Some("disable") => Ok(Self::SetDisabled { portal: portal?, disabled: true }),
            Some("enable") => Ok(Self::SetDisabled { portal: portal?, disabled: false }),
            Some("remove") => Ok(Self::Remove { portal: portal? }),
            Some("readiness") => Ok(Self::Readiness { portal: portal.ok() }),
            Some(deed) if deed.starts_with("client ") => {
                let deed = deed.strip_prefix("client ").unwrap_or_default();
                ClientRequest::parse(deed, &request).map(Self::Client)
            }
            _ => Err("the request is none that this gateway knows".to_owned()),
        }
    }

    pub(super) fn to_line(&self) -> Zeroizing<Vec<u8>> {
        let request = match self {
            Self::List => json!({"do": "list"}),
            Self::Show { portal, ledger } => {
                json!({"do": "show", "portal": portal, "ledger": ledger})
            }
            Self::Backup { file } => json!({"do": "backup", "file": file}),
            Self::Connect { portal, paste, replace } => {
                json!({"do": "connect", "portal": portal, "paste": paste, "replace": replace})
            }
            Self::LoginOutcome { id } => json!({"do": "login outcome", "id": id}),
            Self::Paste { id, pasted } => {
                json!({"do": "paste", "id": id, "pasted": pasted.expose()})
            }
            Self::Refresh { portal } => json!({"do": "refresh", "portal": portal}),
            Self::SetDisabled { portal, disabled } => {
                let what = if *disabled { "disable" } else { "enable" };
                json!({"do": what, "portal": portal})
            }
            Self::Remove { portal } => json!({"do": "remove", "portal": portal}),
            Self::Client(request) => request.to_json(),
            Self::Readiness { portal } => json!({"do": "readiness", "portal": portal}),
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

fn flag(request: &Map<String, Value>, name: &str) -> bool {
    request.get(name).and_then(Value::as_bool).unwrap_or(false)
}
