//! A simulated Bitrix24 portal with its OAuth server, for tests and for people who try the gateway
//! out without a portal.
//!
//! It keeps the promises of the real one that a gateway relies on - where a token may be, in which
//! order a call is checked, what errors look like, how tokens rotate - and can be made to break
//! every one of them: see `POST /sandbox/fault` and [`Switches`]. It counts what really ran, so that
//! "exactly once" can be proved, and logs requests byte for byte. No other room uses it.

mod answer;
mod auth;
mod authorize;
mod batch;
mod connection;
mod control;
mod crm;
mod deliver;
mod endpoint;
mod events;
mod faults;
mod files;
mod frame;
mod installs;
mod journal;
mod limits;
mod links;
mod listener;
mod methods;
mod modes;
mod oauth;
mod pages;
mod params;
mod people;
mod plan;
mod portal;
mod records;
mod sender;
mod state;
mod switches;
mod text;
mod tokens;
mod v3;
mod value;
mod wire;

#[cfg(test)]
mod tests;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub use answer::Disguise;
pub use control::Control;
pub use journal::Entry;
pub use switches::{Limits, OauthAnswer, Rotation, Switches};

use state::{Addresses, Identity, Place, State};

/// How a sandbox starts. Everything but the addresses can be changed while it runs.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the portal listens; the OAuth server, too, unless it has an address of its own.
    pub listen: SocketAddr,
    /// An address for the OAuth server alone, so that it can be down while the portal is up.
    pub oauth_listen: Option<SocketAddr>,
    /// The address of the portal after a renaming.
    pub renamed_listen: Option<SocketAddr>,
    /// How long access tokens live.
    pub token_ttl: Duration,
    /// Whether a refresh token can be used again.
    pub rotation: Rotation,
    /// The leaky bucket in front of the portal.
    pub limits: Option<Limits>,
    /// The portal's `member_id`; made up if absent.
    pub member_id: Option<String>,
    /// The app's client id and secret; made up if absent.
    pub client: Option<(String, String)>,
    /// All other switches; the three above win.
    pub switches: Switches,
}

impl Default for Options {
    /// For tests: a free port of the loopback, tokens of an hour, strict rotation, no limits.
    fn default() -> Self {
        Self {
            listen: LOOPBACK,
            oauth_listen: None,
            renamed_listen: None,
            token_ttl: Duration::from_hours(1),
            rotation: Rotation::Strict,
            limits: None,
            member_id: None,
            client: None,
            switches: Switches::default(),
        }
    }
}

impl Options {
    /// For tests of outages and renamings: three listeners on free ports of the loopback.
    pub fn apart() -> Self {
        let free = Some(LOOPBACK);
        Self { oauth_listen: free, renamed_listen: free, ..Self::default() }
    }

    /// For people: tokens that live 20 s, so that renewals can be watched, and the true limits.
    pub fn for_people(listen: SocketAddr) -> Self {
        Self {
            listen,
            token_ttl: Duration::from_secs(20),
            limits: Some(Limits::default()),
            ..Self::default()
        }
    }
}

/// What a gateway must be told to work with the sandbox, with a fresh pair in it.
#[derive(Clone, Debug)]
pub struct Seed {
    /// The app's id.
    pub client_id: String,
    /// The app's secret.
    pub client_secret: String,
    /// `http://host:port` of the portal.
    pub portal_url: String,
    /// `http://host:port` of the OAuth server; its token endpoint is `/oauth/token/`.
    pub oauth_url: String,
    /// `<user>/<secret>` of the incoming webhook.
    pub webhook: String,
    /// The portal's stable key.
    pub member_id: String,
    /// Whose rights the tokens have.
    pub user_id: u32,
    /// The access token.
    pub access_token: String,
    /// The refresh token.
    pub refresh_token: String,
    /// Seconds that the access token lives.
    pub expires_in: u64,
    /// The pair as the OAuth server would answer it.
    pub token_response: serde_json::Value,
}

/// A running portal with its OAuth server; dropping it ends both and every connection.
#[derive(Debug)]
pub struct Sandbox {
    state: Arc<State>,
    tasks: JoinSet<std::convert::Infallible>,
}

impl Sandbox {
    /// Starts to listen.
    #[expect(clippy::unused_async, reason = "it needs a runtime to listen on, and shows it so")]
    pub async fn start(options: Options) -> io::Result<Self> {
        let portal = listener::listen(options.listen)?;
        let (oauth, renamed) = (bind(options.oauth_listen)?, bind(options.renamed_listen)?);
        let local = |listener: &Option<TcpListener>| {
            listener.as_ref().map(TcpListener::local_addr).transpose()
        };
        let addresses = Addresses {
            portal: portal.local_addr()?,
            oauth: local(&oauth)?,
            renamed: local(&renamed)?,
        };
        let state = Arc::new(State::new(options.identity(), addresses, options.all_switches()));
        let mut tasks = JoinSet::new();
        let places = [
            (Some(portal), Some(addresses.portal), Place::Portal),
            (oauth, addresses.oauth, Place::Oauth),
            (renamed, addresses.renamed, Place::Renamed),
        ];
        for (listener, address, place) in places {
            if let Some((listener, address)) = listener.zip(address) {
                tasks.spawn(listener::run(Arc::clone(&state), listener, address, place));
            }
        }
        Ok(Self { state, tasks })
    }

    /// Where the portal listens.
    pub fn address(&self) -> SocketAddr {
        self.state.addresses.portal
    }

    /// Where the OAuth server listens.
    pub fn oauth_address(&self) -> SocketAddr {
        self.state.addresses.oauth.unwrap_or(self.state.addresses.portal)
    }

    /// Where the portal listens after a renaming.
    pub fn renamed_address(&self) -> Option<SocketAddr> {
        self.state.addresses.renamed
    }

    /// Issues a fresh pair.
    pub fn seed(&self) -> Seed {
        self.control().seed()
    }

    /// Switches and counters.
    pub fn control(&self) -> Control {
        Control::new(Arc::clone(&self.state))
    }

    /// Serves until the listeners fail, which they do not.
    pub async fn wait(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Options {
    fn identity(&self) -> Identity {
        let mut identity = Identity::invent();
        if let Some(member_id) = &self.member_id {
            identity.member_id.clone_from(member_id);
        }
        if let Some((id, secret)) = &self.client {
            identity.client_id.clone_from(id);
            identity.client_secret.clone_from(secret);
        }
        identity
    }

    fn all_switches(&self) -> Switches {
        Switches {
            token_ttl_ms: u64::try_from(self.token_ttl.as_millis()).unwrap_or(u64::MAX),
            rotation: self.rotation,
            limits: self.limits,
            ..self.switches.clone()
        }
    }
}

fn bind(address: Option<SocketAddr>) -> io::Result<Option<TcpListener>> {
    address.map(listener::listen).transpose()
}

/// Runs the portal alone, for the tests of other people's programs: prints where it is, a pair, and
/// what can be switched.
pub async fn run_portal_only(listen: SocketAddr) -> io::Result<()> {
    let sandbox = Sandbox::start(Options::for_people(listen)).await?;
    #[expect(clippy::print_stdout, reason = "a command of the command line")]
    {
        print!("{}", introduction(&sandbox));
    }
    sandbox.wait().await;
    Ok(())
}

/// What a person needs to begin: addresses, a pair, and lines for curl.
pub fn introduction(sandbox: &Sandbox) -> String {
    let seed = sandbox.seed();
    let (url, token) = (&seed.portal_url, &seed.access_token);
    let expires = seed.expires_in;
    let json = serde_json::to_string_pretty(&seed.token_response).unwrap_or_default();
    format!(
        "A simulated Bitrix24 portal listens on {url}\n\n\
         portal         {url}/rest/\n\
         token endpoint {}/oauth/token/\n\
         client id      {}\n\
         client secret  {}\n\
         webhook        {url}/rest/{}/\n\n\
         A token response to import (access tokens live {expires} s):\n{json}\n\n\
         Try:\n  \
         curl '{url}/rest/profile.json?auth={token}'\n  \
         curl {url}/sandbox/                  # everything that can be switched\n  \
         curl {url}/sandbox/state             # counters, tokens\n  \
         curl {url}/sandbox/log               # the last requests, byte for byte\n  \
         curl -X POST {url}/sandbox/seed      # a fresh pair\n  \
         curl -X POST {url}/sandbox/expire    # all access tokens expire now\n  \
         curl {url}/sandbox/fault -d '{{\"portal\":{{\"mode\":\"query_limit\",\"count\":1}}}}'\n  \
         curl {url}/sandbox/fault -d '{{\"oauth\":{{\"mode\":\"invalid_grant\"}}}}'\n  \
         curl -X DELETE {url}/sandbox/fault   # no faults\n  \
         curl {url}/sandbox/switch -d '{{\"token_ttl_ms\":5000}}'\n\n\
         The ways in, for an application that listens at http://localhost:8026:\n  \
         curl {url}/sandbox/switch -d '{{\"redirect_uri\":\"http://localhost:8026/oauth/callback\"}}'\n  \
         curl {url}/sandbox/install -d '{{\"url\":\"http://localhost:8026/install\"}}'\n  \
         curl {url}/sandbox/event -d '{{\"event\":\"ONAPPINSTALL\",\"url\":\"http://localhost:8026/events\"}}'\n  \
         open {url}/sandbox/app?url=http://localhost:8026/install\n",
        seed.oauth_url, seed.client_id, seed.client_secret, seed.webhook,
    )
}

/// The permissions that the simulated app has.
const SCOPES: [&str; 6] = ["crm", "department", "disk", "task", "tasks", "user"];
/// A free port of the loopback.
const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
