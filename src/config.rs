//! The checked configuration: every value here has been parsed, bounded and resolved, so that the
//! rest of the crate never has to ask again. The only ways here from a file are [`Config::load`]
//! and [`Config::parse`], which report every problem at once, by file, line and key.

mod address;
mod alerts;
mod clients;
mod document;
mod file;
mod keys;
mod listeners;
mod portals;
mod problem;
mod secrets;
mod sections;
mod terms;
mod values;

#[cfg(test)]
mod tests;

pub use address::HostName;
pub use problem::{ConfigError, Fault, Problem};
pub use secrets::unsafe_permissions;
pub use terms::{client_name, expiry, lifetime, method_pattern, portal_named};

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::secret::Secret;

/// Everything the operator decides.
#[derive(Debug)]
pub struct Config {
    /// The file it was read from; `None` when there is no file and the defaults hold.
    pub source: Option<PathBuf>,
    /// What works and should be better, one line each; to be logged at start.
    pub warnings: Vec<String>,
    /// The keys of secrets that came from the environment: `apps.main: client_secret_env`.
    pub environment: Vec<String>,
    /// The listener that tools call.
    pub gateway: Arc<Gateway>,
    /// The operator's listener.
    pub admin: Admin,
    /// The listener that may be public.
    pub callback: Callback,
    /// Where credentials are kept.
    pub store: Store,
    /// Who is told when a portal or the store needs a human.
    pub alerts: Arc<Alerts>,
    /// OAuth applications by name.
    pub apps: BTreeMap<String, Arc<App>>,
    /// Portals by name.
    pub portals: BTreeMap<String, Arc<Portal>>,
    /// What clients may do, by their names.
    pub clients: BTreeMap<String, Arc<Client>>,
    /// What is kept of calls.
    pub audit: Audit,
}

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// `127.0.0.1:8024`
    Tcp(SocketAddr),
    /// `unix:/run/b24gate/gateway.sock`
    Unix(PathBuf),
}

/// `[gateway]`
#[derive(Debug)]
pub struct Gateway {
    /// Where tools connect.
    pub listen: Vec<Listen>,
    /// The portal of a request that names none; set when there is exactly one, or by the operator,
    /// who may name one that comes by itself.
    pub default_portal: Option<String>,
    /// Host names accepted besides the loopback names and the portals' domains.
    pub hosts: Vec<HostName>,
    /// Browser origins allowed to call, lower case, such as `https://crm.example.com`.
    pub origins: Vec<String>,
    /// Whether requests that carry forwarding headers are accepted.
    pub behind_proxy: bool,
    /// Whether a request without the key of a client is refused.
    pub require_key: bool,
    /// The users of this machine whose programs may connect.
    pub allow_uids: AllowUids,
    /// Permission bits of unix sockets.
    pub socket_mode: u32,
    /// What the listener shows to clients that speak TLS.
    pub tls: ServerTls,
    /// Largest request body, bytes.
    pub max_body: u64,
    /// Largest request body kept in memory for a replay, bytes; larger ones go to a temporary file.
    pub replay_memory: usize,
    /// Longest time a call is held back before its answer is an error.
    pub max_wait: Duration,
    /// Longest silence of a portal.
    pub portal_timeout: Duration,
}

/// `allow_uids`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AllowUids {
    /// Nobody is asked.
    Any,
    /// These alone, sorted; names and `"self"` are resolved.
    These(Vec<u32>),
}

/// `tls` of the gateway's listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerTls {
    /// A certificate by the gateway's own authority, which lies in the state directory.
    LocalCa,
    /// A certificate of the operator's, PEM.
    Files {
        /// The chain, its own certificate first.
        cert: PathBuf,
        /// Its private key, a file that only its owner can read.
        key: PathBuf,
    },
}

/// `[clients.NAME]`
#[derive(Debug)]
pub struct Client {
    /// The name in the configuration.
    pub name: String,
    /// The portals it may call; `None` is every portal.
    pub portals: Option<Vec<String>>,
    /// Patterns of the methods it may call, with `!` of those it may not; none is every method.
    pub methods: Vec<String>,
    /// Whether it may only read.
    pub read_only: bool,
    /// When it stops being let in, unix seconds.
    pub expires_at: Option<u64>,
    /// Its share of a portal's budget beside other clients.
    pub weight: u32,
    /// The longest time that its calls are held back, where that differs from the gateway's.
    pub max_wait: Option<Duration>,
}

/// `[audit]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audit {
    /// For how long calls are kept; `None` is not at all.
    pub keep: Option<Duration>,
    /// Whether each call is a line of the log.
    pub access_log: bool,
}

/// `[admin]`
#[derive(Debug)]
pub struct Admin {
    /// Where the operator's pages are served.
    pub listen: SocketAddr,
    /// What the operator logs in with; always there when `listen` is not loopback.
    pub password: Option<Secret>,
    /// Whether a tool may be told the access token itself.
    pub expose_tokens: bool,
}

/// `[callback]`
#[derive(Debug)]
pub struct Callback {
    /// Where Bitrix24 and browsers come back to.
    pub listen: SocketAddr,
    /// The address of this listener as entered in Bitrix24, without a slash at its end.
    pub public_url: String,
}

/// `[store]`
#[derive(Debug)]
pub struct Store {
    /// `sqlite:` URL; a relative path is relative to the state directory.
    pub url: String,
    /// Where the key that seals the tokens comes from.
    pub key: KeySource,
}

/// Where the key that seals the tokens comes from.
#[derive(Debug)]
pub enum KeySource {
    /// `<state>/b24gate.key`, made with mode 0600 on first start.
    StateDirectory,
    /// `key_file`
    File(PathBuf),
    /// `key_env`, already read from the environment.
    Environment(Secret),
}

/// `[alerts]`: either, both or neither.
#[derive(Debug, Default)]
pub struct Alerts {
    /// Where alerts are posted.
    pub webhook: Option<Webhook>,
    /// What is started with an alert on its standard input.
    pub command: Option<Command>,
}

/// `webhook`: its host may be shown, the rest of the URL may be a credential.
#[derive(Debug)]
pub struct Webhook {
    /// Where it is.
    pub server: Endpoint,
    /// Path and query.
    pub target: Secret,
}

/// `command` of `[alerts]`
#[derive(Debug, PartialEq, Eq)]
pub struct Command {
    /// An absolute path.
    pub program: PathBuf,
    /// What it is started with.
    pub arguments: Vec<String>,
}

/// `[apps.NAME]`: an OAuth application registered with Bitrix24.
#[derive(Debug)]
pub struct App {
    /// The name in the configuration.
    pub name: String,
    /// `client_id` as shown by Bitrix24.
    pub client_id: String,
    /// `client_secret`; goes to `oauth_server` and nowhere else.
    pub client_secret: Secret,
    /// The OAuth server, without a path.
    pub oauth_server: Endpoint,
    /// Sent where an old server wants it.
    pub scope: Option<String>,
    /// Likewise.
    pub redirect_uri: Option<String>,
    /// Whether portals that install the application are taken in without a section of their own.
    pub accept_installs: bool,
}

/// `[portals.NAME]`
#[derive(Debug)]
pub struct Portal {
    /// The name in the configuration.
    pub name: String,
    /// Where the portal lives.
    pub url: Endpoint,
    /// What opens it.
    pub access: Access,
    /// How the token gets into a request.
    pub inject: Inject,
    /// When the token is renewed.
    pub refresh: Refresh,
    /// The portal's plan, which decides its budget.
    pub plan: Plan,
    /// Certificates to trust besides the platform's, PEM.
    pub ca_file: Option<PathBuf>,
}

/// What opens a portal.
#[derive(Clone, Debug)]
pub enum Access {
    /// An OAuth application, whose tokens are renewed.
    Application(Arc<App>),
    /// An incoming webhook, which is a credential that does not change.
    IncomingWebhook(Arc<IncomingWebhook>),
}

/// `webhook_url` of a portal: `https://acme.bitrix24.com/rest/<user>/<secret>/`.
#[derive(Debug)]
pub struct IncomingWebhook {
    /// Whose rights it carries.
    pub user_id: u64,
    /// The part of the path behind the user.
    pub secret: Secret,
}

/// Scheme, host and port, nothing else: where to connect to, and what to call the other side.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// Whether the connection is TLS.
    pub tls: bool,
    /// Host name or address, lower case, IPv6 without brackets.
    pub host: String,
    /// Port, also when it is the scheme's default.
    pub port: u16,
}

/// `inject`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Inject {
    /// Bearer until the portal proves not to read it.
    Auto,
    /// `Authorization: Bearer`
    Bearer,
    /// `auth=` in the query.
    Parameter,
}

/// `refresh`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// When a call needs it.
    Lazy,
    /// On a timer, whether a call needs it or not.
    Every(Duration),
}

/// `plan`: the portal's request budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// 2 requests/s, burst 50.
    Standard,
    /// 5 requests/s, burst 250.
    Enterprise,
    /// No budget (self-hosted).
    Unlimited,
}

impl Alerts {
    /// Whether alerts go the same ways as with `other`.
    pub fn same_as(&self, other: &Self) -> bool {
        let webhook = match (&self.webhook, &other.webhook) {
            (None, None) => true,
            (Some(a), Some(b)) => a.server == b.server && a.target.matches(b.target.expose()),
            _ => false,
        };
        webhook && self.command == other.command
    }
}

impl Config {
    /// The applications that take portals in which install them.
    pub fn open_apps(&self) -> impl Iterator<Item = &Arc<App>> {
        self.apps.values().filter(|app| app.accept_installs)
    }

    /// Where Bitrix24's installation page of an application has to point.
    pub fn install_url(&self) -> String {
        format!("{}/install", self.callback.public_url)
    }
}

impl Endpoint {
    /// Host and port as they stand in a `Host` header: the port only where it is not the scheme's.
    pub fn authority(&self) -> String {
        let default = if self.tls { 443 } else { 80 };
        let host =
            if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        if self.port == default { host } else { format!("{host}:{}", self.port) }
    }

    /// Scheme, host and port of an absolute `http` or `https` URL; the rest is not looked at.
    pub fn of_url(url: &str) -> Option<Self> {
        let url: http::Uri = url.parse().ok()?;
        let tls = match url.scheme_str()? {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let authority = url.authority()?;
        if authority.as_str().contains('@') {
            return None;
        }
        let host = url.host()?.trim_start_matches('[').trim_end_matches(']');
        let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
        let port = url.port_u16().unwrap_or(if tls { 443 } else { 80 });
        (!host.is_empty()).then_some(Self { tls, host, port })
    }

    /// Whether it names this machine, so that plain HTTP leaves nothing on a wire.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost"
            || self.host.ends_with(".localhost")
            || self.host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority())
    }
}
