//! The wall: no web page gets through, on any verb.
//!
//! A page in the user's browser can send requests to localhost, and Bitrix24 changes data on GET.
//! So a request passes only if it was addressed to a name of this gateway and carries no sign of a
//! browser page or of a proxy in front of one, unless the operator allowed just that.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use crate::config;
use crate::error::{Refusal, Sign};
use crate::gateway::field::RequestField;
use crate::gateway::head::{Head, Version, malformed, read_length};
use crate::gateway::listener::Bound;
use crate::portal::Portals;

/// What the fields of a request say about where it comes from.
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not states of one thing")]
#[derive(Debug, Default)]
pub(crate) struct Provenance<'b> {
    pub(crate) host: Option<&'b [u8]>,
    pub(crate) origin: Option<&'b [u8]>,
    pub(crate) referer: Option<&'b [u8]>,
    /// `Sec-Fetch-Site` says that another site sends this.
    foreign: bool,
    page: bool,
    forwarded: bool,
    hosts: usize,
    origins: usize,
    /// `Access-Control-Request-Method`: a browser asks whether a page may call.
    pub(crate) is_preflight: bool,
    /// `Access-Control-Request-Headers`
    pub(crate) page_headers: Option<&'b [u8]>,
}

impl<'b> Provenance<'b> {
    /// Notes a field, if it says anything about where the request comes from.
    pub(crate) fn note(&mut self, field: RequestField, value: &'b [u8]) {
        match field {
            RequestField::Host => {
                self.hosts += 1;
                self.host = Some(value);
            }
            RequestField::Origin => {
                self.origins += 1;
                self.origin = Some(value);
            }
            // With two of them, one could speak for the other; no program sends two.
            RequestField::Referer => self.page |= self.referer.replace(value).is_some(),
            RequestField::FetchSite => {
                self.foreign |= !value.eq_ignore_ascii_case(b"none")
                    && !value.eq_ignore_ascii_case(b"same-origin");
            }
            RequestField::FetchMode => self.page |= value.eq_ignore_ascii_case(b"navigate"),
            RequestField::FetchDest => {
                self.page |= PAGES.iter().any(|page| value.eq_ignore_ascii_case(page));
            }
            RequestField::Forwarded => self.forwarded = true,
            RequestField::PageMethod => self.is_preflight = true,
            RequestField::PageHeaders => self.page_headers = Some(value),
            _ => {}
        }
    }

    /// Lets the request in and returns the host it was addressed to, lower case, without its port.
    pub(crate) fn admit(
        &self,
        head: &Head<'_, '_>,
        authority: Option<&'b [u8]>,
        wall: &Wall<'_>,
    ) -> Result<Cow<'b, str>, Refusal> {
        if self.hosts > 1 {
            return Err(malformed("there are two Host fields"));
        }
        if self.host.is_none() && head.version == Version::Http11 {
            return Err(malformed("HTTP/1.1 needs a Host field"));
        }
        if let (Some(authority), Some(host)) = (authority, self.host)
            && !authority.eq_ignore_ascii_case(host)
            && !is_same_address(authority, host)
        {
            return Err(malformed("the Host field and the address in the target differ"));
        }
        if self.forwarded && !wall.settings.behind_proxy {
            return Err(Refusal::browser(
                Sign::Forwarded,
                "the request was forwarded by a proxy or tunnel; set gateway.behind_proxy = true \
                 if that is meant",
            ));
        }
        self.admit_page(wall)?;
        wall.host(authority.or(self.host))
    }

    /// The origin of the page that sends this, if the operator allows it.
    pub(crate) fn allowed_origin<'s>(&self, settings: &'s config::Gateway) -> Option<&'s str> {
        let origin = self.origin.filter(|_| self.origins == 1)?;
        listed_origin(settings, origin)
    }

    fn admit_page(&self, wall: &Wall<'_>) -> Result<(), Refusal> {
        let allowed = self.allowed_origin(wall.settings).is_some();
        if self.origin.is_some() && !allowed {
            return Err(Refusal::browser(
                Sign::Origin,
                "requests of web pages are refused; allow the page's origin in gateway.origins if \
                 it is yours",
            ));
        }
        let allows = |referer| listed_origin(wall.settings, origin_of(referer)).is_some();
        if self.referer.is_some_and(|referer| !allows(referer)) {
            let text = "a Referer field shows that a web page sends this request";
            return Err(Refusal::browser(Sign::Origin, text));
        }
        if self.page || (!allowed && self.foreign) {
            let text = "browsers are refused; this address is for programs";
            return Err(Refusal::browser(Sign::SecFetch, text));
        }
        Ok(())
    }
}

/// The names and origins that are let in.
#[derive(Debug)]
pub(crate) struct Wall<'w> {
    pub(crate) settings: &'w config::Gateway,
    pub(crate) portals: &'w Portals,
    pub(crate) doors: &'w Doors,
    /// Whether the connection came over a unix socket, where a host name protects nothing.
    pub(crate) local_socket: bool,
}

/// The addresses that clients connect to, as bound.
#[derive(Debug, Default)]
pub(crate) struct Doors(Box<[SocketAddr]>);

impl Doors {
    pub(crate) fn of(sockets: &[Bound]) -> Self {
        Self(sockets.iter().filter_map(Bound::tcp).collect())
    }

    fn has_port(&self, port: u16) -> bool {
        self.0.iter().any(|door| door.port() == port)
    }

    /// Whether it is an address that was named to be listened on, with its port. Without one it is
    /// the port of http:// or https://.
    fn has(&self, ip: IpAddr, port: Option<u16>) -> bool {
        let is_port = |own| port.map_or(matches!(own, 80 | 443), |port| port == own);
        self.0.iter().any(|door| door.ip() == ip && is_port(door.port()))
    }
}

impl Wall<'_> {
    fn host<'b>(&self, host: Option<&'b [u8]>) -> Result<Cow<'b, str>, Refusal> {
        let Some((name, port)) = host.and_then(host_and_port) else {
            return if self.local_socket {
                Ok(LOCALHOST.into())
            } else {
                let text = "the Host field is missing or not a host name";
                Err(Refusal::browser(Sign::Host, text))
            };
        };
        let known = if is_loopback_name(&name) {
            self.admit_port(&name, port)?;
            true
        } else {
            self.local_socket || self.portals.by_domain(&name).is_some() || self.is_own(&name, port)
        };
        if known {
            return Ok(name);
        }
        Err(Refusal::browser(
            Sign::Host,
            "this Host is not a name of the gateway; use localhost, or add the name to \
             gateway.hosts",
        ))
    }

    /// A page that was loaded from another port of this machine is another site, so a loopback name
    /// has to name a port that leads here.
    fn admit_port(&self, name: &str, port: Option<u16>) -> Result<(), Refusal> {
        let Some(port) = port else { return Ok(()) };
        if self.local_socket || self.doors.has_port(port) {
            return Ok(());
        }
        let opened = self.settings.hosts.iter().any(|known| {
            is_loopback_name(&known.host) && known.port.is_none_or(|open| open == port)
        });
        if opened || self.is_portal(name, port) {
            return Ok(());
        }
        let text = format!(
            "the Host field names port {port}, where the gateway does not listen; if a published \
             port or `ssh -L` leads here, add \"localhost:{port}\" to gateway.hosts"
        );
        Err(Refusal::browser(Sign::Host, text))
    }

    /// Whether a portal lives there, on this very machine.
    fn is_portal(&self, name: &str, port: u16) -> bool {
        let portal = self.portals.by_domain(name);
        portal.is_some_and(|portal| portal.site().authority == format!("{name}:{port}"))
    }

    /// Whether it is a name of the configuration, or an address that is listened on.
    fn is_own(&self, name: &str, port: Option<u16>) -> bool {
        let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
        let ip: Option<IpAddr> = bare.parse().ok();
        if ip.is_some_and(|ip| ip.is_unspecified()) {
            return false;
        }
        let known = |known: &config::HostName| {
            known.host == bare && (known.port.is_none() || known.port == port)
        };
        self.settings.hosts.iter().any(known) || ip.is_some_and(|ip| self.doors.has(ip, port))
    }
}

/// The origin of the configuration that this one is.
fn listed_origin<'s>(settings: &'s config::Gateway, origin: &[u8]) -> Option<&'s str> {
    let is_it = |known: &&String| known.as_bytes().eq_ignore_ascii_case(origin);
    settings.origins.iter().find(is_it).map(String::as_str)
}

/// A name that means this machine to every resolver: a page cannot make it lead elsewhere.
fn is_loopback_name(name: &str) -> bool {
    matches!(name, LOCALHOST | "127.0.0.1" | "[::1]" | "::1") || name.ends_with(".localhost")
}

/// Whether two spellings differ in case, or in a port that http:// means anyway.
fn is_same_address(authority: &[u8], host: &[u8]) -> bool {
    let parts = |text| host_and_port(text).map(|(name, port)| (name, port.unwrap_or(80)));
    parts(authority).is_some_and(|authority| parts(host) == Some(authority))
}

/// Host name of a Host field, lower case and without its trailing dot, and the port if there is one.
fn host_and_port(value: &[u8]) -> Option<(Cow<'_, str>, Option<u16>)> {
    // What nearly every call says need not be read letter by letter.
    if let Some(after) = value.strip_prefix(LOCALHOST.as_bytes())
        && matches!(after, [] | [b':', ..])
    {
        return with_port(LOCALHOST.into(), after);
    }
    let text = std::str::from_utf8(value).ok()?;
    let host_end = match text.strip_prefix('[') {
        Some(inside) => inside.find(']')? + 2,
        None => text.find(':').unwrap_or(text.len()),
    };
    let (host, after) = text.split_at(host_end);
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || b".-_[]:".contains(&byte);
    let host = host.strip_suffix('.').unwrap_or(host);
    if host.is_empty() || !host.bytes().all(sound) {
        return None;
    }
    with_port(lower_case(host), after.as_bytes())
}

/// A host name and the port behind it, `:` and all; there need not be one.
fn with_port<'v>(name: Cow<'v, str>, after: &[u8]) -> Option<(Cow<'v, str>, Option<u16>)> {
    let port = match after {
        [] | [b':'] => None,
        [b':', digits @ ..] => Some(read_length(digits)?.try_into().ok()?),
        _ => return None,
    };
    Some((name, port))
}

fn lower_case(name: &str) -> Cow<'_, str> {
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        name.to_ascii_lowercase().into()
    } else {
        name.into()
    }
}

/// Scheme and authority of a URL.
fn origin_of(url: &[u8]) -> &[u8] {
    let after_scheme = memchr::memmem::find(url, b"://").map_or(0, |at| at + 3);
    let rest = url.get(after_scheme..).unwrap_or_default();
    let end = memchr::memchr3(b'/', b'?', b'#', rest).unwrap_or(rest.len());
    url.get(..after_scheme + end).unwrap_or_default()
}

const LOCALHOST: &str = "localhost";
/// What a browser asks for when it is about to show, embed or run the answer.
const PAGES: [&[u8]; 10] = [
    b"document",
    b"iframe",
    b"frame",
    b"fencedframe",
    b"object",
    b"embed",
    b"script",
    b"serviceworker",
    b"sharedworker",
    b"worker",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_read_without_case_and_trailing_dot_and_apart_from_their_port() {
        for (value, name) in [
            ("localhost", Some(("localhost", None))),
            ("LOCALHOST.:8024", Some(("localhost", Some(8024)))),
            ("localhost:", Some(("localhost", None))),
            ("127.0.0.1:8024", Some(("127.0.0.1", Some(8024)))),
            ("[::1]:8024", Some(("[::1]", Some(8024)))),
            ("[::1]", Some(("[::1]", None))),
            ("", None),
            (":80", None),
            ("localhost:evil", None),
            ("localhost:+80", None),
            ("localhost@evil", None),
            ("[::1]evil", None),
            ("localhost:80:80", None),
            ("localhost:65536", None),
        ] {
            let found = host_and_port(value.as_bytes());
            let found = found.as_ref().map(|(name, port)| (&**name, *port));
            assert_eq!(found, name, "{value}");
        }
    }

    #[test]
    fn an_address_that_is_listened_on_is_a_name_with_its_port_only() {
        let doors = Doors(["10.0.0.5:8024", "[fd00::1]:80"].map(|it| it.parse().unwrap()).into());
        let has = |ip: &str, port| doors.has(ip.parse().unwrap(), port);
        assert!(has("10.0.0.5", Some(8024)) && has("fd00::1", Some(80)) && has("fd00::1", None));
        assert!(!has("10.0.0.5", None) && !has("10.0.0.5", Some(80)) && !has("10.0.0.6", Some(80)));
        assert!(doors.has_port(8024) && doors.has_port(80) && !doors.has_port(8025));
    }

    #[test]
    fn an_address_in_the_target_and_the_host_may_differ_in_what_means_nothing() {
        for (authority, host, same) in [
            ("acme.bitrix24.com", "ACME.bitrix24.com:80", true),
            ("acme.bitrix24.com:80", "acme.bitrix24.com", true),
            ("acme.bitrix24.com:8080", "acme.bitrix24.com", false),
            ("acme.bitrix24.com", "acme.bitrix24.de", false),
            ("", "", false),
        ] {
            let found = is_same_address(authority.as_bytes(), host.as_bytes());
            assert_eq!(found, same, "{authority} {host}");
        }
    }

    #[test]
    fn the_origin_of_a_url_is_its_scheme_and_authority() {
        assert_eq!(origin_of(b"https://a.example/x?y"), b"https://a.example");
        assert_eq!(origin_of(b"https://a.example"), b"https://a.example");
        assert_eq!(origin_of(b"nonsense"), b"nonsense");
    }
}
