//! Every way in that is wider than it has to be: what it means, and what to write instead.

mod machine;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};

pub(super) use machine::Machine;
use machine::{Folder, Place};

use super::Finding;
use crate::config::{AllowUids, Client, Config, Endpoint, Listen};

/// Looks for them all.
pub(super) fn check(config: &Config, machine: &Machine) -> Vec<Finding> {
    let sockets = machine.places.iter().flat_map(|place| socket(config, machine, place));
    let notes = [
        root(machine),
        people(config, machine),
        keyless(config),
        nameless(config),
        config.gateway.behind_proxy.then(|| BEHIND_PROXY.to_owned()),
        admin(config),
        config.audit.keep.is_none().then(|| UNAUDITED.to_owned()),
    ];
    let notes = notes.into_iter().flatten();
    let notes = notes.chain(hosts(config)).chain(origins(config)).chain(unencrypted(config));
    let notes = notes.chain(config.clients.values().filter_map(|it| client(config, it)));
    let notes = notes.chain(config.environment.iter().map(|key| environment(key)));
    sockets.chain(notes.map(Finding::Note)).collect()
}

fn root(machine: &Machine) -> Option<String> {
    (machine.user == 0).then(|| {
        "user: this is root; if the gateway runs as root, too, a mistake in it costs the whole machine: \
         give it a user of its own (in a systemd unit: User=b24gate)"
            .to_owned()
    })
}

/// Several people on the machine, and each of them may call.
fn people(config: &Config, machine: &Machine) -> Option<String> {
    let gateway = &config.gateway;
    let by_tcp = gateway.listen.iter().any(|listen| matches!(listen, Listen::Tcp(_)));
    let people: Vec<_> = machine.users.iter().filter(|user| user.is_person).collect();
    if gateway.allow_uids != AllowUids::Any
        || gateway.require_key
        || !by_tcp
        || people.len() < SEVERAL
    {
        return None;
    }
    let others = people.iter().filter(|user| user.uid != machine.user);
    let others: Vec<_> = others.map(|user| user.name.as_str()).collect();
    let shown = others.get(..NAMES_SHOWN).unwrap_or(&others).join(", ");
    let more = match others.len().saturating_sub(NAMES_SHOWN) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    Some(format!(
        "gateway: allow_uids = \"any\": programs of every user of this machine ({shown}{more}) can call \
         with all rights of the portals; write allow_uids = [\"self\", \"root\"] and the users whose \
         tools call, or require_key = true"
    ))
}

fn keyless(config: &Config) -> Option<String> {
    (!config.gateway.require_key && !config.clients.is_empty()).then(|| {
        "gateway: require_key = false: anonymous calls still pass, and no rule of [clients.NAME] holds \
         for them; set require_key = true"
            .to_owned()
    })
}

/// Other machines can connect, and know no name to call.
fn nameless(config: &Config) -> Option<String> {
    let address = config.gateway.listen.iter().find_map(|listen| match listen {
        Listen::Tcp(address) => is_beyond(*address).then_some(*address),
        Listen::Unix(_) => None,
    })?;
    config.gateway.hosts.is_empty().then(|| {
        format!(
            "gateway: hosts = []: whoever calls {address} from another machine is refused, because the \
             names and addresses that lead there are not known to be the gateway's; write them, such \
             as hosts = [\"gate.lan\", \"192.168.1.5\"]"
        )
    })
}

fn hosts(config: &Config) -> impl Iterator<Item = String> {
    let hosts = config.gateway.hosts.iter().map(|name| &name.host);
    hosts.filter(|host| is_public(host)).map(|host| {
        format!(
            "gateway: hosts: {host} looks like a name of the internet: whoever decides where it leads can \
             have browsers take a page of theirs for one of the gateway's, and call by it; keep it only \
             if the name is yours"
        )
    })
}

fn origins(config: &Config) -> impl Iterator<Item = String> {
    config.gateway.origins.iter().map(|origin| {
        let plain = Endpoint::of_url(origin).is_some_and(|page| !page.tls && !page.is_loopback());
        let worse = if plain {
            "; it comes by http://, so that whoever is on the way can put a script into it: serve it by \
             https://"
        } else {
            ""
        };
        format!(
            "gateway: origins: every script in a page of {origin} can call with all rights of the \
             portals, in the browser of whoever opens it; keep it only if you need it{worse}"
        )
    })
}

fn admin(config: &Config) -> Option<String> {
    let listen = config.admin.listen;
    is_beyond(listen).then(|| {
        format!(
            "admin: listen {listen} speaks plain HTTP to other machines, so that whoever is on the way \
             sees the password and all that is shown; listen on 127.0.0.1 and come by a tunnel (ssh -L) or \
             a proxy that speaks https://"
        )
    })
}

/// Portals and OAuth servers that are reached without TLS.
fn unencrypted(config: &Config) -> impl Iterator<Item = String> {
    let open = |endpoint: &Endpoint| !endpoint.tls && !endpoint.is_loopback();
    let portals = config.portals.values().filter(move |portal| open(&portal.url)).map(|portal| {
        format!(
            "portals.{}: url {}: calls, answers and the token can be read and changed on the way; have \
             the portal speak https:// and leave allow_http out",
            portal.name, portal.url
        )
    });
    let servers = config.apps.values().filter(move |app| open(&app.oauth_server)).map(|app| {
        format!(
            "apps.{}: oauth_server {}: client_secret and tokens can be read on the way; have it speak \
             https://",
            app.name, app.oauth_server
        )
    });
    portals.chain(servers)
}

/// A client that may do more than clients are made for.
fn client(config: &Config, client: &Client) -> Option<String> {
    let name = &client.name;
    if client.portals.as_ref().is_some_and(Vec::is_empty) {
        return Some(format!(
            "clients.{name}: portals = []: it may call no portal; name those it is for"
        ));
    }
    let several = config.portals.len() > 1 || config.open_apps().next().is_some();
    let everywhere = client.portals.is_none() && several;
    let everything = client.methods.is_empty() && !client.read_only;
    let (may, mend) = match (everything, everywhere) {
        (true, true) => ("every method on every portal", "methods, read_only = true or portals"),
        (true, false) => ("every method", "methods or read_only = true"),
        (false, true) => ("every portal, also those that come later", "portals"),
        (false, false) => return None,
    };
    Some(format!("clients.{name}: it may call {may}; write {mend} if it needs less"))
}

fn environment(key: &str) -> String {
    let file = key.rsplit(' ').next().unwrap_or(key).replace("_env", "_file");
    format!(
        "{key}: what is in the environment stays readable in /proc/PID/environ for as long as the gateway \
         runs; {file} names a file instead (in a systemd unit: LoadCredential)"
    )
}

/// Who can connect to a unix socket, and whether another could stand in its place.
fn socket(config: &Config, machine: &Machine, place: &Place) -> Vec<Finding> {
    let mode = config.gateway.socket_mode;
    let socket = place.socket.display();
    let owner = machine.name_of_user(machine.user);
    let group = match place.folders.first() {
        Some(folder) if folder.mode & SET_GROUP != 0 => folder.group,
        _ => machine.group,
    };
    let name = format!("gateway: unix:{socket} (socket_mode \"{mode:04o}\")");
    let who = match (mode & GROUP_CONNECTS != 0, mode & OTHERS_CONNECT != 0) {
        (false, false) => {
            let text = format!("{name} lets in programs of its own user, here {owner}, and root");
            return [Finding::Right(text)].into_iter().chain(replaceable(machine, place)).collect();
        }
        (_, true) => "every user of this machine".to_owned(),
        (true, false) => format!("{owner} and the group {}", machine.name_of_group(group)),
    };
    let among = match config.gateway.allow_uids {
        AllowUids::Any => "all of them can call; write socket_mode = \"0600\", or allow_uids",
        AllowUids::These(_) => "of them those in allow_uids can call",
    };
    let text = format!("{name} lets in {who}: {among}");
    [Finding::Note(text)].into_iter().chain(replaceable(machine, place)).collect()
}

fn replaceable(machine: &Machine, place: &Place) -> Option<Finding> {
    let folder = place.folders.iter().find(|folder| is_open_to_others(folder, machine))?;
    let (socket, path) = (place.socket.display(), folder.path.display());
    let how = if folder.mode & STICKY != 0 {
        "before the gateway starts"
    } else {
        "in its place at any time"
    };
    Some(Finding::Note(format!(
        "gateway: unix:{socket} lies in {path}, where other users can write: one of them can put a socket of \
         theirs there {how}, and gets the calls and keys that tools send; use a folder that only the \
         gateway's user can write, such as /run/b24gate"
    )))
}

/// Whether somebody besides root and this user can put something there.
fn is_open_to_others(folder: &Folder, machine: &Machine) -> bool {
    // Root looks at what is another user's as a matter of course.
    let foreign = machine.user != 0 && ![0, machine.user].contains(&folder.owner);
    let by_group = folder.mode & 0o020 != 0 && ![0, machine.group].contains(&folder.group);
    folder.mode & 0o002 != 0 || by_group || foreign
}

fn is_beyond(address: SocketAddr) -> bool {
    !address.ip().to_canonical().is_loopback()
}

/// A name that public name servers might answer for.
fn is_public(host: &str) -> bool {
    let private = |end: &str| host.strip_suffix(end).is_some_and(|rest| rest.ends_with('.'));
    host.contains('.') && host.parse::<IpAddr>().is_err() && !PRIVATE.iter().any(|end| private(end))
}

/// One person alone is not to be kept from anything.
const SEVERAL: usize = 2;
const NAMES_SHOWN: usize = 3;
/// To connect is to write.
const GROUP_CONNECTS: u32 = 0o020;
const OTHERS_CONNECT: u32 = 0o002;
/// What is made in such a folder gets its group.
const SET_GROUP: u32 = 0o2000;
/// Only who made something there can take it away.
const STICKY: u32 = 0o1000;
/// Ends of names that mean something in one network alone.
const PRIVATE: [&str; 12] = [
    "local",
    "lan",
    "internal",
    "home.arpa",
    "intranet",
    "corp",
    "home",
    "private",
    "localhost",
    "localdomain",
    "test",
    "invalid",
];
const BEHIND_PROXY: &str = "gateway: behind_proxy = true: calls that a proxy forwards are let in, also \
                            those that browsers send through it, and for allow_uids all of them are \
                            the proxy's: it has to ask who calls, and to pass Origin, Referer and \
                            Sec-Fetch-* on unchanged; write behind_proxy = false where there is none";
const UNAUDITED: &str = "audit: keep = \"off\": afterwards nobody can tell who has called what; write \
                         keep = \"30d\"";
