//! Whether the listeners can be opened.

use std::io::{ErrorKind, Result};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

use crate::config::{Config, Listen};

use super::super::Exit;
use super::Finding;

/// Tries every listener of the configuration.
pub(super) async fn check(config: &Config) -> Vec<Finding> {
    let running = is_running(config.admin.listen).await;
    let mut findings = Vec::new();
    for listen in &config.gateway.listen {
        findings.push(match listen {
            Listen::Tcp(address) => tcp("gateway", *address, running),
            Listen::Unix(path) => unix("gateway", path, running).await,
        });
    }
    findings.push(tcp("admin", config.admin.listen, running));
    findings.push(tcp("callback", config.callback.listen, running));
    findings
}

fn tcp(section: &str, address: SocketAddr, running: bool) -> Finding {
    let name = format!("{section}.listen: {address}");
    match TcpListener::bind(address) {
        Ok(_) => Finding::Right(format!("{name} is free")),
        Err(error) => match error.kind() {
            ErrorKind::AddrInUse => in_use(&name, running),
            ErrorKind::PermissionDenied => {
                wrong(format!("{name} may not be opened by this user; use a port above 1023"))
            }
            ErrorKind::AddrNotAvailable => {
                wrong(format!("{name} is not an address of this machine; use one that is"))
            }
            _ => wrong(format!("{name} cannot be opened: {error}")),
        },
    }
}

async fn unix(section: &str, path: &Path, running: bool) -> Finding {
    let name = format!("{section}.listen: unix:{}", path.display());
    if let Ok(metadata) = std::fs::symlink_metadata(path) {
        if !metadata.file_type().is_socket() {
            return wrong(format!("{name} exists and is not a socket; move it away"));
        }
        return match UnixStream::connect(path).await {
            Ok(_) => in_use(&name, running),
            Err(_) => Finding::Right(format!("{name} is left over from an earlier run")),
        };
    }
    let folder = path.parent().unwrap_or(path);
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Finding::Right(format!("{name} is free"));
    }
    wrong(format!("{name} is in a folder that does not exist; mkdir {}", folder.display()))
}

/// A port in use is as it should be while the gateway runs, so that `check` can precede a reload.
fn in_use(name: &str, running: bool) -> Finding {
    if running {
        return Finding::Note(format!("{name} is in use, by a running b24gate as it seems"));
    }
    wrong(format!("{name} is in use; is b24gate already running? If not, use another port"))
}

fn wrong(text: String) -> Finding {
    Finding::Wrong(Exit::Failed, text)
}

/// Whether something alive answers as the admin listener would.
async fn is_running(admin: SocketAddr) -> bool {
    let alive = tokio::time::timeout(ALIVE_WITHIN, ask_livez(admin)).await;
    matches!(alive, Ok(Ok(answer)) if answer.starts_with(b"HTTP/1.1 200"))
}

async fn ask_livez(admin: SocketAddr) -> Result<[u8; 12]> {
    let mut stream = TcpStream::connect(admin).await?;
    let request = "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut start = [0; 12];
    stream.read_exact(&mut start).await?;
    Ok(start)
}

/// A live gateway on this machine answers at once.
const ALIVE_WITHIN: Duration = Duration::from_secs(1);
