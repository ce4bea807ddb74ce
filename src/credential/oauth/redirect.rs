//! Old servers answer by sending the browser on, with the tokens in the address. Nobody follows:
//! what the address carries is the answer, and the address itself is neither kept nor shown.

use serde_json::{Map, Value};
use zeroize::Zeroizing;

/// What the address of a redirect says.
pub(super) enum Told {
    /// A pair: an answer like that of status 200, as an object.
    Pair(Zeroizing<Vec<u8>>),
    /// An error code, as an object.
    Error(Zeroizing<Vec<u8>>),
}

/// Reads the parameters of `location`, in its query or in its fragment. Of a name that stands there
/// twice the first counts.
pub(super) fn read(status: u16, location: &str) -> Option<Told> {
    if !(300..400).contains(&status) {
        return None;
    }
    let (_, parameters) = location.split_once(['?', '#'])?;
    let mut object = Map::new();
    for part in parameters.split(['?', '#']) {
        for (name, value) in form_urlencoded::parse(part.as_bytes()) {
            object.entry(name).or_insert_with(|| Value::String(value.into_owned()));
        }
    }
    let has = |name| object.get(name).and_then(Value::as_str).is_some_and(|it| !it.is_empty());
    let told = if has("error") {
        Told::Error
    } else if has("access_token") && has("refresh_token") {
        Told::Pair
    } else {
        return None;
    };
    // Room for all of it at once: a growing buffer would leave pieces of the tokens behind.
    let mut body = Zeroizing::new(Vec::with_capacity(location.len() * 6 + 64));
    serde_json::to_writer(&mut *body, &object).ok()?;
    Some(told(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(told: Option<Told>) -> Option<(char, String)> {
        let (kind, body) = match told? {
            Told::Pair(body) => ('p', body),
            Told::Error(body) => ('e', body),
        };
        Some((kind, String::from_utf8(body.to_vec()).unwrap()))
    }

    #[test]
    fn the_parameters_of_an_address_are_an_answer_wherever_they_stand() {
        let pair = r#"{"access_token":"A","expires_in":"3600","refresh_token":"R"}"#;
        for location in [
            "https://x/?access_token=A&refresh_token=R&expires_in=3600",
            "/cb?access_token=A&expires_in=3600&refresh_token=R&access_token=B",
            "https://x/#access_token=A&refresh_token=R&expires_in=3600",
            "https://x/?refresh_token=R#access_token=A&expires_in=3600",
            "?access_token=%41&refresh_token=R&expires_in=3600",
        ] {
            assert_eq!(text(read(302, location)), Some(('p', pair.to_owned())), "{location}");
        }
        let error = r#"{"access_token":"A","error":"invalid_grant","refresh_token":"R"}"#;
        let location = "https://x/?error=invalid_grant&access_token=A&refresh_token=R";
        assert_eq!(text(read(303, location)), Some(('e', error.to_owned())));
        let awkward = "https://x/?access_token=%22%5C%00%F0%9F%98%80&refresh_token=R";
        let (_, body) = text(read(302, awkward)).unwrap();
        let object: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(object.get("access_token").unwrap(), "\"\\\0\u{1f600}");
    }

    #[test]
    fn an_address_without_a_whole_pair_is_no_answer() {
        for (status, location) in [
            (302, "https://x/"),
            (302, "https://x/access_token=A&refresh_token=R"),
            (302, "https://x/?access_token=A"),
            (302, "https://x/?access_token=A&refresh_token="),
            (302, "https://x/?refresh_token=R&error="),
            (200, "https://x/?access_token=A&refresh_token=R"),
            (400, "https://x/?error=invalid_grant"),
        ] {
            assert_eq!(text(read(status, location)), None, "{status} {location}");
        }
    }
}
