//! `[alerts]`

use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::document::{Findings, Flaws, Reported, Table};
use super::values::Value;
use super::{Alerts, Command, Webhook};
use super::{address, secrets, values};
use crate::secret::Secret;

/// `[alerts]`
pub(super) fn alerts(table: &mut Table<'_>, found: &mut Findings<'_>) -> Result<Alerts, Reported> {
    let webhook = webhook(table, found);
    let command = table.optional(found, "command", command);
    Ok(Alerts { webhook: webhook?, command: command? })
}

fn webhook(table: &mut Table<'_>, found: &mut Findings<'_>) -> Result<Option<Webhook>, Reported> {
    let Some((key, url)) = secrets::given(table, found, &WEBHOOK)? else {
        return Ok(None);
    };
    match address::webhook(url.expose()) {
        Ok((server, target)) => Ok(Some(Webhook { server, target: Secret::new(target) })),
        Err(wrong) => {
            found.report(&table.place(key), format!("{key}: {wrong}"));
            Err(Reported)
        }
    }
}

/// A program that is there, and what it is started with.
fn command(value: &Value<'_>) -> Result<Command, Flaws> {
    let words = values::list(value, |word| {
        let text = values::plain(word)?;
        if text.chars().any(char::is_control) {
            return Err("holds a control character, such as a line break; leave it out".into());
        }
        Ok(text.to_owned())
    })?;
    let mut words = words.into_iter();
    let Some(program) = words.next().filter(|program| !program.is_empty()) else {
        return Err(r#"names no program; write it as ["/usr/local/bin/page-me"]"#.into());
    };
    let program = PathBuf::from(program);
    if let Some(wrong) = unusable(&program) {
        return Err(format!("{} {wrong}", values::echo(&program.to_string_lossy())).into());
    }
    Ok(Command { program, arguments: words.collect() })
}

fn unusable(program: &Path) -> Option<String> {
    if !program.is_absolute() {
        let mend = "is not an absolute path; write it whole, such as \"/usr/local/bin/page-me\"";
        return Some(mend.to_owned());
    }
    match std::fs::metadata(program) {
        Err(error) => Some(format!("cannot be started: {error}; correct the path")),
        Ok(metadata) if !metadata.is_file() => Some("is not a program; correct the path".into()),
        Ok(_) if access(program, Access::EXEC_OK).is_err() => {
            Some(format!("is not executable; chmod +x {}", program.display()))
        }
        Ok(_) => None,
    }
}

/// How the URL may be given.
const WEBHOOK: secrets::Keys =
    secrets::Keys { file: "webhook_file", environment: "webhook_env", inline: "webhook" };
