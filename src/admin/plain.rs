//! The overview in plain text, for `curl` and for whoever reads it in a terminal.

use std::fmt::Write as _;

use crate::credential::Status;
use crate::portal::Portal;

use super::Admin;

impl Admin {
    pub(super) fn overview(&self) -> String {
        let mut page = format!("b24gate {}\n\n", env!("CARGO_PKG_VERSION"));
        let portals = self.means.portals.all();
        if portals.is_empty() {
            page.push_str(NO_PORTALS);
        }
        for portal in portals {
            describe_portal(&mut page, &portal);
        }
        page
    }
}

fn describe_portal(page: &mut String, portal: &Portal) {
    let status = portal.status();
    let number =
        |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    let written = writeln!(
        page,
        "{}  {}\n  state       {}\n  generation  {}\n  expires     {}\n  user        {}\n  spares      {}\n  requests    {}\n",
        portal.name,
        portal.site().endpoint,
        describe(&status),
        number(status.generation.map(|generation| generation.0)),
        number(status.expires_at),
        number(status.user_id),
        status.spares,
        portal.requests(),
    );
    debug_assert!(written.is_ok(), "writing to a String does not fail");
}

/// A state in a word, with its code.
pub(super) fn describe(status: &Status) -> String {
    match status.state.code() {
        Some(code) => format!("{} ({code})", status.word()),
        None => status.word().to_owned(),
    }
}

const NO_PORTALS: &str = "No portal is configured.\n\
    1. Write [apps.main] and [portals.NAME] into b24gate.toml (see config.example.toml).\n\
    2. Send the gateway SIGHUP, and connect the portal: open this page in a browser, or run\n\
       b24gate portal connect NAME, or b24gate portal import NAME < token.json\n";
