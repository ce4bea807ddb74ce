//! The command line: what may be typed, where it goes, and what the exit codes mean. Secrets are
//! never among the arguments, where every user of the machine could read them.

mod check;
mod output;
mod portal;
mod sandbox;
mod serve;
mod store;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::Config;
use crate::control::LEDGER_MAX;
use crate::failpoint;
use crate::telemetry::{self, LogFormat};

use output::complain;

/// How a command ended, as the shell sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// 0
    Done,
    /// 1
    Failed,
    /// 2: the command line or the configuration is wrong.
    Usage,
    /// 3: other users can reach a file that holds secrets, or the store must not be used.
    UnsafeFiles,
}

#[derive(Debug, Parser)]
#[command(name = "b24gate", version, about = ABOUT, after_help = AFTER_HELP)]
#[command(subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
#[command(next_help_heading = "Options of every command")]
pub(crate) struct Global {
    /// `--config`
    #[arg(long, global = true, value_name = "FILE", help = CONFIG_HELP)]
    pub(crate) config: Option<PathBuf>,
    /// `--state`
    #[arg(long, global = true, value_name = "DIR", help = STATE_HELP)]
    pub(crate) state: Option<PathBuf>,
    /// `--log-format`
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    #[arg(help = LOG_FORMAT_HELP)]
    pub(crate) log_format: LogFormat,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway until it is told to stop
    #[command(after_help = SERVE_HELP)]
    Serve,
    /// Try everything out: a simulated portal with its OAuth server, and the gateway before it
    #[command(after_help = SANDBOX_HELP)]
    Sandbox(SandboxOptions),
    /// Say what is wrong with configuration, files, ports and portals, and how to mend it
    #[command(after_help = CHECK_HELP)]
    Check,
    /// Connect portals and look at them
    #[command(subcommand, after_help = PORTAL_HELP)]
    Portal(PortalCommand),
    /// Back the store up, restore it elsewhere, or give it a new key
    #[command(subcommand, after_help = STORE_HELP)]
    Store(StoreCommand),
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

/// `b24gate portal`
#[derive(Debug, Subcommand)]
pub(crate) enum PortalCommand {
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
        /// The portal's name in the configuration
        name: String,
        /// How many lines of its ledger to show
        #[arg(long, value_name = "N", default_value_t = 5)]
        #[arg(value_parser = clap::value_parser!(u32).range(..=i64::from(LEDGER_MAX)))]
        ledger: u32,
    },
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

/// Runs the command that the process was started with.
pub fn run() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(answer) => {
            // Help and version come this way too. That nobody reads the answer is no failure.
            drop(answer.print());
            return if answer.use_stderr() { Exit::Usage } else { Exit::Done }.into();
        }
    };
    let _log = match telemetry::init(cli.global.log_format) {
        Ok(guard) => guard,
        Err(error) => {
            complain(&error.to_string());
            return Exit::Usage.into();
        }
    };
    if let Err(error) = failpoint::arm() {
        complain(&error.to_string());
        return Exit::Usage.into();
    }
    match &cli.command {
        Command::Serve => serve::run(&cli.global),
        Command::Sandbox(options) => sandbox::run(&cli.global, options),
        Command::Check => check::run(&cli.global),
        Command::Portal(command) => portal::run(&cli.global, command),
        Command::Store(command) => store::run(&cli.global, command),
    }
    .into()
}

impl Global {
    /// The configuration, with its warnings told; or all that is wrong with it, told.
    pub(crate) fn load_config(&self) -> Result<Config, Exit> {
        match Config::load(self.config.as_deref()) {
            Ok(config) => {
                config.warnings.iter().for_each(|warning| complain(warning));
                Ok(config)
            }
            Err(error) => {
                complain(&error.to_string());
                Err(Exit::of_config(&error))
            }
        }
    }

    /// The state directory, which need not exist yet.
    pub(crate) fn state_directory(&self) -> Result<PathBuf, Exit> {
        crate::store::locate(self.state.as_deref()).map_err(|error| {
            complain(&error.to_string());
            Exit::of_code(error.exit_code())
        })
    }
}

impl Exit {
    /// How a command ends whose configuration is wrong.
    pub(crate) fn of_config(error: &crate::config::ConfigError) -> Self {
        Self::of_code(error.exit_code())
    }

    /// The end that an error asks for by its number.
    pub(crate) fn of_code(code: u8) -> Self {
        match code {
            0 => Self::Done,
            2 => Self::Usage,
            3 => Self::UnsafeFiles,
            _ => Self::Failed,
        }
    }
}

/// The runtime for everything but the clients' requests: refreshes, the store, the side doors.
pub(crate) fn control_runtime() -> Result<tokio::runtime::Runtime, Exit> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().map_err(
        |error| {
            complain(&format!("the system gives no threads: {error}"));
            Exit::Failed
        },
    )
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Usage => 2,
            Exit::UnsafeFiles => 3,
        })
    }
}

const ABOUT: &str = "A local gateway for the Bitrix24 REST API: it holds the token, so that no \
                     client has to";

const CONFIG_HELP: &str = "Configuration file. Without it: $B24GATE_CONFIG, ./b24gate.toml, \
                           /etc/b24gate/b24gate.toml, the first that exists";

const STATE_HELP: &str = "State directory, where tokens are kept. Without it: $STATE_DIRECTORY, \
                          $XDG_STATE_HOME/b24gate, ~/.local/state/b24gate";

const LOG_FORMAT_HELP: &str = "How log lines on standard error look; $B24GATE_LOG sets their level";

const AFTER_HELP: &str = "\
Examples:
  b24gate sandbox                            try it out, with nothing else installed
  b24gate check                              look over the configuration before starting
  b24gate portal import acme < token.json    connect the portal [portals.acme]
  b24gate serve                              run the gateway
  curl http://localhost:8024/rest/profile    and call it, without a token

Files:
  Configuration: --config FILE, $B24GATE_CONFIG, ./b24gate.toml, /etc/b24gate/b24gate.toml;
  the first that exists. Without any, the defaults hold.
  State (tokens and their key): --state DIR, $STATE_DIRECTORY, $XDG_STATE_HOME/b24gate,
  ~/.local/state/b24gate; the first that is set.

Secrets are read from files, from the environment or from standard input, never from the command
line.

Log: B24GATE_LOG=debug, or for a part of the program B24GATE_LOG=info,b24gate=debug.

Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 unsafe files (other users can reach a
file that holds secrets), or a store that is in use, retired, or without its key.";

const SERVE_HELP: &str = "\
Examples:
  b24gate serve
  b24gate serve --config /etc/b24gate/b24gate.toml --log-format json

It stops at SIGTERM or Ctrl-C, after the calls under way have been answered.";

const SANDBOX_HELP: &str = "\
Examples:
  b24gate sandbox                    prints calls to try
  b24gate sandbox --portal-only --listen 127.0.0.1:8090

The sandbox keeps nothing, and reaches no portal but its own.";

const CHECK_HELP: &str = "\
Examples:
  b24gate check
  b24gate check --config ./b24gate.toml && b24gate serve --config ./b24gate.toml

One line for each thing that is right (ok), good to know (note) or wrong (WRONG), with the mend.
Exit codes: 0 nothing is wrong, 2 the configuration, 3 unsafe files, 1 anything else.";

const PORTAL_HELP: &str = "\
Examples:
  b24gate portal import acme < token.json
  b24gate portal list
  b24gate portal show acme";

const IMPORT_HELP: &str = "\
Examples:
  b24gate portal import acme < token.json
  b24gate portal import acme < settings.json
  b24gate portal import acme --replace < token.json

The JSON is a token endpoint's answer, CRest's settings.json, what b24phpsdk or b24jssdk stored, or
the fields of an install request; it is told by its shape. It is read from standard input only, so
that no other user sees it and no shell remembers it. Stop the tool that it comes from: the first of
the two that renews it makes the other one's copy useless.

While the portal has a credential that works, another pair of the same user is kept as a spare, which
takes over when the one in use dies. A pair of another user, or one that does not say whose it is,
is taken only with --replace. A pair of another portal, or one that was used up, is never taken.";

const SHOW_HELP: &str = "\
Examples:
  b24gate portal show acme
  b24gate portal show acme --ledger 50
  b24gate portal show acme --ledger 0

Beneath the portal stand its chains, each with the user whose rights it carries, and the latest lines
of the ledger: what happened to its refresh tokens, each named by eight digits of its hash.";

const STORE_HELP: &str = "\
Examples:
  b24gate store backup /mnt/safe/b24gate.backup
  b24gate store backup --retire /mnt/stick/b24gate.backup
  b24gate store restore /mnt/stick/b24gate.backup
  b24gate store rekey

Bitrix24 replaces the refresh token at every refresh. A backup is a snapshot that goes stale with
the next refresh of each portal, and two stores that hold the same tokens destroy each other's.";

const BACKUP_HELP: &str = "\
Examples:
  b24gate store backup /mnt/safe/b24gate.backup
  b24gate store backup --retire /mnt/stick/b24gate.backup

It may be made while the gateway runs, which then writes it itself. The tokens in it are sealed;
the key is not in it. Keep a copy of the key in another place than the backup: whoever has both has
the tokens, and without the key the backup is of no use.

What it is good for: a move to another machine, with --retire while no gateway runs; and the loss of
the disk, until a portal's next refresh (an hour at most for a portal in use). What is stale
afterwards is connected again with `b24gate portal import`. It is no undo.";

const RESTORE_HELP: &str = "\
Examples:
  b24gate store restore /mnt/stick/b24gate.backup
  b24gate store restore --source-is-gone /mnt/safe/b24gate.backup

First put the key of the store that was backed up where the configuration looks for it (by default
b24gate.key in the state directory, chmod 600). Then:
- A backup is restored once. Two stores with the same tokens destroy each other's.
- The store that it was made from must be out of service. On this machine that is looked up, and
  that store is retired. From another machine, make the backup with --retire, or say
  --source-is-gone when that machine is lost or its gateway is stopped for good.
- A store in place is kept as b24gate.db.replaced-TIME, retired.
- Where a store on this machine holds newer tokens than the backup, nothing is restored, unless you
  say --force-older. Then they are lost, but for what the journal of the same store in place holds:
  it stays, and the next start takes the newer pairs from it.
A restoration that was cut short is finished by giving the same command again.";

const REKEY_HELP: &str = "\
Examples:
  b24gate store rekey
  b24gate store rekey --new-key-file /etc/b24gate/new.key

By default the key is b24gate.key in the state directory; a new one takes its place. Where the
configuration names the key (key_file or key_env), make the new one yourself:
  openssl rand -hex 32 > /etc/b24gate/new.key && chmod 600 /etc/b24gate/new.key
Backups made before are sealed with the old key: make a new one.";
