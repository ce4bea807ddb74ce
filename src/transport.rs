//! TCP and TLS connections to portals and OAuth servers. Never retries: only the caller knows
//! whether a second try is safe.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, rustls};

use crate::config::Endpoint;

/// Makes connections; cheap to clone.
#[derive(Clone)]
pub struct Connector {
    tls: Arc<rustls::ClientConfig>,
}

/// Why there is no connection. Nothing of a request has been sent.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The name does not resolve.
    #[error("the name does not resolve: {0}")]
    Name(io::Error),
    /// No address takes the connection.
    #[error("no connection: {0}")]
    Connect(io::Error),
    /// It took too long.
    #[error("no connection in time")]
    Timeout,
    /// The TLS handshake failed.
    #[error("TLS: {0}")]
    Tls(io::Error),
    /// The certificates to trust cannot be read.
    #[error("the trusted certificates cannot be loaded from {path:?}")]
    Roots {
        /// The file, when it is not the platform's store.
        path: Option<PathBuf>,
    },
}

/// A connection, plain or TLS.
#[derive(Debug)]
pub enum Stream {
    /// Without TLS.
    Plain(TcpStream),
    /// With TLS.
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

impl std::fmt::Debug for Connector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Connector")
    }
}

impl Connector {
    /// Trusts what the platform trusts.
    pub fn new(extra_roots: Option<&Path>) -> Result<Self, TransportError> {
        let roots = || TransportError::Roots {
            path: extra_roots.map(Path::to_owned),
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(rustls_platform_verifier::BuilderVerifierExt::with_platform_verifier)
            .map_err(|_unreadable| roots())?
            .with_no_client_auth();
        Ok(Self { tls: Arc::new(tls) })
    }

    /// Connects within `limit`, TLS included.
    pub async fn connect(
        &self,
        endpoint: &Endpoint,
        limit: Duration,
    ) -> Result<Stream, TransportError> {
        tokio::time::timeout(limit, self.open(endpoint))
            .await
            .unwrap_or(Err(TransportError::Timeout))
    }

    async fn open(&self, endpoint: &Endpoint) -> Result<Stream, TransportError> {
        let tcp = TcpStream::connect((endpoint.host.as_str(), endpoint.port))
            .await
            .map_err(TransportError::Connect)?;
        tcp.set_nodelay(true).map_err(TransportError::Connect)?;
        if !endpoint.tls {
            return Ok(Stream::Plain(tcp));
        }
        let name = ServerName::try_from(endpoint.host.clone())
            .map_err(|error| TransportError::Tls(io::Error::other(error)))?;
        let tls = TlsConnector::from(Arc::clone(&self.tls))
            .connect(name, tcp)
            .await
            .map_err(TransportError::Tls)?;
        Ok(Stream::Tls(Box::new(tls)))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
