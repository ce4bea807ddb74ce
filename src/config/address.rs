//! Addresses: what to listen on, and URLs that are no more than a scheme, a host and a port.
//!
//! URLs are never repeated in an error, because what is pasted in the wrong place is often an
//! incoming webhook, which is a credential; host names and listen addresses are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use http::uri::PathAndQuery;

use super::values::echo;
use super::{Endpoint, IncomingWebhook, Listen};
use crate::secret::Secret;

/// One of `hosts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostName {
    /// Lower case, IPv6 without brackets.
    pub host: String,
    /// The only port that may stand behind it; `None` is any.
    pub port: Option<u16>,
}

/// `127.0.0.1:8024`, `[::1]:8024`, `localhost:8024`.
pub(super) fn socket(text: &str) -> Result<SocketAddr, String> {
    if text.starts_with("unix:") {
        return Err("a unix: path is possible for the gateway's listener only".to_owned());
    }
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let port = text.strip_prefix("localhost:").and_then(|port| port.parse().ok());
    port.map(|port| SocketAddr::from((Ipv4Addr::LOCALHOST, port))).ok_or_else(|| {
        let given = echo(text);
        format!(r#"{given} is not an address and a port; write it as "127.0.0.1:8024""#)
    })
}

/// A TCP address, or `unix:` and a path that `resolve` makes absolute.
pub(super) fn listen(text: &str, resolve: impl Fn(&str) -> PathBuf) -> Result<Listen, String> {
    let Some(path) = text.strip_prefix("unix:") else {
        return socket(text).map(Listen::Tcp);
    };
    if path.is_empty() || path.ends_with('/') {
        let form = r#"write it as "unix:/run/b24gate/gateway.sock""#;
        return Err(format!("{} does not name a socket; {form}", echo(text)));
    }
    let path = resolve(path);
    if path.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
        return Err(format!("the path of a socket may have {SOCKET_PATH_BYTES_MAX} bytes at most"));
    }
    Ok(Listen::Unix(path))
}

/// Refuses an address that other machines can reach; `because` says why that must not be, and the
/// mend besides another address.
pub(super) fn require_loopback(address: SocketAddr, because: &str) -> Result<(), String> {
    if address.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    Err(format!(
        "{address} can be reached from other machines, and {because} listen on 127.0.0.1 or [::1]"
    ))
}

/// Whether two listeners would get in each other's way.
pub(super) fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    // Port 0 is a free port, another one each time.
    a.port() != 0
        && a.port() == b.port()
        && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}

/// `https://acme.bitrix24.com`, with nothing behind the host but a port.
pub(super) fn endpoint(text: &str) -> Result<Endpoint, String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        let suggestion = endpoint(&format!("https://{text}"))
            .map_or_else(|_| "https://acme.bitrix24.com".to_owned(), |known| known.to_string());
        return Err(format!("must begin with https://; write it as {suggestion:?}"));
    };
    let tls = match scheme.to_ascii_lowercase().as_str() {
        "https" => true,
        "http" => false,
        _ => return Err("must begin with https://".to_owned()),
    };
    let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let (authority, tail) = rest.split_at(end);
    if authority.contains('@') {
        return Err("must not hold a user name or a password; write the host alone".to_owned());
    }
    let (host, port) = authority_parts(authority)?;
    let endpoint = Endpoint { tls, host, port: port.unwrap_or(if tls { 443 } else { 80 }) };
    if tail.starts_with("/rest/") {
        return Err(format!(
            "looks like an incoming webhook, which a portal takes as webhook_url_file, \
             webhook_url_env or webhook_url; here write \"{endpoint}\""
        ));
    }
    if !matches!(tail, "" | "/") {
        return Err(format!("must end after the host; write it as \"{endpoint}\""));
    }
    Ok(endpoint)
}

/// A URL split before its path.
fn split(text: &str) -> Result<(Endpoint, &str), String> {
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err("must be a URL that begins with https://".to_owned());
    };
    let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let (authority, target) = rest.split_at(end);
    Ok((endpoint(&format!("{scheme}://{authority}"))?, target))
}

/// `https://acme.bitrix24.com/rest/<user>/<secret>/`: where it leads, the user and the secret.
pub(super) fn incoming_webhook(text: &str) -> Result<(Endpoint, IncomingWebhook), String> {
    let (portal, path) = split(text)?;
    let form = || format!("write it as \"{portal}/rest/<user>/<secret>/\", as Bitrix24 shows it");
    let rest = path.strip_prefix("/rest/").ok_or_else(|| {
        let form = form();
        format!("is not the URL of an incoming webhook; {form}")
    })?;
    let mut parts = rest.strip_suffix('/').unwrap_or(rest).split('/');
    let (user, secret, more) = (parts.next(), parts.next(), parts.next());
    if more.is_some() {
        return Err(format!("has something behind the secret, such as a method; {}", form()));
    }
    let user = user.filter(|user| user.bytes().all(|byte| byte.is_ascii_digit()));
    let Some(user_id) = user.and_then(|user| user.parse().ok()).filter(|user| *user > 0) else {
        return Err(format!("has no number of a user behind /rest/; {}", form()));
    };
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    match secret.filter(|secret| (1..=SECRET_BYTES_MAX).contains(&secret.len())) {
        Some(secret) if secret.bytes().all(plain) => {
            Ok((portal, IncomingWebhook { user_id, secret: Secret::new(secret) }))
        }
        _ => Err(format!("has no secret of letters and digits behind the user; {}", form())),
    }
}

/// A whole URL: where it leads, and its path and query, which may be a credential.
pub(super) fn webhook(text: &str) -> Result<(Endpoint, &str), String> {
    let (server, target) = split(text)?;
    let target = if target.is_empty() { "/" } else { target };
    let plain = target.starts_with('/') && target.bytes().all(|byte| byte.is_ascii_graphic());
    if !plain || target.contains(['#', '\\']) || target.parse::<PathAndQuery>().is_err() {
        return Err("has something behind the host that no URL has; copy it again".to_owned());
    }
    require_tls(&server, "")?;
    Ok((server, target))
}

/// An entry of `hosts`: a name or an address, with a port where only that one is meant.
pub(super) fn host(text: &str) -> Result<HostName, String> {
    let bare_v6 = text.parse::<Ipv6Addr>().ok();
    let (host, port) = match bare_v6 {
        Some(address) => (address.to_string(), None),
        None => authority_parts(text)?,
    };
    if host.parse::<IpAddr>().is_ok_and(|ip| ip.is_unspecified()) {
        return Err(format!(
            "{host} is no address that a tool can mean; write the name or the address that it calls"
        ));
    }
    Ok(HostName { host, port })
}

/// Refuses plain HTTP to another machine, where the token or the secret would be on the wire.
pub(super) fn require_tls(endpoint: &Endpoint, mend: &str) -> Result<(), String> {
    if endpoint.tls || endpoint.is_loopback() {
        return Ok(());
    }
    Err(format!("http:// would send credentials unencrypted; write https://{mend}"))
}

fn authority_parts(text: &str) -> Result<(String, Option<u16>), String> {
    let (host, port) = if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']').ok_or("has a [ without its ]")?;
        let address: Ipv6Addr = address.parse().map_err(|_ignored| "has no IPv6 address in [ ]")?;
        (address.to_string(), rest.strip_prefix(':').or_else(|| (!rest.is_empty()).then_some(rest)))
    } else {
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        };
        (host.to_ascii_lowercase(), port)
    };
    if !is_host(&host) {
        return Err(
            "has no valid host name; write it as in a browser, such as acme.bitrix24.com, \
                    and a name with other letters in its xn-- form"
                .to_owned(),
        );
    }
    let Some(port) = port else {
        return Ok((host, None));
    };
    let number = port.bytes().all(|byte| byte.is_ascii_digit()).then(|| port.parse::<u16>().ok());
    match number.flatten() {
        Some(number) if number > 0 => Ok((host, Some(number))),
        _ => Err("has no valid port; it goes from 1 to 65535".to_owned()),
    }
}

fn is_host(host: &str) -> bool {
    if host.parse::<IpAddr>().is_ok() {
        return true;
    }
    let label = |label: &str| {
        let valid = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(valid)
    };
    // A name of digits only is a mistyped address, and resolvers disagree about what it means.
    let numeric =
        host.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()));
    host.len() <= 253 && host.split('.').all(label) && !numeric
}

/// Bitrix24's own have some 16 bytes.
const SECRET_BYTES_MAX: usize = 128;
/// `sun_path` holds 108 bytes with the closing zero.
const SOCKET_PATH_BYTES_MAX: usize = 107;
