//! What is asked for, by path. Names of portals stand in it percent-encoded, and are decoded
//! strictly: what could be read in two ways is read in none.

use http::Method;

use super::deeds::Deed;
use super::only_looks;
use super::refusal::Refusal;

/// What can be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// `/`
    Page,
    /// `/calls`
    Calls,
    /// What the page is made of besides.
    Part(Part),
    /// A button of the page.
    Form(Deed, String),
    /// `/livez`, `/readyz`
    Health(Health),
    /// `/metrics`
    Metrics,
    /// `/api/v1/...`
    Api(Api),
}

/// What a page loads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// `/page.css`
    Style,
    /// `/page.js`
    Script,
    /// `/icon.svg`
    Icon,
}

/// What machines ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Health {
    /// `/livez`
    Live,
    /// `/readyz`
    Ready,
}

/// What programs ask, below `/api/v1`; the text is a portal's name or a login's number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Api {
    /// `/openapi.json`
    Description,
    /// `/session`
    Session,
    /// `/events`
    Events,
    /// `/clients`
    Clients,
    /// `/calls`
    Calls,
    /// `/portals`
    Portals,
    /// `/portals/{name}`
    Portal(String),
    /// `/portals/{name}/chains`
    Chains(String),
    /// `/portals/{name}/ledger`
    Ledger(String),
    /// `/portals/{name}/token`
    Token(String),
    /// `/portals/{name}/connect` and so on
    Do(Deed, String),
    /// `/logins/{id}`
    Login(String),
}

/// What `path` leads to.
pub(super) fn find(path: &str) -> Result<Route, Refusal> {
    if let Some(below) = path.strip_prefix("/api/v1/") {
        return find_api(below).map(Route::Api);
    }
    Ok(match path {
        "/" => Route::Page,
        "/calls" => Route::Calls,
        "/page.css" => Route::Part(Part::Style),
        "/page.js" => Route::Part(Part::Script),
        "/icon.svg" => Route::Part(Part::Icon),
        "/livez" => Route::Health(Health::Live),
        "/readyz" => Route::Health(Health::Ready),
        "/metrics" => Route::Metrics,
        _ => {
            let found = path.strip_prefix("/portals/").and_then(|below| below.split_once('/'));
            let Some((name, deed)) = found else { return Err(nothing()) };
            Route::Form(Deed::of(deed).ok_or_else(nothing)?, decode(name)?)
        }
    })
}

fn find_api(below: &str) -> Result<Api, Refusal> {
    let parts: Vec<&str> = below.split('/').collect();
    Ok(match parts.as_slice() {
        ["openapi.json"] => Api::Description,
        ["session"] => Api::Session,
        ["events"] => Api::Events,
        ["clients"] => Api::Clients,
        ["calls"] => Api::Calls,
        ["portals"] => Api::Portals,
        ["logins", id] => Api::Login(decode(id)?),
        ["portals", name] => Api::Portal(decode(name)?),
        ["portals", name, "chains"] => Api::Chains(decode(name)?),
        ["portals", name, "ledger"] => Api::Ledger(decode(name)?),
        ["portals", name, "token"] => Api::Token(decode(name)?),
        ["portals", name, deed] => Api::Do(Deed::of(deed).ok_or_else(nothing)?, decode(name)?),
        _ => return Err(nothing()),
    })
}

fn nothing() -> Refusal {
    Refusal::not_found(
        "there is nothing here; there are /, /calls, /livez, /readyz, /metrics and what \
         /api/v1/openapi.json describes",
    )
}

/// Refuses a method that the address does not take.
pub(super) fn check_method(route: &Route, method: &Method) -> Result<(), Refusal> {
    let (allowed, fits) = match route {
        Route::Form(..) | Route::Api(Api::Do(..)) => ("POST", *method == Method::POST),
        Route::Api(Api::Portal(_)) => {
            ("GET, HEAD, DELETE", only_looks(method) || *method == Method::DELETE)
        }
        _ => ("GET, HEAD", only_looks(method)),
    };
    if fits { Ok(()) } else { Err(Refusal::method(allowed)) }
}

/// One part of a path, decoded: `%` and two hex digits, UTF-8, nothing that does not show.
fn decode(part: &str) -> Result<String, Refusal> {
    let refused = || Refusal::bad_request("the name in the path is not percent-encoded UTF-8");
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else { return Err(refused()) };
        bytes.push(u8::try_from(high * 16 + low).map_err(|_too_large| refused())?);
    }
    let name = String::from_utf8(bytes).map_err(|_no_text| refused())?;
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err(refused());
    }
    Ok(name)
}

/// A name as one part of a path.
pub(super) fn encode(name: &str) -> String {
    let mut path = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push('%');
            path.extend([byte >> 4, byte & 15].map(digit));
        }
    }
    path
}

fn digit(four_bits: u8) -> char {
    char::from_digit(four_bits.into(), 16).unwrap_or_default().to_ascii_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_dots_and_a_port_goes_into_a_path_and_comes_out_again() {
        for name in ["acme", "acme.bitrix24.com", "crm.example.com:8443", "a/b", "%", "\u{e4}"] {
            let path = format!("/api/v1/portals/{}", encode(name));
            let found = find(&path).map_err(|refusal| refusal.text);
            assert_eq!(found, Ok(Route::Api(Api::Portal(name.to_owned()))), "{path}");
        }
    }

    #[test]
    fn a_name_that_is_not_plainly_one_text_is_none() {
        for name in ["%", "%4", "%zz", "%+1", "%ff", "%00", "%0a", ""] {
            let refused = find(&format!("/api/v1/portals/{name}/chains")).unwrap_err();
            assert_eq!(refused.status, 400, "{name:?}");
        }
    }

    #[test]
    fn what_only_resembles_a_route_is_none() {
        for path in [
            "",
            "//",
            "/api",
            "/api/v1",
            "/api/v1/",
            "/api/v1/portals/acme/nothing",
            "/api/v1/portals/acme/chains/",
            "/API/v1/portals",
            "/portals/acme",
            "/portals/acme/nothing",
            "/portals/acme/connect/",
            "/page.css/",
        ] {
            assert_eq!(find(path).unwrap_err().status, 404, "{path}");
        }
    }
}
