//! What may be typed behind each command.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::help::{
    BACKUP_HELP, CLIENT_ADD_HELP, CLIENT_REMOVE_HELP, CLIENT_ROTATE_HELP, CONNECT_HELP,
    DISABLE_HELP, IMPORT_HELP, REFRESH_HELP, REKEY_HELP, REMOVE_HELP, RESTORE_HELP, SHOW_HELP,
};
use super::{audit, wait};
use crate::audit::Executed;
use crate::control::LEDGER_MAX;

/// `b24gate ca`
#[derive(Debug, Args)]
pub(crate) struct CaOptions {
    /// Print the certificate itself, for those who cannot read the state directory
    #[arg(long, conflicts_with = "install")]
    pub(crate) pem: bool,
    /// Have this system trust it (Debian, Ubuntu and their like; needs root)
    #[arg(long)]
    pub(crate) install: bool,
}

/// `b24gate sandbox`
#[derive(Debug, Args)]
pub(crate) struct SandboxOptions {
    /// Run the simulated portal alone, for the tests of other programs
    #[arg(long)]
    pub(crate) portal_only: bool,
    /// Where the sandbox listens; 127.0.0.1 and a free port without it
    #[arg(long, value_name = "ADDR")]
    pub(crate) listen: Option<SocketAddr>,
}

/// `b24gate wait`
#[derive(Debug, Args)]
pub(crate) struct WaitOptions {
    /// How long: 500ms, 60s, 5m
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = wait::duration)]
    pub(crate) timeout: Duration,
    /// Wait for this portal alone, until it has a credential
    #[arg(long, value_name = "NAME")]
    pub(crate) portal: Option<String>,
}

/// `b24gate audit`
#[derive(Debug, Args)]
pub(crate) struct AuditOptions {
    /// Only calls of this client; - is those without one
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    pub(crate) client: Option<String>,
    /// Only calls to this portal; - is those that came to none
    #[arg(long, value_name = "NAME", allow_hyphen_values = true)]
    pub(crate) portal: Option<String>,
    /// Only calls of methods such as crm.deal.list or 'crm.*'
    #[arg(long, value_name = "PATTERN")]
    pub(crate) method: Option<String>,
    /// Only calls that were answered with 403, or with any 4xx
    #[arg(long, value_name = "STATUS", value_parser = audit::status)]
    pub(crate) status: Option<(u16, u16)>,
    /// Only calls that the portal has run: yes, no, unknown
    #[arg(long, value_name = "WORD", value_parser = audit::executed)]
    pub(crate) executed: Option<Executed>,
    /// Only calls since then: 30m, 1h, 7d, or a day such as 2026-11-20
    #[arg(long, value_name = "TIME", value_parser = audit::since)]
    pub(crate) since: Option<u64>,
    /// How many at most
    #[arg(long, value_name = "N", default_value_t = 50)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) limit: u32,
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
    /// Go on with calls as they come, until the gateway ends
    #[arg(long, conflicts_with = "summary")]
    pub(crate) follow: bool,
    /// Sums by client and method instead of calls
    #[arg(long)]
    pub(crate) summary: bool,
}

/// `b24gate portal`
#[derive(Debug, Subcommand)]
pub(crate) enum PortalCommand {
    /// Give a portal its credential: log in with a browser
    #[command(after_help = CONNECT_HELP)]
    Connect {
        /// The portal's name
        name: String,
        /// Paste the address that the browser is sent to, or the code that the portal shows
        #[arg(long)]
        paste: bool,
        /// Use the new credential from now on, in the place of a working one, even of another user's
        #[arg(long)]
        replace: bool,
        /// Print the link and open no browser
        #[arg(long)]
        no_browser: bool,
    },
    /// Give a portal its credential, read as JSON from standard input
    #[command(after_help = IMPORT_HELP)]
    Import {
        /// The portal's name in the configuration
        name: String,
        /// Use it from now on, in the place of a working one, even of another user's
        #[arg(long)]
        replace: bool,
    },
    /// List the portals and the state of their credentials
    #[command(after_help = "Example:\n  b24gate portal list")]
    List,
    /// Show what is known about one portal, without its tokens
    #[command(after_help = SHOW_HELP)]
    Show {
        /// The portal's name
        name: String,
        /// How many lines of its ledger to show
        #[arg(long, value_name = "N", default_value_t = 5)]
        #[arg(value_parser = clap::value_parser!(u32).range(..=i64::from(LEDGER_MAX)))]
        ledger: u32,
    },
    /// Renew a portal's token now, whether it has expired or not
    #[command(after_help = REFRESH_HELP)]
    Refresh {
        /// The portal's name
        name: String,
    },
    /// Take a portal out of service; its credential stays
    #[command(after_help = DISABLE_HELP)]
    Disable {
        /// The portal's name
        name: String,
    },
    /// Put a disabled portal back into service
    #[command(after_help = DISABLE_HELP)]
    Enable {
        /// The portal's name
        name: String,
    },
    /// Take a portal's credential out of use
    #[command(after_help = REMOVE_HELP)]
    Remove {
        /// The portal's name
        name: String,
        /// Really
        #[arg(long)]
        yes: bool,
    },
}

/// `b24gate client`
#[derive(Debug, Subcommand)]
pub(crate) enum ClientCommand {
    /// Make a client and its key, or the key of one that the configuration describes
    #[command(after_help = CLIENT_ADD_HELP)]
    Add {
        /// The client's name: that of a section [clients.NAME], or a new one
        name: String,
        #[command(flatten)]
        rules: ClientRulesOptions,
        /// Print the key and the lines for tools as JSON
        #[arg(long)]
        json: bool,
    },
    /// List the clients: what each may call, and when it called last
    #[command(after_help = "Example:\n  b24gate client list")]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Give a client another key; the old one stops working
    #[command(after_help = CLIENT_ROTATE_HELP)]
    Rotate {
        /// The client's name
        name: String,
        /// How long the old key still works: 30m, 1h, 2d; not at all without it
        #[arg(long, value_name = "TIME", value_parser = crate::config::lifetime)]
        overlap: Option<Duration>,
        /// Print the key and the lines for tools as JSON
        #[arg(long)]
        json: bool,
    },
    /// Take a client's keys away, at once
    #[command(after_help = CLIENT_REMOVE_HELP)]
    Remove {
        /// The client's name
        name: String,
    },
}

/// What a client may do that the configuration does not describe.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct ClientRulesOptions {
    /// A portal that it may call; all of them without it
    #[arg(long, value_name = "NAME")]
    pub(crate) portal: Vec<String>,
    /// A pattern of methods that it may call, or with ! in front of those it may not
    #[arg(long, value_name = "PATTERN")]
    pub(crate) method: Vec<String>,
    /// It may only read
    #[arg(long)]
    pub(crate) read_only: bool,
    /// When it stops being let in: 12h, 30d, or a date such as 2027-01-31 (UTC)
    #[arg(long, value_name = "TIME|DATE")]
    pub(crate) expires: Option<String>,
}

/// `b24gate store`
#[derive(Debug, Subcommand)]
pub(crate) enum StoreCommand {
    /// Write all credentials, sealed as they are, into one new file
    #[command(after_help = BACKUP_HELP)]
    Backup {
        /// The file to make; it must not exist
        file: PathBuf,
        /// The last backup before a move: this store is never served again
        #[arg(long)]
        retire: bool,
    },
    /// Put a backup in the place of the store; no gateway may run on it
    #[command(after_help = RESTORE_HELP)]
    Restore {
        /// The file that `store backup` made
        file: PathBuf,
        /// The store that the backup was made from is out of service for good, on your word
        #[arg(long)]
        source_is_gone: bool,
        /// Restore even where a store on this machine holds newer tokens
        #[arg(long)]
        force_older: bool,
    },
    /// Seal everything with a new key; no gateway may run on the store
    #[command(after_help = REKEY_HELP)]
    Rekey {
        /// The file of the new key (chmod 600), where the configuration names the key
        #[arg(long, value_name = "PATH")]
        new_key_file: Option<PathBuf>,
    },
}
