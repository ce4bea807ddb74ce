use super::*;

const MEMBER: &str = "0123456789abcdef0123456789ABCDEF";
const NOW: u64 = 1_800_000_000;

fn page(body: &str) -> Result<Claim, &'static str> {
    Claim::of_page(&Form::parse(body.as_bytes()), NOW)
}

fn good() -> String {
    format!("AUTH_ID=A&REFRESH_ID=R&AUTH_EXPIRES=3600&DOMAIN=Acme.bitrix24.com&member_id={MEMBER}")
}

#[test]
fn a_page_and_an_event_say_the_same_in_other_words() {
    let page = page(&(good() + "&APPLICATION_TOKEN=T&SERVER_ENDPOINT=https://evil/")).unwrap();
    let event = format!(
        "event=ONAPPINSTALL&ts=1700000000&auth[access_token]=A&auth[refresh_token]=R&\
         auth[expires_in]=3600&auth[domain]=acme.bitrix24.com&auth[member_id]={MEMBER}&\
         auth[user_id]=7&auth[client_endpoint]=https://acme.bitrix24.com/rest/&\
         auth[application_token]=T"
    );
    let event = Claim::of_event(&Form::parse(event.as_bytes()), NOW).unwrap();
    for claim in [&page, &event] {
        assert!(claim.access.matches("A") && claim.refresh.as_ref().unwrap().matches("R"));
        assert!(claim.application_token.as_ref().unwrap().matches("T"));
        assert_eq!(claim.member_id, MEMBER.to_lowercase());
        assert_eq!(claim.domain.to_string(), "acme.bitrix24.com");
        assert_eq!(claim.expires_at, Some(NOW + 3600));
    }
    assert_eq!((page.user_id, page.at), (None, NOW));
    assert_eq!((event.user_id, event.at), (Some(7), 1_700_000_000));
    assert_eq!(event.client_endpoint.unwrap().to_string(), "https://acme.bitrix24.com");
}

#[test]
fn what_lies_in_the_future_is_taken_for_now() {
    let claim = page(&(good() + "&ts=4000000000")).unwrap();
    assert_eq!(claim.at, NOW);
}

#[test]
fn forms_that_bitrix24_does_not_send_are_refused_before_anybody_is_asked() {
    page(&good()).unwrap();
    let token = "x".repeat(TOKEN_MAX + 1);
    for (what, body) in [
        ("no access token", good().replace("AUTH_ID=A&", "")),
        ("an empty access token", good().replace("AUTH_ID=A&", "AUTH_ID=&")),
        ("an access token with a blank", good().replace("AUTH_ID=A&", "AUTH_ID=A+B&")),
        ("an oversized access token", good().replace("AUTH_ID=A&", &format!("AUTH_ID={token}&"))),
        ("an oversized refresh token", good().replace("=R&", &format!("={token}&"))),
        ("an oversized application_token", format!("{}&APPLICATION_TOKEN={token}", good())),
        ("a doubled domain", good() + "&DOMAIN=acme.bitrix24.com"),
        ("a doubled token", good() + "&AUTH_ID=A"),
        ("a short member_id", good().replace("0123", "")),
        ("a member_id of other letters", good().replace("0123", "g123")),
        ("no domain", good().replace("DOMAIN", "D")),
        ("a user_id that is none", good() + "&user_id=-1"),
        ("a client_endpoint that is none", good() + "&client_endpoint=https://a@evil/"),
        ("another protocol", good() + "&client_endpoint=file:///etc/passwd"),
    ] {
        page(&body).map(|_| ()).expect_err(what);
    }
}

#[test]
fn a_domain_is_a_plain_host_with_or_without_a_port() {
    for (text, shown) in [
        ("acme.bitrix24.com", "acme.bitrix24.com"),
        ("ACME.example:8443", "acme.example:8443"),
        ("xn--80ak6aa92e.com", "xn--80ak6aa92e.com"),
        ("127.0.0.1:8080", "127.0.0.1:8080"),
        ("[::1]:8080", "[::1]:8080"),
    ] {
        assert_eq!(Domain::read(text).unwrap().to_string(), shown);
    }
    for text in [
        "",
        ".",
        "acme.bitrix24.com.",
        ".acme.com",
        "acme..com",
        "user@acme.com",
        "user:pass@acme.com",
        "acme.com/",
        "acme.com\\evil.example",
        "acme.com?x",
        "acme.com#x",
        "acme.com:",
        "acme.com:0",
        "acme.com:65536",
        "acme.com:+80",
        "acme.com:80:80",
        "acme com",
        "acme.com\r\nX: y",
        "\u{430}cme.com",
        "acme\u{ff0e}com",
        "[::1",
        "::1",
        "[evil.example]",
        &"a".repeat(64),
        &"a.".repeat(200),
    ] {
        assert_eq!(Domain::read(text), None, "{text:?}");
    }
}

#[test]
fn a_domain_agrees_with_a_place_by_host_and_port() {
    let is = |domain: &str, url: &str| {
        Domain::read(domain).unwrap().is_of(&Endpoint::of_url(url).unwrap())
    };
    assert!(is("acme.com", "https://acme.com/rest/") && is("acme.com", "http://acme.com/rest/"));
    assert!(is("acme.com:443", "https://acme.com") && is("acme.com:81", "http://acme.com:81/"));
    assert!(!is("acme.com", "https://acme.com:8443/") && !is("acme.com:8443", "https://acme.com"));
    assert!(!is("evil.com", "https://acme.com/") && !is("acme.com.evil.com", "https://acme.com"));
}

#[test]
fn a_portal_that_nobody_configured_lives_under_a_public_name_and_nowhere_else() {
    for (url, name) in [
        ("https://acme.bitrix24.com/rest/", "acme.bitrix24.com"),
        ("https://Acme.Bitrix24.com:443/rest/", "acme.bitrix24.com"),
        ("https://crm.xn--p1ai/rest/", "crm.xn--p1ai"),
    ] {
        let place = public_place(url).unwrap();
        assert_eq!((place.host.as_str(), place.port, place.tls), (name, 443, true));
    }
    for url in [
        "http://acme.bitrix24.com/rest/",
        "https://acme.bitrix24.com/",
        "https://acme.bitrix24.com/rest",
        "https://acme.bitrix24.com/rest/1/secret/",
        "https://acme.bitrix24.com:8443/rest/",
        "https://acme.bitrix24.com./rest/",
        "https://user@acme.bitrix24.com/rest/",
        "https://evil.com/@acme.bitrix24.com/rest/",
        "https://evil.com#acme.bitrix24.com/rest/",
        "https://169.254.169.254/rest/",
        "https://[::1]/rest/",
        "https://[::ffff:127.0.0.1]/rest/",
        "https://2130706433/rest/",
        "https://0x7f.1/rest/",
        "https://127.1/rest/",
        "https://0177.0.0.1/rest/",
        "https://1.2.3.0x4/rest/",
        "https://localhost/rest/",
        "https://a.localhost/rest/",
        "https://intranet/rest/",
        "https://\u{430}cme.com/rest/",
        "https://acme%2ecom/rest/",
    ] {
        assert_eq!(public_place(url), None, "{url}");
    }
}

#[test]
fn the_mark_of_a_claim_covers_all_that_is_judged() {
    let mark = |body: String| page(&body).unwrap().mark();
    assert_eq!(mark(good()), mark(good() + "&APPLICATION_TOKEN=T"));
    for other in [
        good().replace("AUTH_ID=A&", "AUTH_ID=B&"),
        good().replace("Acme", "evil"),
        good().replace("0123", "1123"),
        good() + "&user_id=7",
        good() + "&client_endpoint=https://evil.example/",
    ] {
        assert_ne!(mark(good()), mark(other));
    }
}
