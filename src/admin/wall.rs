//! Who may ask at all: the operator's browser on a page of ours, and programs. A page of somebody
//! else has no business here, whatever name it calls this machine by.

use std::net::IpAddr;

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, HeaderValue, Method};

use crate::door::Asked;

use super::only_looks;
use super::refusal::Refusal;

/// By which names the listener may be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hosts {
    /// This machine's own, since any web page can give its name our address.
    Loopback,
    /// The same, with a password, perhaps behind a TLS server of the operator.
    LoopbackBehindPassword,
    /// Any: there is a password, and a page that gives its name our address does not have it.
    Any,
}

/// Refuses what a foreign page sends.
pub(super) fn check(asked: &Asked, hosts: Hosts, is_front_page: bool) -> Result<(), Refusal> {
    let headers = asked.headers();
    let host = only(headers, HOST.as_str()).and_then(|host| host.to_str().ok());
    let Some(host) = host else {
        return Err(Refusal::forbidden("a request names one Host"));
    };
    if asked.uri().authority().is_some_and(|authority| authority.as_str() != host) {
        return Err(Refusal::forbidden("the request names two hosts"));
    }
    if hosts != Hosts::Any && !is_loopback_name(host) {
        return Err(Refusal::forbidden("open this page as http://localhost:PORT/"));
    }
    if headers.contains_key(ORIGIN) && !is_own_origin(headers, host, hosts) {
        return Err(Refusal::forbidden("other web pages have no business here"));
    }
    let followed_a_link = is_front_page && is_followed_link(asked);
    if comes_from_elsewhere(headers) && !followed_a_link {
        return Err(Refusal::forbidden("other web pages have no business here"));
    }
    Ok(())
}

/// The value of a field that is there once.
fn only<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a HeaderValue> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => Some(value),
        _ => None,
    }
}

fn is_own_origin(headers: &HeaderMap, host: &str, hosts: Hosts) -> bool {
    let Some(origin) = only(headers, ORIGIN.as_str()).and_then(|origin| origin.to_str().ok())
    else {
        return false;
    };
    let mut schemes: &[&str] = &["http://", "https://"];
    if hosts == Hosts::Loopback {
        // Nobody speaks TLS here, so a page that came by it is another one.
        schemes = &["http://"];
    }
    let is_ours = |scheme: &&str| {
        let named = origin.strip_prefix(scheme);
        named.is_some_and(|named| named.eq_ignore_ascii_case(host))
    };
    schemes.iter().any(is_ours)
}

/// Browsers say where a request comes from; programs say nothing.
fn comes_from_elsewhere(headers: &HeaderMap) -> bool {
    let ours = |site: &HeaderValue| site == "none" || site == "same-origin";
    !headers.get_all("sec-fetch-site").iter().all(ours)
}

/// The front page may be opened from a chat, an alert, the page on which a login ended. It changes
/// nothing, it cannot be framed, and whoever links to it cannot read it.
fn is_followed_link(asked: &Asked) -> bool {
    let is = |name: &str, wanted: &str| only(asked.headers(), name).is_some_and(|it| it == wanted);
    asked.method() == Method::GET
        && is("sec-fetch-mode", "navigate")
        && is("sec-fetch-dest", "document")
}

/// `localhost` or an address of this machine, with or without a port.
fn is_loopback_name(host: &str) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((name, port)) if name.contains(':') => (name, port),
            _ => return false,
        },
        None => host.find(':').map_or((host, ""), |at| host.split_at(at)),
    };
    let is_port = |port: &str| {
        let digits = port.strip_prefix(':').unwrap_or_default();
        digits.bytes().all(|byte| byte.is_ascii_digit()) && digits.parse::<u16>().is_ok()
    };
    (port.is_empty() || is_port(port))
        && (name.eq_ignore_ascii_case("localhost")
            || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()))
}

/// Whether a browser may have sent it: browsers name where a page comes from, programs do not.
pub(super) fn may_be_a_browser(headers: &HeaderMap) -> bool {
    headers.contains_key(ORIGIN)
        || headers.keys().any(|name| name.as_str().starts_with("sec-fetch-"))
}

/// Refuses a change that did not come from a page or a program that has read `csrf` here.
pub(super) fn check_token(
    csrf: &crate::secret::Secret,
    method: &Method,
    given: Option<&str>,
) -> Result<(), Refusal> {
    if only_looks(method) || given.is_some_and(|given| csrf.matches(given)) {
        return Ok(());
    }
    Err(Refusal::forbidden(
        "the page is older than the gateway, or the request is not from it: load the page again \
         (programs: GET /api/v1/session, and send X-CSRF-Token)",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_this_machine_and_no_other_open_a_listener_without_a_password() {
        for host in [
            "localhost",
            "LOCALHOST:8025",
            "127.0.0.1",
            "127.0.0.1:8025",
            "127.9.9.9:1",
            "[::1]",
            "[::1]:8025",
        ] {
            assert!(is_loopback_name(host), "{host}");
        }
        for host in [
            "",
            ":",
            "localhost.evil.example",
            "localhost.",
            "evil.example",
            "127.0.0.1.nip.io",
            "127.1",
            "2130706433",
            "0x7f.1",
            "0.0.0.0",
            "[::]",
            "[::ffff:127.0.0.1]",
            "[::1",
            "[127.0.0.1]",
            "[::1]evil",
            "localhost:evil",
            "localhost:",
            "localhost:99999",
            "localhost:+1",
            "localhost@evil",
            "localhost:1:2",
            "::1",
            " localhost",
            "10.0.0.1",
        ] {
            assert!(!is_loopback_name(host), "{host}");
        }
    }

    fn asked(fields: &[(&str, &str)]) -> Asked {
        let mut request = http::Request::get("/api/v1/session");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(zeroize::Zeroizing::default()).unwrap()
    }

    #[test]
    fn behind_a_password_any_name_will_do_where_other_machines_may_come() {
        let far = asked(&[("host", "gate.example.com:8025")]);
        assert!(check(&far, Hosts::Any, false).is_ok());
        for hosts in [Hosts::Loopback, Hosts::LoopbackBehindPassword] {
            assert!(check(&far, hosts, false).is_err(), "{hosts:?}");
        }
        assert!(check(&asked(&[]), Hosts::Any, false).is_err(), "one Host it must be");
        let foreign = [("host", "gate.example.com"), ("origin", "https://evil.example")];
        assert!(check(&asked(&foreign), Hosts::Any, false).is_err());
        let from_another = [("host", "gate.example.com"), ("sec-fetch-site", "cross-site")];
        assert!(check(&asked(&from_another), Hosts::Any, false).is_err());
    }

    #[test]
    fn behind_a_password_our_page_may_have_come_by_tls() {
        let own = asked(&[("host", "localhost:8025"), ("origin", "https://localhost:8025")]);
        assert!(check(&own, Hosts::LoopbackBehindPassword, false).is_ok());
        assert!(check(&own, Hosts::Any, false).is_ok());
        assert!(check(&own, Hosts::Loopback, false).is_err());
    }
}
