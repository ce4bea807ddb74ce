//! Connections to portals and OAuth servers: TCP, and TLS with the platform's roots.
//!
//! Nothing here retries or decides; a failure says which step it was, because "the connection was
//! never made" and "the connection broke" mean different things to a caller that must not send a
//! request twice.

mod public;

use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{CertificateError, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::config::Endpoint;

/// Makes connections; cheap to clone, and its clones share one TLS session cache.
#[derive(Clone)]
pub struct Connector {
    tls: TlsConnector,
    reach: Reach,
    /// Where this process listens itself.
    own: Arc<[SocketAddr]>,
}

/// Which addresses a connector dials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// Any: the operator has named the host.
    Anywhere,
    /// Those of the public internet: somebody else has.
    PublicOnly,
}

/// Why there is no connection. No variant means that anything was sent.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The host name does not resolve.
    #[error("the name does not resolve")]
    Name(#[source] io::Error),
    /// The host is not on the public internet, and this connector goes nowhere else.
    #[error("the name leads to an address of this machine or of a private network")]
    Private,
    /// The gateway itself listens at the address.
    #[error("the name leads back to the gateway itself")]
    Itself,
    /// Nobody answers at the address.
    #[error("the connection is refused or unreachable")]
    Connect(#[source] io::Error),
    /// No connection within the limit.
    #[error("no connection within the time limit")]
    Timeout,
    /// The other side's certificate or handshake is not acceptable.
    #[error("TLS is refused: {0}")]
    Tls(#[source] io::Error),
    /// `ca_file` cannot be used.
    #[error("{path}: {reason}", path = .path.display())]
    Roots {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// A connection, encrypted or not.
#[derive(Debug)]
pub enum Stream {
    /// `http://`
    Plain(TcpStream),
    /// `https://`
    Tls(Box<TlsStream<TcpStream>>),
}

impl TransportError {
    /// What is wrong with the other side's TLS, for people; nothing when that is not the trouble.
    pub fn tls_fault(&self) -> Option<Cow<'static, str>> {
        let Self::Tls(_) = self else {
            return None;
        };
        if let Some(fault) = self.date_fault() {
            return Some(format!("its {fault}").into());
        }
        let Some(fault) = self.certificate_fault() else {
            return Some("it does not complete a TLS handshake".into());
        };
        Some(match fault {
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is for another host name".into()
            }
            _ => "its certificate is not trusted; for an authority of your own set ca_file".into(),
        })
    }

    /// What is wrong with the dates of the other side's certificate, if that is why it is refused.
    /// A machine whose clock is wrong sees this of every server, so the clock's date is told.
    pub fn date_fault(&self) -> Option<String> {
        let fault = match self.certificate_fault()? {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => "has expired",
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "is not valid yet"
            }
            _ => return None,
        };
        Some(format!("certificate {fault}, if this machine's clock is right: it says {}", today()))
    }

    fn certificate_fault(&self) -> Option<&CertificateError> {
        let Self::Tls(error) = self else {
            return None;
        };
        match error.get_ref()?.downcast_ref::<rustls::Error>()? {
            rustls::Error::InvalidCertificate(fault) => Some(fault),
            _ => None,
        }
    }
}

/// The date by this machine's clock, for people who are to see that it is wrong.
pub fn today() -> String {
    date_of(SystemTime::now())
}

/// The date in the Gregorian calendar, UTC: `2026-02-28`.
fn date_of(time: SystemTime) -> String {
    time::OffsetDateTime::from(time).date().to_string()
}

impl Connector {
    /// Trusts the platform's roots, and besides them those in `extra_roots` (PEM).
    pub fn new(extra_roots: Option<&Path>) -> Result<Self, TransportError> {
        let extra = extra_roots.map_or_else(|| Ok(Vec::new()), read_roots)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .map_err(unusable_tls)?;
        let mut config = if extra.is_empty() {
            builder.with_platform_verifier().map_err(unusable_tls)?.with_no_client_auth()
        } else {
            let verifier =
                rustls_platform_verifier::Verifier::new_with_extra_roots(extra, provider)
                    .map_err(unusable_tls)?;
            builder
                .dangerous() // the name of the builder step; the verifier is the platform's
                .with_custom_certificate_verifier(Arc::new(verifier))
                .with_no_client_auth()
        };
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        let tls = TlsConnector::from(Arc::new(config));
        Ok(Self { tls, reach: Reach::Anywhere, own: Arc::default() })
    }

    /// The same for hosts that no operator has named: refuses addresses of this machine and of
    /// private networks. Asked at every dial, of the very address that is dialled, so that a name
    /// that leads elsewhere the second time gains nothing.
    #[must_use]
    pub fn public_only(&self) -> Self {
        Self { reach: Reach::PublicOnly, ..self.clone() }
    }

    /// The same, which never connects to these addresses, because a gateway listens there: a name of a
    /// portal that leads back to it would have it call itself until nothing is left.
    #[must_use]
    pub fn apart_from(self, own: Arc<[SocketAddr]>) -> Self {
        Self { own, ..self }
    }

    /// The same, which trusts the roots in this file (PEM), too.
    pub fn trusting(&self, roots: &Path) -> Result<Self, TransportError> {
        Ok(Self { own: self.own.clone(), ..Self::new(Some(roots))? })
    }

    /// Connects within `limit`, which covers name, TCP and TLS together.
    pub async fn connect(
        &self,
        endpoint: &Endpoint,
        limit: Duration,
    ) -> Result<Stream, TransportError> {
        match tokio::time::timeout(limit, self.connect_unbounded(endpoint)).await {
            Ok(result) => result,
            Err(_elapsed) => Err(TransportError::Timeout),
        }
    }

    async fn connect_unbounded(&self, endpoint: &Endpoint) -> Result<Stream, TransportError> {
        let tcp = connect_tcp(endpoint, self.reach).await?;
        if self.is_own(&tcp) {
            return Err(TransportError::Itself);
        }
        if !endpoint.tls {
            return Ok(Stream::Plain(tcp));
        }
        let name = ServerName::try_from(endpoint.host.clone())
            .map_err(|error| TransportError::Name(io::Error::other(error)))?;
        let tls = self.tls.connect(name, tcp).await.map_err(TransportError::Tls)?;
        Ok(Stream::Tls(Box::new(tls)))
    }
}

impl Connector {
    /// Whether the other end is a listener of this very process.
    fn is_own(&self, tcp: &TcpStream) -> bool {
        let (Ok(there), Ok(here)) = (tcp.peer_addr(), tcp.local_addr()) else { return false };
        self.own.iter().any(|own| {
            let everywhere = own.ip().is_unspecified() && there.ip() == here.ip();
            own.port() == there.port() && (own.ip() == there.ip() || everywhere)
        })
    }
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

/// Tries the addresses one after another, each for a share of the time: a dead IPv6 route must not
/// use up what IPv4 would need.
async fn connect_tcp(endpoint: &Endpoint, reach: Reach) -> Result<TcpStream, TransportError> {
    let addresses = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port))
        .await
        .map_err(TransportError::Name)?;
    let mut last = None;
    for address in addresses {
        if reach == Reach::PublicOnly && !public::is_public(address.ip()) {
            last = last.or(Some(TransportError::Private));
            continue;
        }
        match tokio::time::timeout(PER_ADDRESS, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true).map_err(TransportError::Connect)?;
                return Ok(stream);
            }
            Ok(Err(error)) => last = Some(TransportError::Connect(error)),
            Err(_elapsed) => {
                last = Some(TransportError::Connect(io::Error::from(io::ErrorKind::TimedOut)));
            }
        }
    }
    let nothing = || TransportError::Connect(io::Error::from(io::ErrorKind::AddrNotAvailable));
    Err(last.unwrap_or_else(nothing))
}

fn read_roots(path: &Path) -> Result<Vec<CertificateDer<'static>>, TransportError> {
    let refuse = |reason: String| TransportError::Roots { path: path.to_owned(), reason };
    let certificates = CertificateDer::pem_file_iter(path)
        .map_err(|error| refuse(format!("cannot be read: {error}")))?
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| refuse(format!("is not PEM: {error}")))?;
    if certificates.is_empty() {
        return Err(refuse("holds no certificate (expected PEM, BEGIN CERTIFICATE)".to_owned()));
    }
    let (_, unusable) = RootCertStore::empty().add_parsable_certificates(certificates.clone());
    if unusable > 0 {
        return Err(refuse(format!("{unusable} of its certificates cannot be parsed")));
    }
    Ok(certificates)
}

fn unusable_tls(error: rustls::Error) -> TransportError {
    TransportError::Tls(io::Error::other(error))
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(cx),
        }
    }
}

/// Longest wait for one address of a host that has several.
const PER_ADDRESS: Duration = Duration::from_secs(3);

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let date = |days: u64| date_of(UNIX_EPOCH + Duration::from_secs(days * 86_400 + 86_399));
        for (days, expected) in [
            (0, "1970-01-01"),
            (58, "1970-02-28"),
            (59, "1970-03-01"),
            (789, "1972-02-29"),
            (11_016, "2000-02-29"),
            (11_322, "2000-12-31"),
            (11_323, "2001-01-01"),
            (20_512, "2026-02-28"),
            (20_513, "2026-03-01"),
            (47_540, "2100-02-28"),
            (47_541, "2100-03-01"),
        ] {
            assert_eq!(date(days), expected);
        }
        assert_eq!(date_of(UNIX_EPOCH - Duration::from_secs(1)), "1969-12-31");
    }

    #[tokio::test]
    async fn a_connector_for_the_public_internet_dials_nothing_of_this_machine() {
        let connector = Connector::new(None).unwrap();
        for bind in ["127.0.0.1:0", "[::1]:0"] {
            // A machine without IPv6 has nothing to refuse.
            let Ok(listener) = tokio::net::TcpListener::bind(bind).await else { continue };
            let address = listener.local_addr().unwrap();
            for host in [address.ip().to_string(), "localhost".to_owned()] {
                let endpoint = Endpoint { tls: false, host, port: address.port() };
                let refused = connector.public_only().connect(&endpoint, PER_ADDRESS).await;
                assert!(matches!(refused, Err(TransportError::Private)), "{endpoint}: {refused:?}");
            }
            let accepted = listener.accept();
            let nobody = tokio::time::timeout(Duration::from_millis(50), accepted).await;
            nobody.unwrap_err();
            let host = address.ip().to_string();
            let endpoint = Endpoint { tls: false, host, port: address.port() };
            connector.connect(&endpoint, PER_ADDRESS).await.unwrap();
        }
    }
}
