//! The local authority and the certificates that the gateway shows to its clients.
//!
//! The authority lies in the state directory and is made when it is first of use. The certificate
//! that clients see is made by it in memory, for 90 days, and never written; or it is the operator's
//! own. A worker reads what is to be shown without waiting.

mod authority;
mod certificate;
mod leaf;
mod names;
mod own;

pub use authority::Authority;
pub use certificate::{Facts, fingerprint};
pub use names::Names;
pub use own::facts as own_facts;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwapOption;
use rustls::ServerConfig;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use time::{Duration, OffsetDateTime};

use crate::ca::leaf::Leaf;
use crate::config::ServerTls;
use crate::store::StateError;

/// What clients that speak TLS are shown.
#[derive(Debug)]
pub struct Certificates {
    state: PathBuf,
    /// Nothing as long as there is no authority and nobody has asked.
    shown: ArcSwapOption<Leaf>,
    changing: Mutex<Changing>,
}

/// What only one at a time may change.
#[derive(Debug)]
struct Changing {
    source: Source,
    names: Names,
    /// When making an authority has failed.
    failed_at: Option<OffsetDateTime>,
}

/// Where the certificate comes from.
#[derive(Debug)]
enum Source {
    /// The local authority, as soon as there is one.
    Local(Option<Box<Authority>>),
    /// The operator's files.
    Own,
}

/// A certificate that has been looked over and is not shown yet.
#[derive(Debug)]
pub struct Prepared {
    source: Source,
    names: Names,
    leaf: Option<Arc<Leaf>>,
}

/// Why there is no certificate.
#[derive(Debug, thiserror::Error)]
pub enum CaError {
    /// The state directory, or a file in it that other users can reach.
    #[error(transparent)]
    State(#[from] StateError),
    /// A file of the authority is not what it was.
    #[error("{} {problem}; {mend}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: &'static str,
        /// What to do about it.
        mend: String,
    },
    /// The operator's file cannot be used.
    #[error("gateway.tls: {} {problem}", path.display())]
    Own {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The operator's key can be read by other users.
    #[error("gateway.tls: {0}")]
    UnsafeKey(String),
    /// A certificate cannot be made.
    #[error("no certificate can be made: {0}")]
    Made(#[from] rcgen::Error),
    /// TLS cannot use it.
    #[error("the certificate cannot be used: {0}")]
    Used(#[from] rustls::Error),
    /// There are no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(#[from] getrandom::Error),
}

impl CaError {
    /// The exit code of a process that ends with this error.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::State(error) => error.exit_code(),
            Self::UnsafeKey(_) => 3,
            Self::Own { .. } => 2,
            Self::Damaged { .. } | Self::Made(_) | Self::Used(_) | Self::Random(_) => 1,
        }
    }

    /// Whether the disk is to blame, which is no reason not to serve those who need no TLS.
    fn may_pass(&self) -> bool {
        matches!(self, Self::State(StateError::Io { .. }))
    }
}

impl Certificates {
    /// What is shown for `names`: the files of `tls`, or a certificate of the authority in `state`.
    /// Where there is none yet, nothing is made before it is asked for.
    pub fn new(state: &Path, tls: &ServerTls, names: Names) -> Result<Self, CaError> {
        let now = OffsetDateTime::now_utc();
        let prepared = match prepare(state, tls, names.clone(), now) {
            Ok(prepared) => prepared,
            Err(error) if error.may_pass() => {
                tracing::warn!(%error, "no certificate: clients that speak TLS are turned away");
                Prepared { source: Source::Local(None), names, leaf: None }
            }
            Err(error) => return Err(error),
        };
        let Prepared { source, names, leaf } = prepared;
        let changing = Changing { source, names, failed_at: None };
        let changing = Mutex::new(changing);
        Ok(Self { state: state.to_owned(), shown: ArcSwapOption::new(leaf), changing })
    }

    /// Looks other settings over; nothing is changed before [`Certificates::adopt`].
    pub fn prepare(&self, tls: &ServerTls, names: Names) -> Result<Prepared, CaError> {
        prepare(&self.state, tls, names, OffsetDateTime::now_utc())
    }

    /// Shows this from now on.
    pub fn adopt(&self, prepared: Prepared) {
        let Prepared { source, names, leaf } = prepared;
        let mut changing = self.changing();
        *changing = Changing { source, names, failed_at: None };
        self.shown.store(leaf);
    }

    /// Whether there is something to show.
    pub fn is_ready(&self) -> bool {
        self.shown.load().is_some()
    }

    /// Makes the authority, if there is none. It writes to the disk: not for a worker's thread.
    pub fn make_ready(&self) {
        let now = OffsetDateTime::now_utc();
        let mut changing = self.changing();
        let Changing { source: Source::Local(authority @ None), names, failed_at } = &mut *changing
        else {
            return;
        };
        // Who comes meanwhile need not find the same out again.
        if failed_at.is_some_and(|at| (now - at).abs() < PAUSE) {
            return;
        }
        let made = Authority::open(&self.state, now)
            .and_then(|authority| Ok((authority.issue(names, now)?, authority)));
        match made {
            Ok((leaf, made)) => {
                *authority = Some(Box::new(made));
                self.shown.store(Some(Arc::new(leaf)));
            }
            Err(error) => {
                *failed_at = Some(now);
                tracing::warn!(%error, "no certificate: clients that speak TLS are turned away");
            }
        }
    }

    /// Keeps what is shown good for `names` and for today. Of a local authority there must be one.
    pub fn tend(&self, names: Names) {
        self.tend_at(names, OffsetDateTime::now_utc());
    }

    fn tend_at(&self, names: Names, now: OffsetDateTime) {
        let mut changing = self.changing();
        let others = changing.names != names;
        changing.names = names;
        let Source::Local(Some(authority)) = &mut changing.source else { return };
        let old = authority.is_due(now);
        if old {
            match Authority::open(&self.state, now) {
                Ok(renewed) => **authority = renewed,
                Err(error) => tracing::warn!(%error, "the local authority is not renewed"),
            }
        }
        let shown = self.shown.load();
        if others || shown.as_ref().is_none_or(|leaf| leaf.is_due(now)) {
            drop(self.renew(&changing, now));
        }
    }

    /// What is to be shown at this moment. Asked at every handshake, because a clock may jump.
    fn current(&self, now: OffsetDateTime) -> Option<Arc<Leaf>> {
        let leaf = self.shown.load_full()?;
        if !leaf.is_due(now) {
            return Some(leaf);
        }
        // Somebody else is at it; until then the old one does.
        let Ok(changing) = self.changing.try_lock() else { return Some(leaf) };
        Some(self.renew(&changing, now).unwrap_or(leaf))
    }

    fn renew(&self, changing: &Changing, now: OffsetDateTime) -> Option<Arc<Leaf>> {
        let Source::Local(Some(authority)) = &changing.source else { return None };
        match authority.issue(&changing.names, now) {
            Ok(leaf) => {
                let leaf = Arc::new(leaf);
                self.shown.store(Some(leaf.clone()));
                tracing::debug!(names = changing.names.count(), "new certificate");
                Some(leaf)
            }
            Err(error) => {
                tracing::warn!(%error, "the certificate is not renewed");
                None
            }
        }
    }

    fn changing(&self) -> MutexGuard<'_, Changing> {
        self.changing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.current(OffsetDateTime::now_utc()).map(|leaf| leaf.certified.clone())
    }
}

/// How TLS is spoken with clients: HTTP/1.1 and nothing else, whatever they would rather have.
pub fn server_config(certificates: Arc<Certificates>) -> Result<Arc<ServerConfig>, CaError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider);
    let mut config = builder
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn prepare(
    state: &Path,
    tls: &ServerTls,
    names: Names,
    now: OffsetDateTime,
) -> Result<Prepared, CaError> {
    let (source, leaf) = match tls {
        ServerTls::Files { cert, key } => (Source::Own, Some(own::load(cert, key)?)),
        ServerTls::LocalCa => match Authority::find(state, now)? {
            None => (Source::Local(None), None),
            Some(authority) => {
                let leaf = authority.issue(&names, now)?;
                (Source::Local(Some(Box::new(authority))), Some(leaf))
            }
        },
    };
    Ok(Prepared { source, names, leaf: leaf.map(Arc::new) })
}

/// Between two attempts to make an authority where the disk does not take it.
const PAUSE: Duration = Duration::seconds(10);

#[cfg(test)]
mod tests;
