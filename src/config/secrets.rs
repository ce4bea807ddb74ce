//! Secrets as the configuration names them: in the file, in a file of their own, or in the
//! environment. Nothing of a secret is ever repeated in an error.

use std::fs::{self, File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use zeroize::Zeroizing;

use crate::secret::Secret;

use super::document::{Findings, Flaws, Reported, Table};
use super::values;

/// The three keys by which one secret may be given.
#[derive(Debug)]
pub(super) struct Keys {
    /// A file that holds nothing else.
    pub(super) file: &'static str,
    /// The name of an environment variable.
    pub(super) environment: &'static str,
    /// The secret itself.
    pub(super) inline: &'static str,
}

/// What is wrong with the permissions of a file that holds a secret, and the mend.
///
/// `None` when nothing is, or when there is no such file.
pub fn unsafe_permissions(path: &Path) -> Option<String> {
    fs::metadata(path).ok().and_then(|metadata| describe_unsafe(path, &metadata))
}

/// The secret that one of `keys` gives, and which; nothing when none does.
pub(super) fn given(
    table: &mut Table<'_>,
    found: &mut Findings<'_>,
    keys: &Keys,
) -> Result<Option<(&'static str, Secret)>, Reported> {
    let used: Vec<_> = [keys.file, keys.environment, keys.inline]
        .into_iter()
        .filter(|key| table.gives(key))
        .collect();
    if table.gives(keys.inline) {
        found.holds_secret = Some(keys.inline);
    }
    if table.gives(keys.environment) {
        found.environment.push(table.name_of(keys.environment));
    }
    let base = found.base();
    let inline = table.optional(found, keys.inline, |value| inline(values::plain(value)?));
    let file =
        table.optional(found, keys.file, |value| from_file(&base.join(values::text(value)?)));
    let environment =
        table.optional(found, keys.environment, |value| from_environment(values::plain(value)?));
    if let [_, .., last] = used.as_slice() {
        let Keys { file, environment, inline } = keys;
        let times = used.len();
        let text = format!(
            "{inline} is given {times} times; keep one of {file}, {environment} or {inline}"
        );
        found.report(&table.place(last), text);
        return Err(Reported);
    }
    let secret = inline?.or(file?).or(environment?);
    Ok(used.first().copied().zip(secret))
}

/// The secret in a file, without the line break at its end.
pub(super) fn from_file(path: &Path) -> Result<Secret, Flaws> {
    let unreadable = |error: &io::Error| format!("cannot read {}: {error}", path.display());
    // Before opening: opening a pipe would wait for somebody to write to it.
    let metadata = fs::metadata(path).map_err(|error| unreadable(&error))?;
    if !metadata.is_file() {
        return Err(format!("{} is not a file", path.display()).into());
    }
    let file = File::open(path).map_err(|error| unreadable(&error))?;
    let metadata = file.metadata().map_err(|error| unreadable(&error))?;
    if let Some(problem) = describe_unsafe(path, &metadata) {
        return Err(Flaws::unsafe_file(problem));
    }
    let mut text = Zeroizing::new(String::new());
    let read = file.take(SECRET_BYTES_MAX + 1).read_to_string(&mut text);
    read.map_err(|error| unreadable(&error))?;
    if text.len() as u64 > SECRET_BYTES_MAX {
        return Err(format!("{} is too large to be a secret", path.display()).into());
    }
    let secret = text.strip_suffix('\n').unwrap_or(&text);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    check(secret).map_err(|wrong| Flaws::from(format!("{} {wrong}", path.display())))?;
    Ok(Secret::new(secret))
}

/// The secret in an environment variable.
pub(super) fn from_environment(name: &str) -> Result<Secret, Flaws> {
    let letter = |c: char| c.is_ascii_uppercase() || c == '_';
    if !name.starts_with(letter) || !name.chars().all(|c| letter(c) || c.is_ascii_digit()) {
        // Not repeated: it is most likely the secret itself.
        return Err("must be the name of an environment variable in capital letters, such as \
                    B24_CLIENT_SECRET, not its value"
            .into());
    }
    match std::env::var(name).map(Zeroizing::new) {
        Ok(secret) => match check(&secret) {
            Ok(()) => Ok(Secret::new(secret.as_str())),
            Err(wrong) => Err(format!("the environment variable {name} {wrong}").into()),
        },
        Err(std::env::VarError::NotPresent) => {
            Err(format!("the environment variable {name} is not set; set it before starting")
                .into())
        }
        Err(std::env::VarError::NotUnicode(_)) => {
            Err(format!("the environment variable {name} is not valid text").into())
        }
    }
}

/// A secret written in the configuration itself.
fn inline(text: &str) -> Result<Secret, Flaws> {
    check(text)?;
    Ok(Secret::new(text))
}

fn check(secret: &str) -> Result<(), String> {
    if secret.is_empty() {
        return Err("is empty".to_owned());
    }
    if secret.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("holds a blank or a line break; a secret is one word".to_owned());
    }
    Ok(())
}

fn describe_unsafe(path: &Path, metadata: &Metadata) -> Option<String> {
    let mode = metadata.permissions().mode() & 0o777;
    // systemd shows its own access list as permissions of the group.
    let others = if is_systemd_credential(path) { OTHERS } else { GROUP | OTHERS };
    let path = path.display();
    (mode & others != 0).then(|| {
        format!("unsafe file {path}: other users can reach it (mode {mode:04o}); chmod 600 {path}")
    })
}

fn is_systemd_credential(path: &Path) -> bool {
    std::env::var_os("CREDENTIALS_DIRECTORY")
        .is_some_and(|dir| !dir.is_empty() && path.starts_with(dir))
}

/// Read or write by the group.
const GROUP: u32 = 0o060;
/// Read or write by everybody.
const OTHERS: u32 = 0o006;
/// The longest secret in the field has some 100 bytes.
const SECRET_BYTES_MAX: u64 = 64 * 1024;
