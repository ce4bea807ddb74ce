//! A client inside TLS, which sees how its connection ends.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::{Gate, PATIENCE, http};

/// The authorities that a client trusts.
#[derive(Debug)]
pub(super) struct Trust {
    roots: RootCertStore,
    pub(super) file: String,
}

impl Trust {
    /// The gateway's own authority, made where there is none.
    pub(super) async fn of(gate: &Gate) -> Self {
        let setup = gate.setup().clone();
        let made = tokio::task::spawn_blocking(move || setup.command(&["ca"], "")).await.unwrap();
        assert!(made.status.success(), "{made:?}");
        Self::in_file(&gate.setup().state().join("ca.pem"))
    }

    pub(super) fn in_file(path: &Path) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_file(path).unwrap()).unwrap();
        Self { roots, file: path.to_str().unwrap().to_owned() }
    }

    pub(super) fn nobody() -> Self {
        Self { roots: RootCertStore::empty(), file: String::new() }
    }

    pub(super) fn config(
        &self,
        version: &'static rustls::SupportedProtocolVersion,
        offers: &[&str],
    ) -> ClientConfig {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(self.roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = offers.iter().map(|offer| offer.as_bytes().to_vec()).collect();
        config
    }
}

/// A connection of it.
#[derive(Debug)]
pub(super) struct Tls {
    pub(super) stream: TlsStream<TcpStream>,
    seen: Vec<u8>,
}

impl Tls {
    pub(super) async fn connect(address: SocketAddr, trust: &Trust) -> Self {
        let config = trust.config(&rustls::version::TLS13, &["http/1.1"]);
        Self::connect_with(address, config).await.unwrap()
    }

    pub(super) async fn connect_with(
        address: SocketAddr,
        config: ClientConfig,
    ) -> std::io::Result<Self> {
        Self::connect_as("localhost", address, config).await
    }

    pub(super) async fn connect_as(
        host: &str,
        address: SocketAddr,
        config: ClientConfig,
    ) -> std::io::Result<Self> {
        let tcp = TcpStream::connect(address).await?;
        tcp.set_nodelay(true)?;
        let host = ServerName::try_from(host.to_owned()).unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(host, tcp).await?;
        Ok(Self { stream, seen: Vec::new() })
    }

    pub(super) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
        self.stream.flush().await.unwrap();
    }

    pub(super) async fn read_until(&mut self, text: &[u8]) {
        loop {
            if let Some(at) = memchr::memmem::find(&self.seen, text) {
                self.seen.drain(..at + text.len());
                return;
            }
            let read = self.stream.read_buf(&mut self.seen);
            let read = tokio::time::timeout(PATIENCE, read).await;
            assert!(read.expect("bytes in time").unwrap() > 0, "the connection has ended");
        }
    }

    /// One answer with a length or in chunks.
    pub(super) async fn answer(&mut self) -> http::Answer {
        loop {
            if let Some((answer, used)) = whole_answer(&self.seen) {
                self.seen.drain(..used);
                return answer;
            }
            let read = self.stream.read_buf(&mut self.seen);
            let read = tokio::time::timeout(PATIENCE, read).await;
            assert!(read.expect("bytes in time").unwrap() > 0, "the connection has ended");
        }
    }

    /// Whether what still comes ends with a `close_notify`.
    pub(super) async fn ends_cleanly(&mut self) -> bool {
        let reading = self.stream.read_to_end(&mut self.seen);
        tokio::time::timeout(PATIENCE, reading).await.expect("an end").is_ok()
    }
}

fn whole_answer(seen: &[u8]) -> Option<(http::Answer, usize)> {
    let body_at = memchr::memmem::find(seen, b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&seen[..body_at]).into_owned();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut answer = http::Answer { status, head, body: Vec::new(), whole: true };
    if let Some(length) = answer.field("content-length") {
        let end = body_at + length.parse::<usize>().unwrap();
        answer.body = seen.get(body_at..end)?.to_vec();
        return Some((answer, end));
    }
    let mut at = body_at;
    loop {
        let line = at + memchr::memmem::find(&seen[at..], b"\r\n")?;
        let size =
            usize::from_str_radix(std::str::from_utf8(&seen[at..line]).unwrap(), 16).unwrap();
        let data = seen.get(line + 2..line + 2 + size + 2)?;
        answer.body.extend_from_slice(&data[..size]);
        at = line + 2 + size + 2;
        if size == 0 {
            return Some((answer, at));
        }
    }
}
