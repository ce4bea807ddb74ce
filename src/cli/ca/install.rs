//! `b24gate ca --install`: into the store that the system's programs read.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Command;

use super::super::output::{Failure, failed};
use super::trust::quoted;

/// Installs the certificate, or says who can.
pub(super) fn run(state: &Path, pem: &str) -> Result<String, Failure> {
    let folder = Path::new(FOLDER);
    if !folder.is_dir() || !Path::new(UPDATE).exists() {
        return Err(failed(
            "this system does not keep certificates the way Debian does. Give it the one that \
             `b24gate ca --pem` prints: on Fedora and RHEL as a file in \
             /etc/pki/ca-trust/source/anchors, then update-ca-trust; on Arch with trust anchor; on \
             macOS with security add-trusted-cert -d -r trustRoot -k \
             /Library/Keychains/System.keychain; in an Alpine container with apk add \
             ca-certificates first (then --install works)",
        ));
    }
    if !rustix::process::geteuid().is_root() {
        return Err(failed(format!(
            "only root can do that: sudo {} ca --install --state {}",
            quoted(&program()),
            quoted(&state.display().to_string())
        )));
    }
    let file = folder.join(NAME);
    write(&file, pem).map_err(|error| failed(format!("{}: {error}", file.display())))?;
    let updated = Command::new(UPDATE).output();
    let updated = updated.map_err(|error| failed(format!("{UPDATE}: {error}")))?;
    if !updated.status.success() {
        let said = String::from_utf8_lossy(&updated.stderr);
        return Err(failed(format!("{UPDATE} failed: {}", said.trim())));
    }
    Ok(format!(
        "{} installed: what reads {BUNDLE} trusts the gateway now. To take it back: rm {0} && {UPDATE} \
         --fresh",
        file.display()
    ))
}

/// A file of its own under another name first: a link in its place is not followed, and nobody reads
/// half of it.
fn write(file: &Path, pem: &str) -> std::io::Result<()> {
    let draft = file.with_extension("new");
    match std::fs::remove_file(&draft) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = std::fs::OpenOptions::new();
    let mut made = options.write(true).create_new(true).mode(0o644).open(&draft)?;
    // Whatever the umask says.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    made.set_permissions(mode)?;
    writeln!(made, "{pem}")?;
    made.sync_all()?;
    std::fs::rename(&draft, file)
}

/// Sudo has a path of its own to look in.
fn program() -> String {
    std::env::current_exe()
        .map_or_else(|_unknown| "b24gate".to_owned(), |path| path.display().to_string())
}

const FOLDER: &str = "/usr/local/share/ca-certificates";
const NAME: &str = "b24gate-local-ca.crt";
const UPDATE: &str = "/usr/sbin/update-ca-certificates";
/// What the system's programs read.
pub(super) const BUNDLE: &str = "/etc/ssl/certs/ca-certificates.crt";
