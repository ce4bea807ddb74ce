//! The command line: what may be typed, where it goes, and what the exit codes mean. Secrets are
//! never among the arguments, where every user of the machine could read them.

mod audit;
mod ca;
mod check;
mod client;
mod help;
mod options;
mod output;
mod portal;
mod sandbox;
mod serve;
mod store;
mod table;
mod wait;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::Config;
use crate::failpoint;
use crate::telemetry::{self, LogFormat};

use help::{
    ABOUT, AFTER_HELP, AUDIT_HELP, CA_HELP, CHECK_HELP, CLIENT_HELP, CONFIG_HELP, LOG_FORMAT_HELP,
    PORTAL_HELP, SANDBOX_HELP, SERVE_HELP, STATE_HELP, STORE_HELP, WAIT_HELP,
};
pub(crate) use options::{
    AuditOptions, CaOptions, ClientCommand, ClientRulesOptions, PortalCommand, SandboxOptions,
    StoreCommand, WaitOptions,
};
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
    /// Wait until the running gateway can serve calls
    #[command(after_help = WAIT_HELP)]
    Wait(WaitOptions),
    /// Connect portals, look at them, and take them out of service
    #[command(subcommand, after_help = PORTAL_HELP)]
    Portal(PortalCommand),
    /// Give tools keys of their own, and say what each may call
    #[command(subcommand, after_help = CLIENT_HELP)]
    Client(ClientCommand),
    /// Show who called what, when, and what became of it
    #[command(after_help = AUDIT_HELP)]
    Audit(AuditOptions),
    /// Back the store up, restore it elsewhere, or give it a new key
    #[command(subcommand, after_help = STORE_HELP)]
    Store(StoreCommand),
    /// Show the local certificate authority, and what makes tools trust it
    #[command(after_help = CA_HELP)]
    Ca(CaOptions),
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
        Command::Wait(options) => wait::run(&cli.global, options),
        Command::Portal(command) => portal::run(&cli.global, command),
        Command::Client(command) => client::run(&cli.global, command),
        Command::Audit(options) => audit::run(&cli.global, options),
        Command::Store(command) => store::run(&cli.global, command),
        Command::Ca(options) => ca::run(&cli.global, options),
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
