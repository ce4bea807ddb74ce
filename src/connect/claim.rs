//! What somebody says of a pair that they bring: read, bounded, and not believed. What does not even
//! look like Bitrix24's own is refused here, before it costs anything.

use std::net::{Ipv4Addr, Ipv6Addr};

use sha2::{Digest as _, Sha256};

use crate::config::Endpoint;
use crate::connect::Form;
use crate::secret::Secret;

/// A pair and what is said about it.
#[derive(Debug)]
pub(super) struct Claim {
    pub(super) access: Secret,
    /// Event and page forms of users without it bring nothing that could be kept.
    pub(super) refresh: Option<Secret>,
    /// 32 hex digits, lower case.
    pub(super) member_id: String,
    pub(super) domain: Domain,
    pub(super) user_id: Option<u64>,
    /// Never called: it must agree with what the OAuth server says.
    pub(super) client_endpoint: Option<Endpoint>,
    /// When the access token expires, unix seconds.
    pub(super) expires_at: Option<u64>,
    /// What later events of the portal will carry.
    pub(super) application_token: Option<Secret>,
    /// When the portal says that it happened, unix seconds; never later than now.
    pub(super) at: u64,
}

/// Where a portal is said to live: a host, and a port where it is not the scheme's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Domain {
    host: String,
    port: Option<u16>,
}

/// How the fields of a form are called.
struct Names {
    access: &'static str,
    refresh: &'static str,
    expires_in: &'static str,
    member_id: &'static str,
    domain: &'static str,
    user_id: &'static str,
    client_endpoint: &'static str,
    application_token: &'static str,
    ts: &'static str,
}

impl Claim {
    /// Of a page that a user's browser posts.
    pub(super) fn of_page(form: &Form, now: u64) -> Result<Self, &'static str> {
        Self::read(form, &PAGE, now)
    }

    /// Of an event that Bitrix24's servers post.
    pub(super) fn of_event(form: &Form, now: u64) -> Result<Self, &'static str> {
        Self::read(form, &EVENT, now)
    }

    fn read(form: &Form, names: &Names, now: u64) -> Result<Self, &'static str> {
        let number = |name| -> Result<Option<u64>, &'static str> {
            form.once(name)?.map(|text| text.parse().map_err(|_digits| NO_NUMBER)).transpose()
        };
        let access = token(form, names.access)?.ok_or("there is no access token in it")?;
        let member_id =
            member_id(form.once(names.member_id)?).ok_or("there is no member_id in it")?;
        let domain = form.once(names.domain)?.and_then(Domain::read);
        let endpoint = form.once(names.client_endpoint)?;
        let client_endpoint =
            endpoint.map(|url| Endpoint::of_url(url).ok_or(NO_PLACE)).transpose()?;
        let lifetime = number(names.expires_in)?.filter(|seconds| *seconds <= LIFETIME_MAX);
        Ok(Self {
            access,
            refresh: token(form, names.refresh)?,
            member_id,
            domain: domain.ok_or("there is no host name in it")?,
            user_id: number(names.user_id)?,
            client_endpoint,
            expires_at: lifetime.map(|seconds| now.saturating_add(seconds)),
            application_token: token(form, names.application_token)?,
            at: number(names.ts)?.map_or(now, |at| at.min(now)),
        })
    }

    /// By this a claim that failed is known again. All of it, so that nobody can spoil a good token
    /// by bringing it first with a false word about it.
    pub(super) fn mark(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let user_id = self.user_id.map(|id| id.to_string());
        let endpoint = self.client_endpoint.as_ref().map(Endpoint::to_string);
        let domain = self.domain.to_string();
        for part in [
            Some(self.access.expose()),
            Some(&self.member_id),
            Some(&domain),
            user_id.as_deref(),
            endpoint.as_deref(),
        ] {
            hash.update(part.unwrap_or_default().as_bytes());
            hash.update([0]);
        }
        hash.finalize().into()
    }
}

/// The `member_id` that a text is.
pub(super) fn member_id(text: Option<&str>) -> Option<String> {
    let is_hex = |text: &&str| text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
    text.filter(is_hex).map(str::to_ascii_lowercase)
}

/// A field that may be missing, but not be anything other than a token.
fn token(form: &Form, name: &str) -> Result<Option<Secret>, &'static str> {
    let plain = |text: &str| text.len() <= TOKEN_MAX && text.bytes().all(|b| b.is_ascii_graphic());
    match form.once(name)? {
        Some(text) if !plain(text) => Err("a token in it is none"),
        _ => Ok(form.secret(name).cloned()),
    }
}

impl Domain {
    /// Reads `acme.bitrix24.com` or `acme.example:8443`. What a resolver, a browser and this program
    /// could read differently is no domain: user names, other letters than ASCII, a dot at the end.
    pub(super) fn read(text: &str) -> Option<Self> {
        if text.len() > DOMAIN_MAX {
            return None;
        }
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !text.ends_with(']') => (host, Some(port)),
            _ => (text, None),
        };
        let port = match port {
            None => None,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                Some(digits.parse().ok().filter(|port| *port > 0)?)
            }
            Some(_) => return None,
        };
        let inside = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match inside {
            Some(inside) => inside.parse::<Ipv6Addr>().ok()?.to_string(),
            None => host.to_ascii_lowercase(),
        };
        (inside.is_some() || is_name(&host)).then_some(Self { host, port })
    }

    /// Whether this is where `endpoint` is. The port is left out where it is the scheme's.
    pub(super) fn is_of(&self, endpoint: &Endpoint) -> bool {
        let default = if endpoint.tls { 443 } else { 80 };
        self.host == endpoint.host && self.port.unwrap_or(default) == endpoint.port
    }
}

impl std::fmt::Display for Domain {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let v6 = self.host.contains(':');
        let (open, close) = if v6 { ("[", "]") } else { ("", "") };
        write!(f, "{open}{}{close}", self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

/// Labels of letters, digits, `-` and `_`; an IPv4 address is one, too.
fn is_name(host: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
    let label = |label: &str| (1..=63).contains(&label.len()) && label.bytes().all(good);
    host.split('.').all(label)
}

/// Where a portal may live that nobody has configured: `https://name[:443]/rest/`, and the name is
/// one that only the domain name system can resolve.
pub(super) fn public_place(client_endpoint: &str) -> Option<Endpoint> {
    let authority = client_endpoint.strip_prefix("https://")?.strip_suffix("/rest/")?;
    let host = authority.strip_suffix(":443").unwrap_or(authority);
    let name = host.to_ascii_lowercase();
    let (rest, top) = name.rsplit_once('.')?;
    // No top-level domain has digits but those in other scripts; `0x7f.1` and the like are addresses.
    let is_top = |top: &str| {
        top.len() >= 2 && (top.starts_with("xn--") || top.bytes().all(|b| b.is_ascii_lowercase()))
    };
    let good = is_name(&name) && is_top(top) && !rest.is_empty() && name.len() <= 253;
    let of_this_machine = top == "localhost" || name.parse::<Ipv4Addr>().is_ok();
    (good && !of_this_machine).then_some(Endpoint { tls: true, host: name, port: 443 })
}

const PAGE: Names = Names {
    access: "AUTH_ID",
    refresh: "REFRESH_ID",
    expires_in: "AUTH_EXPIRES",
    member_id: "member_id",
    domain: "DOMAIN",
    // A page's form has none of these; what is there all the same must agree.
    user_id: "user_id",
    client_endpoint: "client_endpoint",
    application_token: "APPLICATION_TOKEN",
    ts: "ts",
};

const EVENT: Names = Names {
    access: "auth[access_token]",
    refresh: "auth[refresh_token]",
    expires_in: "auth[expires_in]",
    member_id: "auth[member_id]",
    domain: "auth[domain]",
    user_id: "auth[user_id]",
    client_endpoint: "auth[client_endpoint]",
    application_token: "auth[application_token]",
    ts: "ts",
};

const NO_NUMBER: &str = "a number in it is none";
const NO_PLACE: &str = "an address in it is none";

/// Longest token, bytes. The vendor's have 70, and its documentation says 100 at most.
const TOKEN_MAX: usize = 512;
/// A name of 253 characters and a port.
const DOMAIN_MAX: usize = 259;
/// Longest life of an access token that is believed, seconds: the vendor's live an hour.
const LIFETIME_MAX: u64 = 86_400;

#[cfg(test)]
mod tests;
