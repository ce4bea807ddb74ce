//! Connections to portals and OAuth servers: TCP, and TLS with the platform's roots.
//!
//! Nothing here retries or decides; a failure says which step it was, because "the connection was
//! never made" and "the connection broke" mean different things to a caller that must not send a
//! request twice.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

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
}

/// Why there is no connection. No variant means that anything was sent.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The host name does not resolve.
    #[error("the name does not resolve")]
    Name(#[source] io::Error),
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
    pub fn tls_fault(&self) -> Option<&'static str> {
        let Self::Tls(error) = self else {
            return None;
        };
        let reason = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let Some(rustls::Error::InvalidCertificate(fault)) = reason else {
            return Some("it does not complete a TLS handshake");
        };
        Some(match fault {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "its certificate has expired"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "its certificate is for another host name"
            }
            _ => "its certificate is not trusted; for an authority of your own set ca_file",
        })
    }
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
        Ok(Self { tls: TlsConnector::from(Arc::new(config)) })
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
        let tcp = connect_tcp(endpoint).await?;
        if !endpoint.tls {
            return Ok(Stream::Plain(tcp));
        }
        let name = ServerName::try_from(endpoint.host.clone())
            .map_err(|error| TransportError::Name(io::Error::other(error)))?;
        let tls = self.tls.connect(name, tcp).await.map_err(TransportError::Tls)?;
        Ok(Stream::Tls(Box::new(tls)))
    }
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connector").finish_non_exhaustive()
    }
}

/// Tries the addresses one after another, each for a share of the time: a dead IPv6 route must not
/// use up what IPv4 would need.
async fn connect_tcp(endpoint: &Endpoint) -> Result<TcpStream, TransportError> {
    let addresses = tokio::net::lookup_host((endpoint.host.as_str(), endpoint.port))
        .await
        .map_err(TransportError::Name)?;
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match tokio::time::timeout(PER_ADDRESS, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                stream.set_nodelay(true).map_err(TransportError::Connect)?;
                return Ok(stream);
            }
            Ok(Err(error)) => last = error,
            Err(_elapsed) => last = io::Error::from(io::ErrorKind::TimedOut),
        }
    }
    Err(TransportError::Connect(last))
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
