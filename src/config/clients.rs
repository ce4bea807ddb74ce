//! `[clients.NAME]`, `[audit]`, and who may connect to the gateway's listener.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use toml::de::DeValue;

use super::document::{Findings, Flaws, Reported};
use super::portals::Named;
use super::values::{Value, echo};
use super::{AllowUids, Audit, Client, Portal, ServerTls};
use super::{document, secrets, terms, values};

/// Every `[clients.NAME]`; portals are checked against `known`, unless `open` says that portals may
/// come by themselves.
pub(super) fn clients(
    tables: Named<'_>,
    known: Option<&BTreeMap<String, Arc<Portal>>>,
    open: bool,
    found: &mut Findings<'_>,
) -> Result<BTreeMap<String, Arc<Client>>, Reported> {
    let mut clients = BTreeMap::new();
    let mut whole = Ok(());
    for (name, mut table) in tables {
        let portals = table.optional(found, "portals", |value| {
            values::list(value, |value| portal(value, known, open))
        });
        let methods = table.optional(found, "methods", |value| values::list(value, method));
        let read_only = table.required(found, "read_only", values::boolean);
        let expires = table.optional(found, "expires", moment);
        let weight = table.required(found, "weight", weight);
        let max_wait = table.optional(found, "max_wait", |value| {
            values::duration(value, Duration::ZERO..=MAX_WAIT_MAX)
        });
        table.finish(found);
        let client = || -> Result<Client, Reported> {
            Ok(Client {
                name: name.clone(),
                portals: portals?,
                methods: methods?.unwrap_or_default(),
                read_only: read_only?,
                expires_at: expires?,
                weight: weight?,
                max_wait: max_wait?,
            })
        };
        match client() {
            Ok(client) => drop(clients.insert(name.clone(), Arc::new(client))),
            Err(reported) => whole = Err(reported),
        }
    }
    whole.map(|()| clients)
}

/// `[audit]`
pub(super) fn audit(
    table: &mut document::Table<'_>,
    found: &mut Findings<'_>,
) -> Result<Audit, Reported> {
    let keep = table.required(found, "keep", |value| {
        if value.get_ref().as_str() == Some("off") {
            return Ok(None);
        }
        values::duration(value, KEEP_MIN..=KEEP_MAX).map(Some)
    });
    let access_log = table.required(found, "access_log", values::boolean);
    Ok(Audit { keep: keep?, access_log: access_log? })
}

/// `"any"`, or a list of `"self"`, `"root"`, names and numbers.
pub(super) fn allow_uids(value: &Value<'_>) -> Result<AllowUids, Flaws> {
    if let Some(word) = value.get_ref().as_str() {
        return match word {
            "any" => Ok(AllowUids::Any),
            one => Err(format!("must be \"any\" or a list such as [{}]", echo(one)).into()),
        };
    }
    let mut uids = values::list(value, user)?;
    if uids.is_empty() {
        return Err(r#"is empty, so that nobody could connect; write ["self"] or "any""#.into());
    }
    uids.sort_unstable();
    uids.dedup();
    Ok(AllowUids::These(uids))
}

/// Permission bits of unix sockets: `"0600"`, `"0660"`.
pub(super) fn socket_mode(value: &Value<'_>) -> Result<u32, Flaws> {
    let text = values::plain(value)?;
    let digits = text.len() <= 4 && !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| digits && *mode <= 0o777);
    match mode {
        Some(mode) if mode & 0o600 == 0o600 && mode & 0o111 == 0 => Ok(mode),
        _ => Err(format!(
            "{} is not the mode of a socket; write \"0600\" (the gateway's own user), \"0660\" \
             (its group, too) or \"0666\" (everybody)",
            echo(text)
        )
        .into()),
    }
}

/// `{ cert = "...", key = "..." }`, both files relative to `base`.
pub(super) fn tls(value: &Value<'_>, base: &Path) -> Result<ServerTls, Flaws> {
    let form = r#"must be a table such as { cert = "tls.pem", key = "tls.key" }"#;
    let table = value.get_ref().as_table().ok_or_else(|| Flaws::from(form))?;
    if let Some((unknown, _)) =
        table.iter().find(|(name, _)| !matches!(name.get_ref().as_ref(), "cert" | "key"))
    {
        return Err(format!("{form}; there is no {} in it", echo(unknown.get_ref())).into());
    }
    let file = |name: &str| {
        let value = table.get(name).ok_or_else(|| Flaws::from(form))?;
        values::text(value).map(|path| base.join(path))
    };
    let (cert, key) = (file("cert")?, file("key")?);
    match secrets::unsafe_permissions(&key) {
        Some(problem) => Err(Flaws::unsafe_file(problem)),
        None => Ok(ServerTls::Files { cert, key }),
    }
}

fn user(value: &Value<'_>) -> Result<u32, Flaws> {
    if let DeValue::Integer(number) = value.get_ref() {
        let uid = u32::from_str_radix(number.as_str(), number.radix()).ok();
        return uid.ok_or_else(|| format!("{number} is not the number of a user").into());
    }
    match values::plain(value)? {
        "self" => Ok(rustix::process::geteuid().as_raw()),
        "root" => Ok(0),
        name => by_name(name).ok_or_else(|| {
            let name = echo(name);
            format!("there is no user {name} in /etc/passwd; write the user's number").into()
        }),
    }
}

fn by_name(name: &str) -> Option<u32> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    let mut fields = users
        .lines()
        .map(|line| line.split(':'))
        .find_map(|mut fields| (fields.next() == Some(name)).then_some(fields))?;
    fields.nth(1)?.parse().ok()
}

fn portal(
    value: &Value<'_>,
    known: Option<&BTreeMap<String, Arc<Portal>>>,
    open: bool,
) -> Result<String, Flaws> {
    let name = values::plain(value)?;
    let Some(known) = known.filter(|known| !open && !known.contains_key(name)) else {
        return Ok(name.to_owned());
    };
    let given = echo(name);
    let hint = document::nearest(name, known.keys().map(String::as_str))
        .map_or_else(String::new, |near| format!("; did you mean {near:?}?"));
    Err(format!("there is no section [portals.NAME] for {given}{hint}").into())
}

fn method(value: &Value<'_>) -> Result<String, Flaws> {
    let given = values::plain(value)?;
    terms::method_pattern(given)?;
    Ok(given.to_owned())
}

fn moment(value: &Value<'_>) -> Result<u64, Flaws> {
    let DeValue::Datetime(given) = value.get_ref() else { return Err(NO_DATE.into()) };
    terms::moment(given).ok_or_else(|| NO_DATE.into())
}

fn weight(value: &Value<'_>) -> Result<u32, Flaws> {
    let DeValue::Integer(number) = value.get_ref() else {
        return Err("must be a number without quotes, from 1 to 100".into());
    };
    let weight = u32::from_str_radix(number.as_str(), number.radix()).ok();
    weight
        .filter(|weight| (1..=WEIGHT_MAX).contains(weight))
        .ok_or_else(|| format!("{number} is out of bounds; it goes from 1 to {WEIGHT_MAX}").into())
}

const NO_DATE: &str = "must be a date without quotes, such as 2027-01-31";
/// More than that is another priority, not another share.
const WEIGHT_MAX: u32 = 100;
/// As for the gateway.
const MAX_WAIT_MAX: Duration = Duration::from_mins(10);
const KEEP_MIN: Duration = Duration::from_hours(1);
/// Ten years.
const KEEP_MAX: Duration = Duration::from_hours(24 * 3660);
