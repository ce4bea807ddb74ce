//! As much of a browser as a login needs: redirects and cookies.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use crate::support::Gate;
use crate::support::http::{self, Answer};

use super::PUBLIC;

/// Cookies by host and name, and where [`PUBLIC`] is.
#[derive(Clone, Debug)]
pub(super) struct Browser {
    gate: SocketAddr,
    pub(super) cookies: BTreeMap<(String, String), Cookie>,
}

#[derive(Clone, Debug)]
pub(super) struct Cookie {
    pub(super) value: String,
    secure: bool,
}

/// A page, and the addresses on the way to it, its own the last.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) answer: Answer,
    pub(super) trail: Vec<String>,
}

impl Browser {
    pub(super) fn new(gate: &Gate) -> Self {
        Self { gate: gate.callback, cookies: BTreeMap::new() }
    }

    /// Opens an address and follows redirects.
    pub(super) async fn open(&mut self, url: &str) -> Page {
        let (mut url, mut trail) = (url.to_owned(), Vec::new());
        for _ in 0..8 {
            let answer = self.get(&url).await;
            trail.push(url.clone());
            match next(&url, &answer) {
                Some(to) => url = to,
                None => return Page { answer, trail },
            }
        }
        panic!("redirected in a circle: {trail:?}");
    }

    /// Follows redirects up to the one that leads to an address with `part`, which is not opened.
    pub(super) async fn follow_until(&mut self, url: &str, part: &str) -> String {
        let mut url = url.to_owned();
        for _ in 0..8 {
            let answer = self.get(&url).await;
            url = next(&url, &answer).unwrap_or_else(|| panic!("{url}: {}", answer.text()));
            if url.contains(part) {
                return url;
            }
        }
        panic!("redirected in a circle");
    }

    /// One request, with the cookies that belong there.
    pub(super) async fn get(&mut self, url: &str) -> Answer {
        let answer = http::send(self.address(url), self.request(url)).await;
        let (host, tls) = (host(url).to_owned(), url.starts_with("https://"));
        let set = answer.head.lines().filter_map(|line| line.strip_prefix("set-cookie: "));
        for field in set {
            let mut parts = field.split("; ");
            let (name, value) = parts.next().unwrap().split_once('=').unwrap();
            let secure = parts.any(|part| part == "Secure");
            assert!(tls || !secure, "a browser ignores {field}");
            let cookie = Cookie { value: value.to_owned(), secure };
            self.cookies.insert((host.clone(), name.to_owned()), cookie);
        }
        answer
    }

    /// The request for an address, as bytes.
    pub(super) fn request(&self, url: &str) -> String {
        let (host, tls) = (host(url), url.starts_with("https://"));
        let path = &url[url.find(host).unwrap() + host.len()..];
        let kept =
            self.cookies.iter().filter(|((own, _), cookie)| own == host && (tls || !cookie.secure));
        let cookies: Vec<_> =
            kept.map(|((_, name), cookie)| format!("{name}={}", cookie.value)).collect();
        let field = match cookies.as_slice() {
            [] => String::new(),
            cookies => format!("Cookie: {}\r\n", cookies.join("; ")),
        };
        format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{field}\r\n")
    }

    /// Where a host is.
    pub(super) fn address(&self, url: &str) -> SocketAddr {
        if url.starts_with(PUBLIC) { self.gate } else { host(url).parse().unwrap() }
    }
}

fn host(url: &str) -> &str {
    let rest = url.split_once("://").unwrap().1;
    rest.split(['/', '?']).next().unwrap()
}

/// Where a redirect leads.
fn next(url: &str, answer: &Answer) -> Option<String> {
    let to = answer.field("location").filter(|_| matches!(answer.status, 302 | 303))?;
    if to.starts_with('/') {
        let (scheme, rest) = url.split_once("://").unwrap();
        return Some(format!("{scheme}://{}{to}", rest.split(['/', '?']).next().unwrap()));
    }
    Some(to.to_owned())
}
