//! Puts the rooms together once, waits for signals, and takes them apart in the right order.

mod arrived;
mod clients;
mod desk;
mod gate;
mod keeper;
mod names;
mod reload;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;

use crate::admin::{self, Admin, Readiness};
use crate::alerts::Alerts;
use crate::audit::{Archive, Scribe};
use crate::ca::{CaError, Certificates};
use crate::client::Register;
use crate::config::Config;
use crate::connect::{Connect, Means};
use crate::control::Control;
use crate::credential::{Custody, OAuth};
use crate::gateway::Gateway;
use crate::gateway::listener::{BindError, Bound};
use crate::gateway::worker::Workers;
use crate::portal::Portals;
use crate::store::{OpenError, Origin, SqliteStore, StateDirectory, StoreError};
use crate::transport::{Connector, TransportError};

use self::desk::Rooms;
use self::gate::Gate;

/// The running gateway.
#[derive(Debug)]
pub struct App {
    gateway: Arc<Gateway>,
    clients: Arc<Register>,
    portals: Arc<Portals>,
    custody: Arc<Custody>,
    store: Arc<SqliteStore>,
    connector: Connector,
    config: Arc<ArcSwap<Config>>,
    readiness: Arc<Readiness>,
    workers: Workers,
    side_doors: Vec<JoinHandle<()>>,
    keeper: JoinHandle<()>,
    alerts: Alerts,
    certificates: Arc<Certificates>,
    scribe: Scribe,
    addresses: Vec<String>,
    admin_url: String,
    callback_url: String,
    signals: Signals,
    /// Its lock keeps other processes out for as long as this one lives.
    _state: StateDirectory,
}

/// What the operating system sends to a running gateway.
#[derive(Debug)]
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// Where SIGHUP reads the configuration from.
#[derive(Clone, Debug)]
pub enum Source {
    /// `--config`, or wherever files are looked for.
    File(Option<PathBuf>),
    /// There is nothing to reload.
    Fixed,
}

/// Why the gateway does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store does not open.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// The store opens and cannot be read.
    #[error("the store cannot be read: {0}")]
    Load(#[from] StoreError),
    /// An address is taken or not allowed.
    #[error("{0} (is another b24gate running? `b24gate check` tells)")]
    Bind(#[from] BindError),
    /// Trusted certificates cannot be loaded.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// The certificate for clients that speak TLS cannot be used.
    #[error(transparent)]
    Certificate(#[from] CaError),
    /// The sandbox cannot set itself up.
    #[error("the sandbox does not start: {0}")]
    Sandbox(String),
    /// The operating system refuses threads, signals or the control socket.
    #[error("{what}: {source}")]
    System {
        /// What was being done.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

impl StartError {
    /// The exit code of a process that ends with this error.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Store(error) => error.exit_code(),
            Self::Transport(TransportError::Roots { .. }) => 2,
            Self::Certificate(error) => error.exit_code(),
            Self::Load(_)
            | Self::Bind(_)
            | Self::Transport(_)
            | Self::Sandbox(_)
            | Self::System { .. } => 1,
        }
    }
}

impl App {
    /// Starts everything; on return the gateway is serving.
    pub async fn start(config: Config, state: StateDirectory) -> Result<Self, StartError> {
        raise_descriptor_limit();
        // Before anything says that the gateway is there: a signal that nobody listens to kills it.
        let signals = Signals::listen().map_err(system("waiting for signals"))?;
        // Addresses first: a second process on the same ports must not touch anything else.
        let sockets = gate::bind(&config.gateway)?;
        let (admin, admin_address) = listen(config.admin.listen).await?;
        let (callback, callback_address) = listen(config.callback.listen).await?;
        let (store, origin) = open_store(&state, &config).await?;
        let connector = connector(&sockets)?;
        let custody = Custody::new(store.clone(), OAuth::new(connector.clone()), Handle::current());
        let custody = Arc::new(custody);
        let portals = Arc::new(Portals::default());
        let means = reload::Means { custody: &custody, registry: &*store, connector: &connector };
        reload::populate(&portals, &config, &means).await?;
        let admin_url = format!("http://{admin_address}/");
        let clients = clients::open(&store, &custody, &config).await?;
        let rooms = (&portals, &*custody, &*clients);
        let Gate { gateway, certificates, scribe } =
            Gate::open((&config, &state), &admin_url, &sockets, rooms)?;
        let watched = (portals.clone(), custody.clone());
        let alerts = Alerts::start(watched, &connector, config.alerts.clone(), &admin_url).await?;
        let config = Arc::new(ArcSwap::from_pointee(config));
        let connect = Arc::new(Connect::new(Means {
            portals: portals.clone(),
            custody: custody.clone(),
            registry: store.clone(),
            connector: connector.clone(),
            config: config.clone(),
        }));
        let readiness = Arc::new(Readiness::new(portals.clone(), custody.clone(), clients.clone()));
        let rooms = Rooms {
            portals: portals.clone(),
            custody: custody.clone(),
            store: (store.clone(), origin),
            connect: connect.clone(),
            readiness: readiness.clone(),
            clients: clients::Clients::new(&clients, &portals, &config, &sockets),
        };
        let pages = pages(&rooms, &config, &sockets, Archive::of(state.path()))?;
        let workers = start_workers(&gateway, &sockets)?;
        let control = control(&state).await?;
        let side_doors = vec![
            tokio::spawn(control.serve(desk::desk(rooms))),
            tokio::spawn(pages.serve(admin)),
            tokio::spawn(crate::callback::serve(callback, connect.clone())),
            tokio::spawn(connect.work_on_letters()),
        ];
        Ok(Self {
            keeper: keeper::start(&portals, &certificates, &config),
            certificates,
            addresses: sockets.iter().map(Bound::address).collect(),
            admin_url,
            callback_url: format!("http://{callback_address}/"),
            config,
            signals,
            _state: state,
            gateway,
            clients,
            portals,
            custody,
            store,
            connector,
            readiness,
            workers,
            side_doors,
            alerts,
            scribe,
        })
    }

    /// Where clients connect.
    pub fn addresses(&self) -> &[String] {
        &self.addresses
    }

    /// Where clients connect that speak TLS.
    pub fn tls_addresses(&self) -> impl Iterator<Item = String> {
        let tcp = self.addresses.iter().filter_map(|address| address.strip_prefix("http://"));
        tcp.map(|address| format!("https://{address}"))
    }

    /// Where the operator looks.
    pub fn admin_url(&self) -> &str {
        &self.admin_url
    }

    /// Where browsers and Bitrix24's servers come back to.
    pub fn callback_url(&self) -> &str {
        &self.callback_url
    }

    /// The portals being served.
    pub fn portals(&self) -> &Arc<Portals> {
        &self.portals
    }

    /// Serves until SIGTERM or SIGINT; SIGHUP reloads the configuration from `source`.
    pub async fn run(mut self, source: Source) {
        loop {
            tokio::select! {
                _ = self.signals.terminate.recv() => break,
                _ = self.signals.interrupt.recv() => break,
                _ = self.signals.hangup.recv() => Box::pin(self.hang_up(&source)).await,
            }
        }
        self.stop().await;
    }

    async fn hang_up(&self, source: &Source) {
        match source {
            Source::File(path) => Box::pin(self.reload(path.as_deref())).await,
            Source::Fixed => tracing::info!("SIGHUP: there is no configuration to reload"),
        }
    }

    /// Answers what is in flight, waits for exchanges, closes the store. Further signals change
    /// nothing: an exchange that is cut short can cost a portal its credential.
    async fn stop(self) {
        tracing::info!("stopping: no new connections, requests in flight are answered");
        self.readiness.stop();
        let Signals { mut terminate, mut interrupt, .. } = self.signals;
        let impatient = tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                tracing::warn!("already stopping; a token refresh in flight is waited for");
            }
        });
        // What is not due for a call can wait for the next start.
        self.keeper.abort();
        self.workers.drain().await;
        wait_for_exchanges(&self.custody, &self.portals).await;
        self.scribe.stop().await;
        self.alerts.stop().await;
        for door in self.side_doors {
            door.abort();
        }
        self.store.close().await;
        impatient.abort();
        tracing::info!("stopped");
    }
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
        })
    }
}

/// Waits for what is in the air. What the journal holds survives the end of the process; a pair that
/// is in memory only does not, and is waited for as long as it takes.
async fn wait_for_exchanges(custody: &Custody, portals: &Portals) {
    let mut limit = EXCHANGE_MAX;
    while !custody.flights().wait_idle(limit).await {
        let held = portals.all();
        let Some(portal) = held.iter().find(|portal| portal.status().memory_only) else {
            tracing::error!("stopping although an exchange or its storing is not finished");
            return;
        };
        tracing::error!(
            portal = %portal.name,
            "NOT stopping: a renewed pair is in memory only; mend the store, then it is written"
        );
        limit = REMIND;
    }
}

/// It leads everywhere but to this gateway itself.
fn connector(sockets: &[Bound]) -> Result<Connector, TransportError> {
    let own = sockets.iter().filter_map(Bound::tcp).collect();
    Ok(Connector::new(None)?.apart_from(own))
}

/// The store, and where it lies.
async fn open_store(
    state: &StateDirectory,
    config: &Config,
) -> Result<(Arc<SqliteStore>, Origin), StartError> {
    let store = Arc::new(SqliteStore::open(state, &config.store).await?);
    Ok((store, Origin::new(state.path(), &config.store)?))
}

/// Where commands reach this process.
async fn control(state: &StateDirectory) -> Result<Control, StartError> {
    Control::bind(state.path()).await.map_err(system("opening the control socket"))
}

/// What an operator sees of the rooms, and does there.
fn pages(
    rooms: &Rooms,
    config: &Arc<ArcSwap<Config>>,
    sockets: &[Bound],
    calls: Archive,
) -> Result<Admin, StartError> {
    let means = admin::Means {
        readiness: rooms.readiness.clone(),
        portals: rooms.portals.clone(),
        custody: rooms.custody.clone(),
        connect: rooms.connect.clone(),
        clients: rooms.clients.register.clone(),
        config: config.clone(),
        calls,
        addresses: sockets.iter().map(Bound::address).collect(),
    };
    let failed = |source| StartError::System { what: "drawing random numbers", source };
    Admin::new(means).map_err(failed)
}

/// One for each core.
fn start_workers(gateway: &Arc<Gateway>, sockets: &[Bound]) -> Result<Workers, StartError> {
    let count = std::thread::available_parallelism().map_or(1, usize::from);
    Workers::start(gateway, sockets, count).map_err(system("starting workers"))
}

/// What the operating system refuses.
fn system(what: &'static str) -> impl FnOnce(std::io::Error) -> StartError {
    move |source| StartError::System { what, source }
}

async fn listen(address: SocketAddr) -> Result<(TcpListener, SocketAddr), BindError> {
    let failed = |source| BindError { address: address.to_string(), source };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

/// Thousands of clients need as many descriptors; the usual soft limit is 1,024.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit of file descriptors stays as it is");
    }
}

/// How often an operator who waits for the end is told why it does not come.
const REMIND: Duration = Duration::from_secs(10);

/// The token endpoint's time limit is half of this; the rest is for storing.
const EXCHANGE_MAX: Duration = Duration::from_mins(1);
