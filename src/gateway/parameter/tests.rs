//! The same body in one piece, in two, byte by byte: what is found does not depend on it.

use proptest::prelude::*;

use super::*;

/// The body as the portal gets it, read in two pieces.
fn blanked(content_type: &str, body: &str, cut: usize) -> String {
    let mut finder = Finder::of(Some(content_type.as_bytes())).unwrap();
    let mut bytes = body.as_bytes().to_vec();
    finder.read(&bytes[..cut]);
    finder.read(&bytes[cut..]);
    for range in finder.finish().into_iter().flat_map(|found| found.ranges) {
        blank(&mut bytes, range, 0, finder.filler());
    }
    String::from_utf8(bytes).unwrap()
}

fn check(content_type: &str, body: &str, expected: &str) {
    for cut in 0..=body.len() {
        assert_eq!(blanked(content_type, body, cut), expected, "{body} cut at {cut}");
    }
}

#[test]
fn a_forms_own_credential_is_blanked_and_nothing_else() {
    let form = "application/x-www-form-urlencoded";
    check(form, "a=1&auth=x&b=2", "a=1&&&&&&&&b=2");
    check(form, "auth=x", "&&&&&&");
    check(form, "a=1&%61uth=x", "a=1&&&&&&&&&");
    check(form, "a=auth=x&authx=1", "a=auth=x&authx=1");
    check("", "access.token=x&a=1", "&&&&&&&&&&&&&&&a=1");
}

#[test]
fn a_json_objects_own_credential_is_blanked_and_stays_valid() {
    for (body, left) in [
        (r#"{"auth":"x","a":1}"#, r#"{"a":1}"#),
        (r#"{"a":1,"auth":"x"}"#, r#"{"a":1}"#),
        (r#"{"auth":"x"}"#, "{}"),
        (r#"{"a":{"auth":"in"},"auth":["x",{"y":"}"}]}"#, r#"{"a":{"auth":"in"}}"#),
        (r#"{"a":1,"auth":2,"access_token":"\"}"}"#, r#"{"a":1}"#),
        (r#"{"\u0061uth":"x","a":"\\"}"#, r#"{"a":"\\"}"#),
        (r#"["auth",{"auth":1}]"#, r#"["auth",{"auth":1}]"#),
        (r#"{"authx":1,"xauth":2}"#, r#"{"authx":1,"xauth":2}"#),
    ] {
        let blanks = " ".repeat(body.len() - left.len());
        let at = (0..=left.len())
            .find(|at| {
                let (start, end) = left.split_at(*at);
                let expected = [start, &blanks, end].concat();
                blanked("application/json; charset=utf-8", body, 0) == expected
            })
            .unwrap_or_else(|| panic!("{body}: {}", blanked("application/json", body, 0)));
        let (start, end) = left.split_at(at);
        let expected = [start, &blanks, end].concat();
        check("application/json; charset=utf-8", body, &expected);
    }
}

#[test]
fn a_multipart_forms_own_credential_loses_its_name() {
    let body = "--x\r\nContent-Disposition: form-data; name=\"auth\"\r\n\r\n1\r\n--x--\r\n";
    let line = "Content-Disposition: form-data; name=\"auth\"";
    let nameless = body.replace(line, &"X".repeat(line.len())).replace("\n1\r", "\nX\r");
    check("multipart/form-data; boundary=x", body, &nameless);
}

#[test]
fn a_multipart_body_without_a_boundary_is_left_alone() {
    assert!(Finder::of(Some(b"multipart/form-data")).is_none());
}

/// What a body shows as a key, however it is cut in two.
fn check_key(content_type: &str, body: &str, expected: Option<&str>) {
    for cut in 0..=body.len() {
        let mut finder = Finder::of(Some(content_type.as_bytes())).unwrap();
        finder.read(&body.as_bytes()[..cut]);
        finder.read(&body.as_bytes()[cut..]);
        let key = key_of(finder.finish());
        let key = key.as_ref().map(|key| std::str::from_utf8(key.as_bytes()).unwrap());
        assert_eq!(key, expected, "{body} cut at {cut}");
    }
}

#[test]
fn a_forms_key_is_read_as_php_reads_it() {
    let form = "application/x-www-form-urlencoded";
    for (body, key) in [
        ("auth=k1", Some("k1")),
        ("a=1&auth=k1&b=2", Some("k1")),
        ("access_token=k2&auth=k1", Some("k1")),
        ("auth=k1&access_token=k2", Some("k1")),
        ("access_token=k2&auth=", Some("k2")),
        ("access.token=k2", Some("k2")),
        ("+%20+%61uth=k%31", Some("k1")),
        ("auth=old&auth=k1", Some("k1")),
        ("auth[]=k1", Some("k1")),
        ("auth=a+b%zz%2", Some("a b%zz%2")),
        ("auth=", None),
        ("auth", None),
        ("auth&access_token", None),
        ("", None),
        ("xauth=k1&authx=k1&a=auth=k1", None),
        ("ap=k1&aplogin=1&sessid=k1", None),
    ] {
        check_key(form, body, key);
        check_key("", body, key);
    }
    check_key(form, &format!("{}auth=k1", "+".repeat(2 * NAME_MAX)), Some("k1"));
}

#[test]
fn a_json_objects_key_is_unescaped() {
    for (body, key) in [
        (r#"{"auth":"k1"}"#, Some("k1")),
        (r#" { "a" : {"auth":"in"} , "auth" : "k1" , "b":1 } "#, Some("k1")),
        (r#"{"access_token":"k2","a":[{"auth":"in"}]}"#, Some("k2")),
        (r#"{"access_token":"k2","auth":"k1"}"#, Some("k1")),
        (r#"{"auth":"k1","access_token":"k2"}"#, Some("k1")),
        (r#"{"auth":"old","auth":"k1"}"#, Some("k1")),
        (r#"{"\u0061uth":"\u006b1\""}"#, Some("k1\"")),
        (r#"{"auth":"a\\"}"#, Some("a\\")),
        (r#"{"auth":"},\"auth\":{"}"#, Some("},\"auth\":{")),
        (r#"{"auth":12}"#, Some("12")),
        (r#"{"auth":{"access_token":"x"}}"#, Some("")),
        (r#"{"auth":["x",1],"a":2}"#, Some("")),
        (r#"{"auth":true}"#, Some("")),
        (r#"{"a":1,"auth":"k1"#, Some("")),
        (r#"{"auth":null}"#, None),
        (r#"{"auth":""}"#, None),
        (r#"{"a":"auth","b":{"auth":"k1"}}"#, None),
        (r#"["auth","k1",{"auth":"k1"}]"#, None),
        (r#"{"access.token":"k1"," auth":"k1","AUTH":"k1"}"#, None),
    ] {
        check_key("application/json", body, key);
        check_key("application/vnd.x+json; charset=utf-8", body, key);
    }
}

#[test]
fn a_multipart_forms_key_is_the_content_of_its_part() {
    let part = |name: &str, value: &str| {
        format!("--x\r\nContent-Disposition: form-data; name=\"{name}\"\r\nA: b\r\n\r\n{value}\r\n")
    };
    let kind = "multipart/form-data; boundary=x";
    for (body, key) in [
        (part("auth", "k1") + "--x--\r\n", Some("k1")),
        (part("a", "1") + &part("auth", "k1") + &part("b", "2") + "--x--", Some("k1")),
        (part("access_token", "k2") + &part("auth", "k1") + "--x--", Some("k1")),
        (part("auth", "k1") + &part("access_token", "k2") + "--x--", Some("k1")),
        (part("auth", "") + &part("access_token", "k2") + "--x--", Some("k2")),
        (part("auth", "a\r\n\nb") + "--x--", Some("a\r\n\nb")),
        (part("auth", "k1").replace("\r\n", "\n") + "--x--\n", Some("k1")),
        (part("auth", "k1").trim_end().to_owned(), Some("k1")),
        (part("a", "auth=k1") + "--x--", None),
        (part("auth", "") + "--x--", None),
        (part("ap", "k1") + "--x--", None),
    ] {
        check_key(kind, &body, key);
    }
    let gone = blanked(kind, &(part("a", "1") + &part("auth", "k1\r\nk1") + "--x--"), 0);
    assert!(!gone.contains("k1") && gone.ends_with("\r\n--x--"), "{gone}");
}

#[test]
fn what_is_longer_than_any_key_is_shown_and_nobodys() {
    let long = "k".repeat(4 * VALUE_MAX);
    let most = "k".repeat(VALUE_MAX);
    check_key("", &format!("auth={most}"), Some(&most));
    for (content_type, body) in
        [("", format!("auth={long}")), ("application/json", format!("{{\"auth\":\"{long}\"}}"))]
    {
        let mut finder = Finder::of(Some(content_type.as_bytes())).unwrap();
        finder.read(body.as_bytes());
        let key = key_of(finder.finish()).unwrap();
        assert!(matches!(key, Value::Strange), "{content_type}");
    }
}

proptest! {
    #[test]
    fn a_key_is_found_as_an_ordinary_reader_finds_it(
        members in prop::collection::vec(("(auth|access_token|a|b)", "[ -~]{0,20}"), 0..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let last = |name: &str| {
            let found = members.iter().rev().find(|(own, value)| own == name && !value.is_empty());
            found.map(|(_, value)| value.clone())
        };
        let expected = last("auth").or_else(|| last("access_token"));
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(&members);
        let member = |(name, value): &(String, String)| {
            format!("{}:{}", serde_json::json!(name), serde_json::json!(value))
        };
        let json: Vec<_> = members.iter().map(member).collect();
        let json = format!("{{{}}}", json.join(","));
        for (content_type, body) in [("", form.finish()), ("application/json", json)] {
            let (first, second) = body.as_bytes().split_at(cut.index(body.len() + 1));
            let mut finder = Finder::of(Some(content_type.as_bytes())).unwrap();
            finder.read(first);
            finder.read(second);
            let key = key_of(finder.finish()).map(|key| key.as_bytes().to_vec());
            prop_assert_eq!(key, expected.clone().map(String::into_bytes), "{}", body);
        }
    }
}
