//! How a portal gets its credential, other than by an import: a browser login, an installation, an
//! event; and what an operator may do to a portal. No HTTP here: `callback` and `admin` speak it.

mod arrivals;
mod claim;
mod events;
mod form;
mod install;
mod logins;
mod operate;
mod recent;
mod verify;
mod welcome;

pub use events::{EventError, EventOutcome};
pub use form::Form;
pub use install::{InstallError, Installed};
pub use logins::{CallbackError, Login, LoginId, Outcome, Start, Way};
pub use operate::OperateError;
pub use recent::{Happening, Recent};

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::config::Config;
use crate::credential::Custody;
use crate::portal::Portals;
use crate::store::Registry;
use crate::transport::Connector;

use self::arrivals::Arrivals;
use self::events::Mail;
use self::install::Followed;
use self::logins::Logins;
use self::verify::Claims;

/// Everything by which portals come and go; one per process.
#[derive(Debug)]
pub struct Connect {
    pub(in crate::connect) portals: Arc<Portals>,
    pub(in crate::connect) custody: Arc<Custody>,
    pub(in crate::connect) registry: Arc<dyn Registry>,
    pub(in crate::connect) connector: Connector,
    pub(in crate::connect) config: Arc<ArcSwap<Config>>,
    pub(in crate::connect) logins: Logins,
    pub(in crate::connect) recent: Arc<Recent>,
    pub(in crate::connect) claims: Claims,
    pub(in crate::connect) arrivals: Arrivals,
    pub(in crate::connect) mail: Mail,
    pub(in crate::connect) followed: Followed,
    /// What changes of portals, one thing at a time: what is written down and what is served agree.
    pub(in crate::connect) operating: tokio::sync::Mutex<()>,
}

/// What it works with.
#[derive(Debug)]
pub struct Means {
    /// The portals being served.
    pub portals: Arc<Portals>,
    /// Their credentials.
    pub custody: Arc<Custody>,
    /// What else is kept of them.
    pub registry: Arc<dyn Registry>,
    /// How portals that arrive are reached.
    pub connector: Connector,
    /// The configuration in force.
    pub config: Arc<ArcSwap<Config>>,
}

impl Connect {
    /// Nothing is under way yet.
    pub fn new(means: Means) -> Self {
        let Means { portals, custody, registry, connector, config } = means;
        Self {
            portals,
            custody,
            registry,
            connector,
            config,
            logins: Logins::default(),
            recent: Arc::default(),
            claims: Claims::default(),
            arrivals: Arrivals::default(),
            mail: Mail::default(),
            followed: Followed::default(),
            operating: tokio::sync::Mutex::default(),
        }
    }

    /// What happened lately, newest first.
    pub fn recent(&self) -> &Recent {
        &self.recent
    }
}
