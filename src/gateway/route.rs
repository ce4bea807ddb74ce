//! From the request target to a portal and a method.
//!
//! The path is matched raw against what a method name can be; whatever needs decoding or
//! normalising first is not a method, so no path of a client ever reaches another page of the
//! portal with the portal's token.

use std::net::Ipv4Addr;
use std::sync::Arc;

use crate::error::{Kind, Refusal};
use crate::gateway::caller::Shown;
use crate::gateway::head::malformed;
use crate::portal::{Portal, Portals};

/// A request target, taken apart.
#[derive(Debug)]
pub(crate) struct Target<'b> {
    /// Of the absolute form (the gateway used as an HTTP proxy).
    pub(crate) authority: Option<&'b [u8]>,
    /// The portal named in the path: `/<portal>/rest/...`.
    pub(crate) portal: Option<&'b str>,
    pub(crate) api: Api,
    /// The method with its suffix, byte for byte.
    pub(crate) method: &'b [u8],
    /// Where the secret of a webhook stands.
    pub(crate) key: Option<Shown<'b>>,
    pub(crate) query: &'b [u8],
}

/// The two families of Bitrix24 REST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    /// `/rest/<method>`: versions 1 and 2.
    V1,
    /// `/rest/api/<method>`: version 3.
    V3,
}

impl<'b> Target<'b> {
    /// Takes a target apart; 404 when its path is not a method.
    pub(crate) fn parse(target: &'b [u8]) -> Result<Self, Refusal> {
        let (authority, rest) = split_authority(target)?;
        let query_at = memchr::memchr(b'?', rest);
        let (path, query) = rest.split_at(query_at.unwrap_or(rest.len()));
        let mut segments = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty());
        let mut next = || segments.next();
        let first = next().ok_or_else(not_a_method)?;
        let portal = if first == b"rest" {
            None
        } else {
            let name = std::str::from_utf8(first).ok().filter(|name| is_portal_name(name));
            if next() != Some(b"rest") {
                return Err(not_a_method());
            }
            Some(name.ok_or_else(not_a_method)?)
        };
        let (api, key, method) = method(next)?;
        let query = query.get(1..).unwrap_or_default();
        Ok(Self { authority, portal, api, method, key, query })
    }

    /// Whether the caller asked for XML by the method's suffix (versions 1 and 2 only).
    pub(crate) fn wants_xml(&self) -> bool {
        self.api == Api::V1 && self.method.ends_with(b".xml")
    }

    /// The portal that this request names: by path, by `X-B24-Portal`, by Host.
    pub(crate) fn named(
        &self,
        portals: &Portals,
        header: Option<&str>,
        host: &str,
    ) -> Result<Option<Arc<Portal>>, Refusal> {
        if let Some(name) = self.portal.or(header) {
            return named(portals, name).map(Some);
        }
        if let Some(name) = host.strip_suffix(".localhost") {
            return portals.by_name(name).ok_or_else(|| unknown(portals)).map(Some);
        }
        if host == "localhost" || is_ipv4(host) {
            return Ok(None);
        }
        Ok(portals.by_domain(host))
    }
}

/// An address, which is the gateway's own and no portal's name. Names may start with a digit.
fn is_ipv4(host: &str) -> bool {
    host.starts_with(|first: char| first.is_ascii_digit()) && host.parse::<Ipv4Addr>().is_ok()
}

/// A portal by its name, or by a domain that leads to it.
fn named(portals: &Portals, name: &str) -> Result<Arc<Portal>, Refusal> {
    portals.by_name(name).or_else(|| portals.by_domain(name)).ok_or_else(|| unknown(portals))
}

/// What the path of a call says behind `/rest/`.
type Words<'b> = (Api, Option<Shown<'b>>, &'b [u8]);

/// `<method>`, `api/<method>`, or either behind `<digits>/<key>/`.
fn method<'b>(mut next: impl FnMut() -> Option<&'b [u8]>) -> Result<Words<'b>, Refusal> {
    let first = next().ok_or_else(not_a_method)?;
    let second = next();
    let (api, first, second) = match second {
        Some(second) if first == b"api" => (Api::V3, second, next()),
        _ => (Api::V1, first, second),
    };
    let (key, method) = match (second, next(), next()) {
        (None, None, None) => (None, first),
        (Some(key), Some(method), None) if is_webhook(first, key) => (Shown::new(key), method),
        _ => return Err(not_a_method()),
    };
    if is_method(method) { Ok((api, key, method)) } else { Err(not_a_method()) }
}

/// The user and secret of a webhook URL, which the gateway replaces by its own credential. Where it
/// has clients, the secret is the key of one.
fn is_webhook(user: &[u8], key: &[u8]) -> bool {
    user.len() <= 20
        && user.iter().all(u8::is_ascii_digit)
        && key.len() <= 128
        && key.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_' || *byte == b'-')
}

/// Words of letters, digits and `_`, with dots between them.
pub(crate) fn is_method(method: &[u8]) -> bool {
    method.len() <= METHOD_MAX
        && method.split(|byte| *byte == b'.').all(|word| {
            !word.is_empty()
                && word.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
        })
}

fn is_portal_name(name: &str) -> bool {
    name.len() <= 255
        && name.starts_with(|first: char| first.is_ascii_alphanumeric())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte))
}

fn split_authority(target: &[u8]) -> Result<(Option<&[u8]>, &[u8]), Refusal> {
    if target.first() == Some(&b'/') {
        return Ok((None, target));
    }
    // Whatever it says, the portal is called as its configuration has it.
    let after = |scheme: &[u8]| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    let rest = after(b"http://")
        .or_else(|| after(b"https://"))
        .ok_or_else(|| malformed("the request target is neither a path nor an http:// address"))?;
    let end = rest.iter().position(|byte| b"/?".contains(byte)).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    Ok((Some(authority), rest))
}

fn not_a_method() -> Refusal {
    Refusal::new(
        Kind::NotAMethod,
        "the path is not a REST method: call /rest/<method>, such as /rest/profile",
    )
}

/// Names what could have been meant; portal names are the operator's, not a client's text.
/// No portal is named, or none of that name is there.
pub(crate) fn unknown(portals: &Portals) -> Refusal {
    let names = portals.names();
    let description = match names.as_slice() {
        [] => "no portal is configured: add one under [portals.NAME] and import its token".into(),
        names => {
            let shown = names.get(..names.len().min(10)).unwrap_or_default().join(", ");
            format!(
                "which portal? name it in the path (/NAME/rest/...), in the X-B24-Portal header, \
                 or set gateway.default_portal; configured: {shown}"
            )
        }
    };
    Refusal::new(Kind::PortalUnknown, description)
}

/// The longest method name that is passed on, bytes; Bitrix24's own stay under 70.
const METHOD_MAX: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(target: &str, expected: Option<(Option<&str>, Api, &str, &str)>) {
        let parsed = Target::parse(target.as_bytes());
        let seen = parsed.as_ref().ok().map(|found| {
            let text = |bytes| std::str::from_utf8(bytes).unwrap();
            (found.portal, found.api, text(found.method), text(found.query))
        });
        assert_eq!(seen, expected, "{target}");
    }

    #[test]
    fn every_shape_that_real_clients_send_is_a_method() {
        use Api::{V1, V3};
        check("/rest/profile", Some((None, V1, "profile", "")));
        check("/rest/crm.deal.list.json?a=1?b", Some((None, V1, "crm.deal.list.json", "a=1?b")));
        check("/rest/crm.deal.Get.xml/", Some((None, V1, "crm.deal.Get.xml", "")));
        check("/rest//crm.deal.get/", Some((None, V1, "crm.deal.get", "")));
        check("/rest/1/K//crm.deal.get/?x", Some((None, V1, "crm.deal.get", "x")));
        check("/rest/1/abc123/tasks.flow.Flow.get", Some((None, V1, "tasks.flow.Flow.get", "")));
        check("/rest/api/tasks.task.get", Some((None, V3, "tasks.task.get", "")));
        check("/rest/api/1/K/tasks.task.get", Some((None, V3, "tasks.task.get", "")));
        check("/rest/api", Some((None, V1, "api", "")));
        check("/acme/rest/profile", Some((Some("acme"), V1, "profile", "")));
        check("/acme.bitrix24.com/rest/1/k/a.b", Some((Some("acme.bitrix24.com"), V1, "a.b", "")));
        check("http://acme.bitrix24.com/rest/profile", Some((None, V1, "profile", "")));
        check("HTTPS://acme.bitrix24.com/rest/profile?a", Some((None, V1, "profile", "a")));
    }

    #[test]
    fn what_is_not_plainly_a_method_is_not_found() {
        for target in [
            "/",
            "/rest",
            "/rest/",
            "/restx/profile",
            "/rest/a/b",
            "/rest/x/key/profile",
            "/rest/1/k/a/b",
            "/rest/%70rofile",
            "/rest/..",
            "/rest/../bitrix/admin",
            "/rest/a..b",
            "/rest/.a",
            "/rest/a.",
            "/rest/a;b",
            "/rest/a\\b",
            "/bitrix/admin",
            "/rest/1/k/%2e%2e",
            "/rest/a b",
            "/rest/a,b",
            "/a/b/rest/profile",
            "/../rest/profile",
            "/%2e%2e/rest/profile",
            "/rest/1/../profile",
            "*",
            "ftp://a/rest/profile",
        ] {
            check(target, None);
        }
        let long = format!("/rest/{}", "a".repeat(METHOD_MAX + 1));
        check(&long, None);
    }
}
