//! What of this machine decides how open the gateway is.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::config::{Config, Listen};

/// Its users, and where the gateway puts its sockets.
#[derive(Debug, Default)]
pub(in super::super) struct Machine {
    /// Who runs this command.
    pub(super) user: u32,
    pub(super) group: u32,
    pub(super) users: Vec<User>,
    /// Names and numbers.
    pub(super) groups: Vec<(String, u32)>,
    /// For each unix socket.
    pub(super) places: Vec<Place>,
}

/// A line of `/etc/passwd`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) uid: u32,
    /// Whether people log in by it.
    pub(super) is_person: bool,
}

/// The folders above a socket, its own first.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) socket: PathBuf,
    pub(super) folders: Vec<Folder>,
}

/// A folder, and who can change what is in it.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) path: PathBuf,
    pub(super) mode: u32,
    pub(super) owner: u32,
    pub(super) group: u32,
}

impl Machine {
    /// Looks at this one, as far as `config` makes it matter.
    pub(in super::super) fn look(config: &Config) -> Self {
        let text = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let sockets = config.gateway.listen.iter().filter_map(|listen| match listen {
            Listen::Unix(path) => Some(Place::of(path)),
            Listen::Tcp(_) => None,
        });
        Self {
            user: rustix::process::geteuid().as_raw(),
            group: rustix::process::getegid().as_raw(),
            users: users(&text("/etc/passwd")),
            groups: groups(&text("/etc/group")),
            places: sockets.collect(),
        }
    }

    pub(super) fn name_of_user(&self, uid: u32) -> String {
        let user = self.users.iter().find(|user| user.uid == uid);
        user.map_or_else(|| format!("the user {uid}"), |user| user.name.clone())
    }

    pub(super) fn name_of_group(&self, gid: u32) -> String {
        let group = self.groups.iter().find(|(_, number)| *number == gid);
        group.map_or_else(|| gid.to_string(), |(name, _)| name.clone())
    }
}

impl Place {
    fn of(socket: &Path) -> Self {
        let folder = match socket.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        // One that is not there yet is told of with the listeners.
        let folder = std::fs::canonicalize(folder).unwrap_or_default();
        let folders = folder.ancestors().filter_map(Folder::of).collect();
        Self { socket: socket.to_owned(), folders }
    }
}

impl Folder {
    fn of(path: &Path) -> Option<Self> {
        let about = std::fs::metadata(path).ok()?;
        let (mode, owner, group) = (about.mode() & 0o7777, about.uid(), about.gid());
        Some(Self { path: path.to_owned(), mode, owner, group })
    }
}

/// Name, password, uid, gid, words about the user, home, shell.
pub(super) fn users(text: &str) -> Vec<User> {
    let user = |line: &str| {
        let fields: Vec<_> = line.split(':').collect();
        let [name, _, uid, _, _, _, shell] = fields.as_slice() else { return None };
        let uid = uid.parse().ok()?;
        let is_person = PEOPLE.contains(&uid) && logs_in(shell);
        Some(User { name: (*name).to_owned(), uid, is_person })
    };
    text.lines().filter_map(user).collect()
}

/// Name, password, gid, members.
fn groups(text: &str) -> Vec<(String, u32)> {
    let group = |line: &str| {
        let mut fields = line.split(':');
        let name = fields.next()?.to_owned();
        Some((name, fields.nth(1)?.parse().ok()?))
    };
    text.lines().filter_map(group).collect()
}

fn logs_in(shell: &str) -> bool {
    let program = shell.rsplit('/').next().unwrap_or_default();
    !matches!(program, "nologin" | "false" | "true" | "sync" | "halt" | "shutdown")
}

/// The numbers that distributions give to people.
const PEOPLE: std::ops::RangeInclusive<u32> = 1000..=59_999;
