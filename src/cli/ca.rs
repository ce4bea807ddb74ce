//! `b24gate ca`: where the local authority is, and how tools come to trust it.

mod install;
mod trust;

use std::path::Path;

use time::OffsetDateTime;

use super::output::{Failure, complain, failed, finish};
use super::{CaOptions, Exit, Global};
use crate::ca::{Authority, CaError, Facts, fingerprint};
use crate::config::{Config, ServerTls};

/// Shows the authority, prints its certificate, or installs it.
pub(super) fn run(global: &Global, options: &CaOptions) -> Exit {
    let state = match global.state_directory() {
        Ok(state) => state,
        Err(exit) => return exit,
    };
    if options.install {
        return finish(find(&state).and_then(|(_, pem)| install::run(&state, &pem)));
    }
    let config = match global.load_config() {
        Ok(config) => config,
        Err(exit) => return exit,
    };
    // Beside the certificate, which may go into a file.
    if let Some(note) = not_in_use(&config) {
        complain(&note);
    }
    finish(find(&state).map(|(facts, pem)| if options.pem { pem } else { show(&state, &facts) }))
}

/// The authority's certificate; made where there is none.
fn find(state: &Path) -> Result<(Facts, String), Failure> {
    if !state.exists() || owns(state) {
        let authority = Authority::open(state, OffsetDateTime::now_utc())?;
        return Ok((authority.facts().clone(), authority.pem().to_owned()));
    }
    // Another user's, for which root asks: the certificate is for everybody, the key is not.
    Authority::certificate(state)?.ok_or_else(|| {
        failed(format!(
            "there is no local CA in {} yet; `b24gate ca`, run by the user whom that belongs to, \
             makes it",
            state.display()
        ))
    })
}

fn owns(state: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let me = rustix::process::geteuid().as_raw();
    state.symlink_metadata().is_ok_and(|found| found.uid() == me)
}

fn show(state: &Path, facts: &Facts) -> String {
    let path = Authority::path(state).display().to_string();
    format!(
        "The local CA, which signs what the gateway shows to clients that speak https:\n\n  \
         Certificate  {path}\n  Name         {}\n  Valid        {}\n  SHA-256      {}\n\n{}",
        facts.name,
        facts.validity(),
        fingerprint(&facts.der),
        trust::lines(&path, install::BUNDLE)
    )
}

fn not_in_use(config: &Config) -> Option<String> {
    let ServerTls::Files { cert, .. } = &config.gateway.tls else { return None };
    Some(format!(
        "The local CA is not in use: the gateway shows {}, as gateway.tls says. Tools have to trust \
         whoever signed that.",
        cert.display()
    ))
}

impl From<CaError> for Failure {
    fn from(error: CaError) -> Self {
        Self { code: error.exit_code(), text: error.to_string() }
    }
}
