//! The file split into its sections, with whatever is no section reported.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::document::{Findings, Place, Table, homes, nearest};
use super::keys::{self, Section};
use super::portals::Named;
use super::terms::client_name;
use super::values::echo;

/// The sections of a file; one that is left out is empty.
#[derive(Debug)]
pub(super) struct Sections<'i> {
    pub(super) gateway: Table<'i>,
    pub(super) admin: Table<'i>,
    pub(super) callback: Table<'i>,
    pub(super) store: Table<'i>,
    pub(super) audit: Table<'i>,
    pub(super) alerts: Table<'i>,
    pub(super) apps: Named<'i>,
    pub(super) portals: Named<'i>,
    pub(super) clients: Named<'i>,
}

/// Takes the root of a document apart.
pub(super) fn split<'i>(mut root: DeTable<'i>, found: &mut Findings<'_>) -> Sections<'i> {
    let sections = Sections {
        gateway: single(&mut root, &keys::GATEWAY, found),
        admin: single(&mut root, &keys::ADMIN, found),
        callback: single(&mut root, &keys::CALLBACK, found),
        store: single(&mut root, &keys::STORE, found),
        audit: single(&mut root, &keys::AUDIT, found),
        alerts: single(&mut root, &keys::ALERTS, found),
        apps: named(&mut root, &keys::APP, found),
        portals: named(&mut root, &keys::PORTAL, found),
        clients: named(&mut root, &keys::CLIENT, found),
    };
    for (name, value) in &root {
        unknown(name, value.get_ref(), found);
    }
    sections
}

/// `[gateway]`
fn single<'i>(
    root: &mut DeTable<'i>,
    kind: &'static Section,
    found: &mut Findings<'_>,
) -> Table<'i> {
    let (offset, values) = match take(root, kind, found) {
        Some((offset, values)) => (Some(offset), values),
        None => (None, DeTable::new()),
    };
    Table::new(kind, kind.name.to_owned(), offset, values)
}

/// Every `[portals.NAME]`.
fn named<'i>(
    root: &mut DeTable<'i>,
    kind: &'static Section,
    found: &mut Findings<'_>,
) -> Named<'i> {
    let mut tables = Vec::new();
    let section = kind.name;
    for (name, value) in take(root, kind, found).map(|(_, values)| values).unwrap_or_default() {
        let offset = name.span().start;
        let name = name.into_inner().into_owned();
        let DeValue::Table(values) = value.into_inner() else {
            let header = kind.header();
            let text = format!("{} stands outside a section {header}; name it", echo(&name));
            found.report(&Place::section(section, offset), text);
            continue;
        };
        let checked =
            if section == keys::CLIENT.name { client_name(&name) } else { check_name(&name) };
        if let Err(text) = checked {
            found.report(&Place::section(section, offset), text);
        }
        let title = format!("{section}.{}", name.escape_debug());
        tables.push((name, Table::new(kind, title, Some(offset), values)));
    }
    tables
}

fn take<'i>(
    root: &mut DeTable<'i>,
    kind: &'static Section,
    found: &mut Findings<'_>,
) -> Option<(usize, DeTable<'i>)> {
    let (name, value) = root.remove_entry(kind.name)?;
    let offset = name.span().start;
    if let DeValue::Table(values) = value.into_inner() {
        return Some((offset, values));
    }
    let text = format!("must be a section; write {} on a line of its own", kind.header());
    found.report(&Place::section(kind.name, offset), text);
    None
}

fn unknown(
    name: &Spanned<std::borrow::Cow<'_, str>>,
    value: &DeValue<'_>,
    found: &mut Findings<'_>,
) {
    let offset = name.span().start;
    let name: &str = name.get_ref();
    let section = matches!(value, DeValue::Table(_));
    if !section {
        let text = match homes(name) {
            homes if homes.is_empty() => {
                format!("unknown key {} outside every section; remove it", echo(name))
            }
            homes => format!("unknown key {name:?} outside every section; it belongs in {homes}"),
        };
        return found.report(&Place::root(Some(offset)), text);
    }
    let headers = || keys::SECTIONS.iter().map(|section| section.header());
    let text = match nearest(name, keys::SECTIONS.iter().map(|section| section.name)) {
        Some(near) => {
            let near = keys::SECTIONS.iter().find(|section| section.name == near);
            let header = near.map(|section| section.header()).unwrap_or_default();
            format!("unknown section; did you mean {header}?")
        }
        None => format!("unknown section; there are {}", headers().collect::<Vec<_>>().join(", ")),
    };
    found.report(&Place::section(&name.escape_debug().to_string(), offset), text);
}

/// Names appear in URLs, host names and file names, so they are what all three allow.
pub(super) fn check_name(name: &str) -> Result<(), String> {
    let valid = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let long = name.len() > NAME_BYTES_MAX;
    if name.is_empty() || long || name.starts_with('-') || !name.chars().all(valid) {
        return Err(format!(
            "the name {} does not do; use up to {NAME_BYTES_MAX} lower-case letters, digits and \
             hyphens, such as \"acme\"",
            echo(name)
        ));
    }
    if name == "rest" {
        return Err("the name \"rest\" is where calls go; choose another".to_owned());
    }
    Ok(())
}

/// One label of a host name.
const NAME_BYTES_MAX: usize = 63;
