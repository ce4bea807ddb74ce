//! The arrows between rooms go one way, as ARCHITECTURE.md says.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails loudly")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Every room and what it may use, from the top down: an arrow never points upwards.
const ROOMS: &[(&str, &[&str])] = &[
    ("main", &[]),
    (
        "cli",
        &[
            "app",
            "control",
            "sandbox",
            "portal",
            "views",
            "credential",
            "client",
            "audit",
            "ca",
            "store",
            "telemetry",
        ],
    ),
    (
        "app",
        &[
            "admin",
            "alerts",
            "callback",
            "connect",
            "gateway",
            "client",
            "audit",
            "ca",
            "control",
            "views",
            "portal",
            "credential",
            "store",
        ],
    ),
    ("admin", &["connect", "door", "audit", "client", "views", "portal", "credential"]),
    ("callback", &["connect", "door"]),
    ("alerts", &["portal", "credential", "store"]),
    ("connect", &["portal", "credential", "store"]),
    ("gateway", &["audit", "ca", "client", "portal", "credential"]),
    ("control", &["audit", "views", "credential", "store"]),
    ("views", &["client", "portal", "credential", "store"]),
    ("client", &["store"]),
    ("audit", &[]),
    ("ca", &["store"]),
    ("sandbox", &[]),
    ("portal", &["credential", "store"]),
    ("credential", &["store"]),
    ("store", &[]),
    ("telemetry", &[]),
    ("transport", &[]),
    ("config", &[]),
    ("door", &[]),
    ("error", &[]),
    ("failpoint", &[]),
    ("metrics", &[]),
    ("secret", &[]),
];

/// Any room may use these, and these use no room but one another.
const LEAVES: &[&str] = &["metrics", "transport", "config", "door", "error", "failpoint", "secret"];

/// What stands alone: a simulation that shared code with the gateway would share its mistakes, and
/// the log is set up before anything else.
const ALONE: &[&str] = &["sandbox", "telemetry", "error", "failpoint", "metrics", "secret"];

/// What the store keeps of a credential; it decides nothing about it.
const KEPT: &[&str] =
    &["ChainId", "Generation", "Grant", "Link", "RawAnswer", "Secret", "State", "unix_now"];

/// A mention of another room, with what comes behind it.
struct Use {
    file: PathBuf,
    line: usize,
    from: String,
    to: String,
    rest: String,
}

#[test]
fn every_room_uses_only_the_rooms_below_it_that_it_may() {
    for found in uses() {
        let (_, listed) = ROOMS.iter().find(|(name, _)| *name == found.from).unwrap();
        let alone = ALONE.contains(&found.from.as_str());
        let may = listed.contains(&found.to.as_str())
            || (!alone && LEAVES.contains(&found.to.as_str()))
            || (found.from == "store" && found.to == "credential");
        let Use { file, line, from, to, .. } = &found;
        assert!(may, "{}:{line}: {from} must not use {to}", file.display());
    }
}

#[test]
fn the_store_names_what_it_keeps_of_a_credential_and_nothing_else() {
    let found: Vec<_> = uses()
        .into_iter()
        .filter(|found| found.from == "store" && found.to == "credential")
        .collect();
    assert!(!found.is_empty(), "the scan finds nothing any more");
    for found in found {
        let names = found.rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for name in names.filter(|name| !name.is_empty()) {
            let place = format!("{}:{}", found.file.display(), found.line);
            assert!(KEPT.contains(&name), "{place}: the store must not know credential::{name}");
        }
    }
}

#[test]
fn every_room_is_in_the_list_and_the_list_points_downwards() {
    let known: BTreeSet<String> = ROOMS.iter().map(|(name, _)| (*name).to_owned()).collect();
    let there: BTreeSet<String> =
        files().iter().map(|file| room(file)).filter(|room| room != "lib").collect();
    assert_eq!(there, known);
    let place = |name: &str| ROOMS.iter().position(|(room, _)| *room == name).unwrap();
    for (room, listed) in ROOMS {
        assert!(listed.iter().all(|below| place(below) > place(room)), "{room} points upwards");
    }
}

#[test]
fn every_room_is_described() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for (name, _) in ROOMS {
        let rows = text.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
        let named = rows.filter(|row| row.contains(&format!("`{name}.rs`"))).count();
        assert_eq!(named, 1, "{name} in the table of ARCHITECTURE.md");
    }
}

fn uses() -> Vec<Use> {
    let mut found = Vec::new();
    for file in files().into_iter().filter(|file| room(file) != "lib") {
        let from = room(&file);
        let text = fs::read_to_string(root().join("src").join(&file)).unwrap();
        let statements = one_line_each(&text);
        for (number, line) in statements {
            if line.trim_start().starts_with("//") {
                continue;
            }
            for after in line.split("crate::").skip(1) {
                // This scan reads one room per line.
                assert!(!after.starts_with('{'), "{}:{number}: a use each", file.display());
                let end = |c: char| !c.is_ascii_lowercase() && c != '_';
                let at = after.find(end).unwrap_or(after.len());
                let (to, rest) = after.split_at(at);
                // A macro or a type at the root of the crate belongs to no room.
                if !to.is_empty() && to != from {
                    let rest = rest.split(';').next().unwrap().to_owned();
                    let (from, to) = (from.clone(), to.to_owned());
                    found.push(Use { file: file.clone(), line: number, from, to, rest });
                }
            }
        }
    }
    found
}

/// Numbered lines; a `use` that goes over several is one.
fn one_line_each(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut open = false;
    for (index, line) in text.lines().enumerate() {
        match lines.last_mut().filter(|_| open) {
            Some((_, begun)) => begun.push_str(line),
            None => lines.push((index + 1, line.to_owned())),
        }
        let begun = lines.last().map(|(_, line)| line.trim_start()).unwrap_or_default();
        let is_use = begun.starts_with("use ") || begun.starts_with("pub use ");
        open = is_use && !begun.contains(';');
    }
    lines
}

/// The first part of a path below `src`.
fn room(file: &Path) -> String {
    let first = file.iter().next().unwrap().to_str().unwrap();
    first.strip_suffix(".rs").unwrap_or(first).to_owned()
}

fn files() -> Vec<PathBuf> {
    let source = root().join("src");
    let (mut found, mut folders) = (Vec::new(), vec![source.clone()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path.strip_prefix(&source).unwrap().to_owned());
            }
        }
    }
    assert!(found.len() > 50, "src is not where it was");
    found
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
