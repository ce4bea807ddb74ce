//! The configuration file: where it is looked for, and its way from text to [`Config`].

use std::ffi::OsString;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use toml::de::DeTable;

use super::document::{Findings, Reported, line};
use super::problem::{Fault, Problem};
use super::sections::Sections;
use super::{Config, ConfigError, alerts, clients, listeners, portals, sections};

impl Config {
    /// Reads the configuration from `path`, or from the first place where there is one:
    /// `$B24GATE_CONFIG`, `./b24gate.toml`, `/etc/b24gate/b24gate.toml`. With none of them, the
    /// defaults hold.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        let path = path.map(Path::to_owned);
        match locate(path, std::env::var_os("B24GATE_CONFIG"), &WELL_KNOWN)? {
            Some(file) => Self::read(&file),
            None => Self::without_file(),
        }
    }

    /// Checks `text` as the contents of `file`, which need not exist: it is named in errors, and
    /// relative paths start from its folder.
    pub fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        parse(text, Some(file)).map(|(config, _)| config)
    }

    /// What holds when there is no file. It fails only if the defaults themselves are wrong, which
    /// a test rules out.
    pub fn without_file() -> Result<Self, ConfigError> {
        parse("", None).map(|(config, _)| config)
    }

    fn read(file: &Path) -> Result<Self, ConfigError> {
        let (text, mode) =
            contents(file).map_err(|text| ConfigError::new(vec![Problem::of_file(file, text)]))?;
        let (mut config, holds_secret) = parse(&text, Some(file))?;
        if let Some(key) = holds_secret
            && mode & 0o066 != 0
        {
            let file = file.display();
            config.warnings.push(format!(
                "{file}: holds {key}, and other users can reach it (mode {mode:04o}); \
                 chmod 600 {file}, or use {key}_file"
            ));
        }
        Ok(config)
    }
}

/// The file to read. One that is named must exist; the well-known ones may.
pub(super) fn locate(
    named: Option<PathBuf>,
    environment: Option<OsString>,
    well_known: &[&str],
) -> Result<Option<PathBuf>, ConfigError> {
    let environment = environment.filter(|path| !path.is_empty()).map(PathBuf::from);
    let (file, by) = match (named, environment) {
        (Some(file), _) => (file, "--config"),
        (None, Some(file)) => (file, "$B24GATE_CONFIG"),
        // One that is there and cannot be looked at is an error later, not a reason to go on.
        (None, None) => {
            let exists = |path: &&Path| path.try_exists().unwrap_or(true);
            return Ok(well_known.iter().map(Path::new).find(exists).map(Path::to_owned));
        }
    };
    if file.try_exists().unwrap_or(true) {
        return Ok(Some(file));
    }
    let text = format!("there is no such file, though {by} names it; correct the path");
    Err(ConfigError::new(vec![Problem::of_file(&file, text)]))
}

fn contents(file: &Path) -> Result<(String, u32), String> {
    let unreadable = |error: std::io::Error| format!("cannot be read: {error}");
    let open = File::open(file).map_err(unreadable)?;
    let metadata = open.metadata().map_err(unreadable)?;
    let mut bytes = Vec::new();
    open.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err("is larger than 1 MiB, so it is not a configuration".to_owned());
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.as_bytes().iter().take(error.utf8_error().valid_up_to());
        let line = 1 + valid.filter(|byte| **byte == b'\n').count();
        format!("is not valid UTF-8 in line {line}; save it as UTF-8")
    })?;
    Ok((text, metadata.permissions().mode() & 0o777))
}

/// The configuration, and the key of a secret that stands in the text itself.
fn parse(text: &str, file: Option<&Path>) -> Result<(Config, Option<&'static str>), ConfigError> {
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        // What was read around a syntax error is guesswork, and so would be more problems.
        return Err(ConfigError::new(syntax_problems(text, file, &errors)));
    }
    let mut found = Findings::new(file, text);
    let sections = sections::split(document.into_inner(), &mut found);
    let config = assemble(sections, &mut found);
    match config {
        Ok(config) if found.is_clean() => {
            let source = file.map(Path::to_owned);
            Ok((Config { source, ..config }, found.holds_secret))
        }
        _ => Err(ConfigError::new(found.into_problems())),
    }
}

fn assemble(sections: Sections<'_>, found: &mut Findings<'_>) -> Result<Config, Reported> {
    let Sections { mut gateway, mut admin, mut callback, mut store, .. } = sections;
    let Sections { mut audit, mut alerts, apps, portals, clients, .. } = sections;
    let checked_gateway = listeners::gateway(&mut gateway, found);
    let checked_admin = listeners::admin(&mut admin, found);
    let checked_callback = listeners::callback(&mut callback, found);
    let checked_store = listeners::store(&mut store, found);
    let checked_audit = clients::audit(&mut audit, found);
    let checked_alerts = alerts::alerts(&mut alerts, found);
    if let (Ok(a), Ok(b), Ok(c)) = (&checked_gateway, &checked_admin, &checked_callback) {
        listeners::check_collisions(found, (&gateway, a), (&admin, b), (&callback, c));
    }
    let place = gateway.place("default_portal");
    for table in [gateway, admin, callback, store, audit, alerts] {
        table.finish(found);
    }
    let names: Vec<_> = portals.iter().map(|(name, _)| name.clone()).collect();
    let (apps, unencrypted) = portals::apps(apps, found);
    let portals = portals::portals(portals, &apps, found);
    if let Ok(portals) = &portals {
        portals::check_unencrypted(&unencrypted, portals, found);
    }
    let open = apps.values().flatten().any(|app| app.accept_installs);
    let clients = clients::clients(clients, portals.as_ref().ok(), open, found);
    let mut gateway = checked_gateway?;
    let place = (&place, &apps);
    gateway.default_portal = portals::default_portal(gateway.default_portal, &names, place, found);
    let (portals, admin) = (portals?, checked_admin?);
    let warnings = portals.values().filter_map(|portal| portals::warning(portal));
    Ok(Config {
        source: None,
        environment: std::mem::take(&mut found.environment),
        warnings: listeners::warnings(&gateway, &admin).into_iter().chain(warnings).collect(),
        gateway: gateway.into(),
        admin,
        callback: checked_callback?,
        store: checked_store?,
        alerts: checked_alerts?.into(),
        apps: apps.into_iter().filter_map(|(name, app)| Some((name, app.ok()?))).collect(),
        portals,
        clients: clients?,
        audit: checked_audit?,
    })
}

fn syntax_problems(text: &str, file: Option<&Path>, errors: &[toml::de::Error]) -> Vec<Problem> {
    let mut problems: Vec<Problem> = Vec::new();
    for error in errors {
        let line = error.span().map(|span| line(text, span.start));
        // One mistake makes the parser stumble several times; the first stumble names it.
        if problems.iter().any(|known| known.line == line) {
            continue;
        }
        problems.push(Problem {
            file: file.map(Path::to_owned),
            line,
            section: None,
            key: None,
            fault: Fault::Invalid,
            text: format!("not valid TOML: {}", error.message().escape_debug()),
        });
    }
    problems
}

const WELL_KNOWN: [&str; 2] = ["b24gate.toml", "/etc/b24gate/b24gate.toml"];

/// Far more than thousands of portals need.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
