//! S-33: paths that are no method. The portal's other pages must be out of reach, because whatever
//! is forwarded carries the portal's token.

use crate::support::wire::{request, stage};

use super::{only_probes, refused};

const PATHS: &[&str] = &[
    "/",
    "//",
    "/?",
    "/?a=/rest/profile",
    "/rest",
    "/rest/",
    "/rest//",
    "/REST/profile",
    "/Rest/profile",
    "/rest.php",
    "/restx/profile",
    "/xrest/profile",
    "/rest/profile/x",
    "/rest/profile/x/y/z",
    "/rest/profile;x",
    "/rest/profile;jsessionid=1",
    "/rest;x/profile",
    "/rest/;/profile",
    "/rest/profile:80",
    "/rest/profile@evil",
    "/rest/profile,x",
    "/rest/profile&x=1",
    "/rest/profile=1",
    "/rest/profile+x",
    "/rest/profile*",
    "/rest/profile!",
    "/rest/profile~",
    "/rest/profile|x",
    "/rest/pro'file",
    "/rest/pro\"file",
    "/rest/pro<file>",
    "/rest/{profile}",
    "/rest/[profile]",
    "/rest/$profile",
    "/rest/profil\u{e9}",
    "/rest/\u{202e}eliforp",
    "/rest/profile-x",
    "/rest/..",
    "/rest/../",
    "/rest/.",
    "/rest/./profile",
    "/rest/../profile",
    "/rest/../rest/profile",
    "/rest/..;/profile",
    "/rest/.../profile",
    "/rest/profile/..",
    "/rest/profile/../../bitrix/admin/",
    "/../rest/profile",
    "/./rest/profile",
    "/x/../rest/profile",
    "/rest/profile..",
    "/rest/..profile",
    "/rest/.profile",
    "/rest/profile.",
    "/rest/pro..file",
    "/rest/\\profile",
    "/rest\\profile",
    "\\rest\\profile",
    "/\\evil.example/rest/profile",
    "/rest/..\\..\\bitrix",
    "/rest/%70rofile",
    "/%72est/profile",
    "/rest%2fprofile",
    "/rest/%2e%2e/profile",
    "/rest/%2e%2e%2f%2e%2e%2fbitrix/admin",
    "/rest/..%2f..%2fbitrix%2fadmin",
    "/rest/..%5c..%5cbitrix",
    "/rest/%252e%252e%252fprofile",
    "/rest/%c0%ae%c0%ae/profile",
    "/rest/%uff0e%uff0e/profile",
    "/rest/profile%00",
    "/rest/profile%00.json",
    "/rest/profile%0d%0aX:%20y",
    "/rest/profile%20HTTP/1.1%0d%0aHost:%20evil",
    "/rest/profile%3fauth=x",
    "/rest/profile%23",
    "/rest/profile%3bx",
    "/bitrix/admin/",
    "/bitrix/tools/composite_data.php",
    "/upload/1/../../rest/profile",
    "/oauth/token/?grant_type=refresh_token",
    "/oauth/authorize/",
    "/sandbox/state",
    "/sandbox/seed",
    "/api/v1/portals",
    "/metrics",
    "/livez",
    "/rest/1/key",
    "/rest/x/key/profile",
    "/rest/1x/key/profile",
    "/rest/1/k%65y/profile",
    "/rest/1/key;x/profile",
    "/rest/1/../profile",
    "/rest/1/./profile",
    "/rest/1/key/..",
    "/rest/1/key/a/b",
    "/rest/1/key/pro%66ile",
    "/rest/-1/key/profile",
    "/rest/111111111111111111111/key/profile",
    "/rest/api/1/key",
    "/rest/api/x/key/profile",
    "/rest/api/../profile",
    "/rest/api/api/profile",
    "/rest/api/1/key/a/b",
    "/unknown/rest/profile",
    "/acme/acme/rest/profile",
    "/acme/restx/profile",
    "/acme/../rest/profile",
    "/ACME%2frest/profile",
    "/.acme/rest/profile",
    "/acme:evil@x/rest/profile",
    "http://localhost/",
    "http://localhost/bitrix/admin/",
    "http://localhost/rest/%2e%2e/",
    "http://localhost?/rest/profile",
];

#[tokio::test]
async fn s_33_a_path_that_is_no_method_is_a_404_and_goes_nowhere() {
    let (portal, gate) = stage().await;
    for (number, path) in PATHS.iter().enumerate() {
        for (round, (verb, body)) in [("GET", &b""[..]), ("POST", b"a=1")].iter().enumerate() {
            let wire = request(&format!("{verb} {path}"), "", body);
            let answer = refused(&gate, &wire, number * 2 + round).await;
            let expected = if path.starts_with('\\') { 400 } else { 404 };
            assert_eq!(answer.status, expected, "{path}: {}", answer.text());
        }
    }
    only_probes(&portal);
}

#[tokio::test]
async fn s_33_names_beyond_any_method_are_a_404() {
    let (portal, gate) = stage().await;
    for (number, path) in [
        format!("/rest/{}", "a".repeat(201)),
        format!("/rest/{}", "a.".repeat(3_000)),
        format!("/rest/1/{}/profile", "k".repeat(129)),
        format!("/{}/rest/profile", "p".repeat(256)),
        format!("/{}", "../".repeat(5_000)),
        format!("/rest/{}", "1/k/".repeat(5_000)),
    ]
    .iter()
    .enumerate()
    {
        assert_eq!(
            refused(&gate, &request(&format!("GET {path}"), "", b""), number).await.status,
            404
        );
    }
    only_probes(&portal);
    // An empty segment is none, however many there are.
    let slashes = format!("GET {}rest{}profile", "/".repeat(9_000), "/".repeat(9_000));
    let answer = crate::support::http::send(gate.address, request(&slashes, "", b"")).await;
    assert_eq!(answer.status, 200);
}
