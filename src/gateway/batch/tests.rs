//! What passes and what does not, and a reader of its own that stands for the portal.

mod portal;
mod smuggled;

use proptest::prelude::*;

use super::*;

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";
const PARTS: &str = "multipart/form-data; boundary=b";

fn rules(methods: &[&str]) -> Rules {
    let methods: Vec<_> = methods.iter().map(|&pattern| pattern.to_owned()).collect();
    Rules::new(&methods, false)
}

/// Everything but deletions.
fn check(api: Api, query: &str, content_type: &str, body: &[u8]) -> Result<(), Fault> {
    let content_type = Some(content_type.as_bytes()).filter(|text| !text.is_empty());
    let batch = Batch { api, query: query.as_bytes(), content_type, body };
    batch.check(&rules(&["crm.*", "user.*", "!*.delete"]))
}

fn part(name: &str, value: &str) -> String {
    format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
}

fn parts(name: &str, value: &str) -> String {
    format!("{}--b--\r\n", part(name, value))
}

#[test]
fn batches_as_tools_send_them_pass() {
    let own = parts("cmd[b]", "user.get");
    let two = part("halt", "0") + &own;
    for (query, content_type, body) in [
        ("cmd[a]=crm.deal.list&halt=0", "", ""),
        ("halt=1&cmd%5Ba%5D=crm.deal.list%3Ffilter%5BID%5D%3D1%26start%3D-1", "", ""),
        ("", FORM, "cmd%5B0%5D=crm.deal.get%3FID%3D1&cmd%5B1%5D=user.get&halt=0"),
        ("", "", "cmd[a]=crm.deal.get?id=$result[b][ID]"),
        ("", "application/x-www-form-urlencoded; charset=UTF-8", "cmd[]=crm.deal.get%3Fx%3D%23y"),
        ("", JSON, r#"{"halt":0,"cmd":{"a":"crm.deal.list?filter[>ID]=0","b":"user.get"}}"#),
        ("", JSON, r#"{"CMD":["crm.deal.add?fields[TITLE]=a%20b"],"other":{"cmd":[1]}}"#),
        ("", "Application/JSON; charset=utf-8", r#"{"cmd":["crm.deal.list.json"]}"#),
        ("", "application/vnd.api+json", r#" {"cmd":["CRM.Deal.List"]} "#),
        ("", PARTS, &own),
        ("", "multipart/form-data; boundary=\"b\"", &two),
    ] {
        assert_eq!(check(Api::V1, query, content_type, body.as_bytes()), Ok(()), "{query} {body}");
    }
    for body in [
        r#"[{"method":"crm.deal.get","query":{"id":1},"as":"a"},{"method":"user.get"}]"#,
        r#"[{"query":{"id":{"$ref":"a.id"}},"method":"crm.deal.update","parallel":true}]"#,
    ] {
        assert_eq!(check(Api::V3, "", JSON, body.as_bytes()), Ok(()), "{body}");
    }
}

#[test]
fn no_way_of_smuggling_a_forbidden_method_through_a_batch_passes() {
    let all = smuggled::all();
    assert!(all.len() > 400, "{}", all.len());
    for (api, content_type, query, body) in all {
        let outcome = check(api, &query, content_type, body.as_bytes());
        assert!(outcome.is_err(), "{api:?} {content_type:?} {query:?} {body:?}");
    }
}

#[test]
fn the_method_that_is_forbidden_is_the_one_that_is_named() {
    let body = r#"{"cmd":["crm.deal.list","Crm.Deal.Delete?id=1"]}"#;
    let forbidden = Fault::Forbidden(b"Crm.Deal.Delete".to_vec());
    assert_eq!(check(Api::V1, "", JSON, body.as_bytes()), Err(forbidden));
}

#[test]
fn fifty_commands_are_a_batch_and_fifty_one_are_not() {
    for (count, passes) in [(50, true), (51, false), (5000, false)] {
        let commands = vec!["crm.deal.list"; count];
        let body = serde_json::json!({ "cmd": commands }).to_string();
        assert_eq!(check(Api::V1, "", JSON, body.as_bytes()).is_ok(), passes, "{count}");
        let body = "cmd[]=crm.deal.list&".repeat(count);
        assert_eq!(check(Api::V1, "", FORM, body.as_bytes()).is_ok(), passes, "{count}");
        let items = vec![serde_json::json!({"method": "crm.deal.get"}); count];
        let body = serde_json::json!(items).to_string();
        assert_eq!(check(Api::V3, "", JSON, body.as_bytes()).is_ok(), passes, "{count}");
    }
}

#[test]
fn a_batch_that_nobody_can_read_is_refused() {
    for (content_type, body) in [
        (FORM, &b""[..]),
        (FORM, b"halt=1"),
        (JSON, b"\xff\xfe"),
        (JSON, b"{\"cmd\":[\"crm.deal.list\"],\"x\":\"\xff\"}"),
        (JSON, b"{}"),
        (JSON, b"null"),
        (JSON, b"{\"result\":{\"cmd\":[\"crm.deal.list\"]}}"),
        ("application/xml", b"cmd[a]=crm.deal.list"),
        ("text/html", b"cmd[a]=crm.deal.list"),
        (PARTS, b"--c\r\n"),
    ] {
        assert!(check(Api::V1, "", content_type, body).is_err(), "{content_type} {body:?}");
    }
    let deep = format!("{{\"cmd\":[\"crm.deal.list\"],\"x\":{}", "[".repeat(100_000));
    assert!(check(Api::V1, "", JSON, deep.as_bytes()).is_err());
}

/// Pieces of which bodies are made, good ones and strange ones.
const PIECES: &[&str] = &[
    "cmd",
    "CMD",
    "%63md",
    "x",
    "[a]",
    "[",
    "]",
    "%5Ba%5D",
    "=",
    "=",
    "&",
    "&",
    ";",
    "+",
    "%20",
    "%00",
    "?",
    "#",
    "%23",
    ".",
    "crm.deal.list",
    "crm.deal.list",
    "crm.deal.delete",
    "delete",
    "crm.deal.%64elete",
    "crm.deal.\\u0064elete",
    "http://y/",
    "x:",
    "{",
    "}",
    "\"",
    "\"cmd\":",
    "{\"cmd\":[\"crm.deal.list\"",
    "\\u0063md",
    ":",
    ",",
    "]}",
    "{\"cmd\":{\"a\":\"",
    "\"}}",
    "--b\r\n",
    "\r\n--b\r\n",
    "\r\n--b--\r\n",
    "\n--b\r\n",
    "\r\n\r\n",
    "\n\n",
    "\r\n",
    "Content-Disposition: form-data; name=\"cmd[a]\"",
    "; filename=\"f\"",
    "; name=\"cmd[b]\"",
    "Content-Disposition: form-data; name=\"x\"",
    "X: y\r\n",
    "\0",
];

fn soup() -> impl Strategy<Value = String> {
    prop::collection::vec(prop::sample::select(PIECES), 1..16).prop_map(|pieces| pieces.concat())
}

/// What would run a deletion if it were overlooked.
const DELETIONS: &[&str] = &[
    "&CMD[z]=crm.deal.delete&",
    "&%63md[z]=crm.deal.delete&",
    "&+cmd[z]=CRM.deal.delete%3Fid=1&",
    "\"CMD\":[\"crm.deal.delete\"],",
    ",\"\\u0063md\":{\"z\":\"crm.deal.delete?id=1\"}",
    "\"z\":\"crm.deal.delete\",",
    "--b\r\nContent-Disposition: form-data; name=\"CMD[z]\"\r\n\r\ncrm.deal.delete\r\n",
    "--b\nContent-Disposition: form-data; name=\"cmd[z]\"\n\ncrm.deal.delete\n",
];

/// Something that passes, with pieces put in where they may mean something.
fn mutated() -> impl Strategy<Value = String> {
    let whole = prop::sample::select(vec![
        "cmd[a]=crm.deal.list&halt=0&cmd[b]=user.get?id=1".to_owned(),
        r#"{"halt":0,"cmd":{"a":"crm.deal.list","b":"user.get?id=1"}}"#.to_owned(),
        part("cmd[a]", "crm.deal.list") + &part("halt", "0") + &parts("cmd[b]", "user.get"),
    ]);
    let piece = prop::sample::select([PIECES, DELETIONS, DELETIONS, DELETIONS].concat());
    let changes = prop::collection::vec((any::<prop::sample::Index>(), piece), 0..3);
    (whole, changes).prop_map(|(mut text, changes)| {
        for (at, piece) in changes {
            let joint = |(at, letter): (usize, char)| "{},&-".contains(letter).then_some(at);
            let joints: Vec<_> =
                text.char_indices().filter_map(joint).flat_map(|at| [at, at + 1]).collect();
            text.insert_str(*at.get(&joints), piece);
        }
        text
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]

    #[test]
    fn what_passes_runs_nothing_that_is_forbidden(
        query in prop_oneof![3 => Just(String::new()), 1 => soup()],
        content_type in prop::sample::select(vec![FORM, JSON, PARTS]),
        body in prop_oneof![soup(), mutated()],
    ) {
        let passes = check(Api::V1, &query, content_type, body.as_bytes()).is_ok();
        let rules = rules(&["crm.*", "user.*", "!*.delete"]);
        for method in portal::runs(&query, content_type, &body) {
            let is_forbidden = is_method(method.as_bytes()) && !rules.permit(method.as_bytes());
            prop_assert!(!(passes && is_forbidden), "{method} of {query:?} {body:?}");
        }
    }

    #[test]
    fn a_batch_of_allowed_commands_passes_in_every_encoding(
        methods in prop::collection::vec("(crm|user)\\.[a-z]{1,8}(\\.(get|list|add))?", 1..8),
        values in prop::collection::vec("[ -~]{0,12}", 8),
    ) {
        let commands: Vec<_> = methods.iter().zip(&values).map(|(method, value)| {
            let value: String = form_urlencoded::byte_serialize(value.as_bytes()).collect();
            format!("{method}?a={value}&b[c]={value}")
        }).collect();
        let json = serde_json::json!({ "cmd": commands }).to_string();
        prop_assert_eq!(check(Api::V1, "", JSON, json.as_bytes()), Ok(()));
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs(commands.iter().map(|command| ("cmd[]", command)));
        let form = form.finish();
        prop_assert_eq!(check(Api::V1, "", FORM, form.as_bytes()), Ok(()));
        prop_assert_eq!(check(Api::V1, &form, "", b""), Ok(()));
        let multipart: String = commands.iter().map(|command| part("cmd[]", command)).collect();
        let multipart = multipart + "--b--";
        prop_assert_eq!(check(Api::V1, "", PARTS, multipart.as_bytes()), Ok(()));
    }
}
