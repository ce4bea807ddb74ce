//! The wall: no web page gets through, on any verb.
//!
//! A page in the user's browser can send requests to localhost, and Bitrix24 changes data on GET.
//! So a request passes only if it was addressed to a name of this gateway and carries no sign of a
//! browser page or of a proxy in front of one, unless the operator allowed just that.

use crate::config;
use crate::error::{Refusal, Sign};
use crate::gateway::field::RequestField;
use crate::gateway::head::{Head, Version, malformed};
use crate::portal::Portals;

/// What the fields of a request say about where it comes from.
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
            _ => {}
        }
    }

    /// Lets the request in and returns the host it was addressed to, lower case, without its port.
    pub(crate) fn admit(
        &self,
        head: &Head<'_, '_>,
        authority: Option<&[u8]>,
        wall: &Wall<'_>,
    ) -> Result<String, Refusal> {
        if self.hosts > 1 {
            return Err(malformed("there are two Host fields"));
        }
        if self.host.is_none() && head.version == Version::Http11 {
            return Err(malformed("HTTP/1.1 needs a Host field"));
        }
        if let (Some(authority), Some(host)) = (authority, self.host)
            && !authority.eq_ignore_ascii_case(host)
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

    fn admit_page(&self, wall: &Wall<'_>) -> Result<(), Refusal> {
        let allowed = self.origins == 1 && self.origin.is_some_and(|origin| wall.allows(origin));
        if self.origin.is_some() && !allowed {
            return Err(Refusal::browser(
                Sign::Origin,
                "requests of web pages are refused; allow the page's origin in gateway.origins if \
                 it is yours",
            ));
        }
        if self.referer.is_some_and(|referer| !wall.allows(origin_of(referer))) {
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
    /// Whether the connection came over a unix socket, where a host name protects nothing.
    pub(crate) local_socket: bool,
}

impl Wall<'_> {
    fn host(&self, host: Option<&[u8]>) -> Result<String, Refusal> {
        let Some(host) = host.and_then(host_name) else {
            return if self.local_socket {
                Ok(LOCALHOST.to_owned())
            } else {
                let text = "the Host field is missing or not a host name";
                Err(Refusal::browser(Sign::Host, text))
            };
        };
        let known = matches!(host.as_str(), LOCALHOST | "127.0.0.1" | "[::1]")
            || host.ends_with(".localhost")
            || self.local_socket
            || self.settings.hosts.contains(&host)
            || self.portals.by_domain(&host).is_some();
        if known {
            return Ok(host);
        }
        Err(Refusal::browser(
            Sign::Host,
            "this Host is not a name of the gateway; use localhost, or add the name to \
             gateway.hosts",
        ))
    }

    fn allows(&self, origin: &[u8]) -> bool {
        self.settings.origins.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(origin))
    }
}

/// Host name of a Host field, lower case, without port and trailing dot.
fn host_name(value: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(value).ok()?;
    let host_end = match text.strip_prefix('[') {
        Some(inside) => inside.find(']')? + 2,
        None => text.find(':').unwrap_or(text.len()),
    };
    let (host, after) = text.split_at(host_end);
    let port = if after.is_empty() { after } else { after.strip_prefix(':')? };
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || b".-_[]:".contains(&byte);
    let host = host.strip_suffix('.').unwrap_or(host);
    let port_is_sound = port.len() <= 5 && port.bytes().all(|digit| digit.is_ascii_digit());
    (!host.is_empty() && port_is_sound && host.bytes().all(sound))
        .then(|| host.to_ascii_lowercase())
}

/// Scheme and authority of a URL.
fn origin_of(url: &[u8]) -> &[u8] {
    let after_scheme = memchr::memmem::find(url, b"://").map_or(0, |at| at + 3);
    let rest = url.get(after_scheme..).unwrap_or_default();
    let end = memchr::memchr3(b'/', b'?', b'#', rest).unwrap_or(rest.len());
    url.get(..after_scheme + end).unwrap_or_default()
}

const LOCALHOST: &str = "localhost";
/// What a browser asks for when it is about to show or embed the answer as a page.
const PAGES: [&[u8]; 5] = [b"document", b"iframe", b"frame", b"object", b"embed"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_read_without_port_case_and_trailing_dot() {
        for (value, name) in [
            ("localhost", Some("localhost")),
            ("LOCALHOST.:8024", Some("localhost")),
            ("127.0.0.1:8024", Some("127.0.0.1")),
            ("[::1]:8024", Some("[::1]")),
            ("[::1]", Some("[::1]")),
            ("", None),
            (":80", None),
            ("localhost:evil", None),
            ("localhost@evil", None),
            ("[::1]evil", None),
            ("localhost:80:80", None),
            ("localhost:123456", None),
        ] {
            assert_eq!(host_name(value.as_bytes()).as_deref(), name, "{value}");
        }
    }

    #[test]
    fn the_origin_of_a_url_is_its_scheme_and_authority() {
        assert_eq!(origin_of(b"https://a.example/x?y"), b"https://a.example");
        assert_eq!(origin_of(b"https://a.example"), b"https://a.example");
        assert_eq!(origin_of(b"nonsense"), b"nonsense");
    }
}
