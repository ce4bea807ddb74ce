//! What passes and what does not, and a reader of its own that stands for the portal.

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

/// A forbidden method, in all the ways in which it could get past.
#[rustfmt::skip]
fn smuggled() -> Vec<(Api, &'static str, String, String)> {
    let form = [
        "cmd[a]=crm.deal.delete",
        "cmd[a]=crm.deal.list&cmd[b]=crm.deal.delete",
        "cmd[a]=crm.deal.list&cmd[a]=crm.deal.delete",
        "cmd[a]=crm.deal.delete&cmd[a]=crm.deal.list",
        "cmd%5Ba%5D=crm.deal.delete",
        "%63md[a]=crm.deal.delete",
        "+cmd[0]=crm.deal.delete",
        "%20%20cmd[0]=crm.deal.delete",
        "++++++++cmd[]=crm.deal.delete",
        "CMD[a]=crm.deal.delete",
        "cMd[a]=crm.deal.delete",
        "cmd=crm.deal.delete",
        "cmd[a][b]=crm.deal.delete",
        "cmd[a=crm.deal.delete",
        "cmd%00[a]=crm.deal.delete",
        "cmd[a]=CRM.DEAL.DELETE",
        "cmd[a]=crm.deal.Delete?id=1",
        "cmd[a]=crm.deal.delete.json",
        "cmd[a]=crm%2Edeal%2Edelete",
        "cmd[a]=crm.deal.%64elete%3Fid=1",
        "cmd[a]=crm%252Edeal%252Edelete",
        "cmd[a]=+crm.deal.delete",
        "cmd[a]=crm.deal.delete+",
        "cmd[a]=/crm.deal.delete",
        "cmd[a]=http://x/crm.deal.delete",
        "cmd[a]=x:crm.deal.delete",
        "cmd[a]=//x/crm.deal.delete?y",
        "cmd[a]=crm.deal.delete%23?crm.deal.list",
        "cmd[a]=crm.deal.delete%00.list",
        "cmd[a]=crm.deal.delete%0A",
        "cmd[a]=crm.deal.list;cmd[b]=crm.deal.delete",
        "x=1;cmd[b]=crm.deal.delete",
        "cmd[a]=batch?cmd[b]=crm.deal.delete",
        "cmd[a]=BATCH?cmd[b]=crm.deal.delete",
        "cmd[a]=batch.json?cmd[b]=crm.deal.delete",
        "cmd[a]=$result[x]",
        "cmd[a]=",
        "&&&&cmd[a]=crm.deal.delete&&&",
        "CMD[a]=crm.deal.list&cmd[a]=crm.deal.delete",
        "cmd[a]=tasks.task.add",
    ];
    let json = [
        r#"{"cmd":["crm.deal.delete"]}"#,
        r#"{"cmd":{"a":"crm.deal.delete?id=1"}}"#,
        r#"{"cmd":["crm.deal.list"],"cmd":["crm.deal.delete"]}"#,
        r#"{"cmd":["crm.deal.delete"],"cmd":["crm.deal.list"]}"#,
        r#"{"cmd":{"a":"crm.deal.delete","a":"crm.deal.list"}}"#,
        r#"{"\u0063md":["crm.deal.delete"]}"#,
        r#"{"CMD":["crm.deal.delete"]}"#,
        r#"{"cmd":["crm.deal.\u0064elete"]}"#,
        r#"{"cmd":[["crm.deal.delete"]]}"#,
        r#"{"cmd":[{"method":"crm.deal.delete"}]}"#,
        r#"{"cmd":"crm.deal.delete"}"#,
        r#"{"cmd":["crm.deal.list"],"cmd":{"x":["crm.deal.delete"]}}"#,
        r#"{"cmd":["batch?cmd[]=crm.deal.delete"]}"#,
        r#"{"cmd":["crm.deal.list"]}{"cmd":["crm.deal.delete"]}"#,
        r#"{"cmd":["crm.deal.list"],"x":1&cmd[a]=crm.deal.delete"#,
        r#"{"x":"&cmd[a]=crm.deal.delete&","cmd":["crm.deal.list"]}"#,
        r#"{"cmd":["crm.deal.list","crm.deal.delete "]}"#,
        r#"[{"cmd":["crm.deal.delete"]}]"#,
        r#"{"cmd":["crm.deal.delete"]"#,
        "\u{feff}{\"cmd\":[\"crm.deal.delete\"]}",
        "{\"cmd\":[\"crm.deal.delete\"]}\0",
    ];
    let v3 = [
        r#"[{"method":"crm.deal.delete"}]"#,
        r#"[{"method":"crm.deal.get"},{"method":"crm.deal.delete"}]"#,
        r#"[{"method":"crm.deal.get","method":"crm.deal.delete"}]"#,
        r#"[{"method":"crm.deal.delete","method":"crm.deal.get"}]"#,
        r#"[{"\u006dethod":"crm.deal.delete"}]"#,
        r#"[{"method":"crm.deal.get","Method":"crm.deal.delete"}]"#,
        r#"[{"method":"crm.deal.\u0064elete"}]"#,
        r#"[{"method":["crm.deal.delete"]}]"#,
        r#"[[{"method":"crm.deal.delete"}]]"#,
        r#"{"0":{"method":"crm.deal.delete"}}"#,
        r#"{"0":{"method":"crm.deal.get"},"cmd":["crm.deal.delete"]}"#,
        r#"[{"method":"batch","query":[{"method":"crm.deal.delete"}]}]"#,
        r#"[{"method":"crm.deal.get"},{"items":[{"method":"crm.deal.delete"}]}]"#,
        r#"[{"method":"crm.deal.delete?crm.deal.get"}]"#,
        r#"{"cmd":["crm.deal.get"]}"#,
        "[]",
    ];
    let file = "--b\r\nContent-Disposition: form-data; name=\"cmd[a]\"; filename=\"x\"\r\n\r\ncrm.deal.delete\r\n--b--\r\n";
    let multipart = [
        parts("cmd[a]", "crm.deal.delete"),
        parts("CMD[a]", "crm.deal.delete"),
        parts(" cmd[a]", "crm.deal.delete"),
        parts("cm\\d[a]", "crm.deal.delete"),
        part("cmd[a]", "crm.deal.list") + &parts("cmd[b]", "crm.deal.delete"),
        part("cmd[a]", "crm.deal.list") + &parts("cmd[a]", "crm.deal.delete"),
        parts("cmd[a]", "crm.deal.delete?x\r\n\r\ncrm.deal.list"),
        parts("cmd[a]", "crm.deal.list").replace("\r\n\r\ncrm", "\r\n\0\r\ncrm.deal.delete?\r\n\r\ncrm"),
        parts("cmd[a]", "crm.deal.delete").replace("form-data; name", "form-data; x=y; name"),
        parts("cmd[a]", "crm.deal.delete").replace("\"cmd[a]\"", "cmd[a]"),
        parts("cmd[a]", "crm.deal.delete").replace("\"cmd[a]\"", "'cmd[a]'"),
        parts("x", "crm.deal.list").replace("\"x\"", "\"x\"; name=\"cmd[a]\""),
        parts("x", "y").replace("Content", "content-disposition: form-data; name=\"cmd[a]\"\r\nContent"),
        parts("x", "y").replace("name=", "\r\n name=\"cmd[a]\"; name="),
        parts("cmd[a]", "crm.deal.list\n--b\r\nContent-Disposition: form-data; name=\"cmd[b]\"\r\n\r\ncrm.deal.delete"),
        parts("cmd[a]", "crm.deal.list").replace("\r\n", "\n"),
        parts("cmd[a]", "crm.deal.list") + &parts("cmd[a]", "crm.deal.delete"),
        String::from("x\r\n") + &parts("cmd[a]", "crm.deal.delete"),
        part("cmd[a]", "crm.deal.list"),
        parts("x", "cmd[a]=crm.deal.delete&cmd[b]=crm.deal.delete"),
        file.to_owned(),
    ];
    let mut all: Vec<(Api, &'static str, String, String)> = Vec::new();
    let ok = "cmd[ok]=crm.deal.list&";
    for body in form {
        all.push((Api::V1, FORM, String::new(), body.to_owned()));
        all.push((Api::V1, "", String::new(), body.to_owned()));
        all.push((Api::V1, "", body.to_owned(), String::new()));
        all.push((Api::V1, FORM, body.to_owned(), "cmd[ok]=crm.deal.list".to_owned()));
        all.push((Api::V1, FORM, String::new(), format!("{ok}{body}")));
        all.push((Api::V1, JSON, body.to_owned(), r#"{"cmd":["crm.deal.list"]}"#.to_owned()));
        all.push((Api::V3, JSON, body.to_owned(), r#"[{"method":"crm.deal.get"}]"#.to_owned()));
    }
    for body in json {
        for kind in [JSON, "application/x+json", FORM, "", "text/plain", "application/json-x"] {
            all.push((Api::V1, kind, String::new(), body.to_owned()));
        }
        all.push((Api::V1, JSON, ok.to_owned(), body.to_owned()));
    }
    for body in v3 {
        for kind in [JSON, FORM, "", "text/plain", PARTS] {
            all.push((Api::V3, kind, String::new(), body.to_owned()));
        }
    }
    for body in multipart {
        for kind in [PARTS, "multipart/form-data", "multipart/mixed; boundary=b", "multipart/form-data; boundary=b; boundary=c", "multipart/form-data; boundary=b,c"] {
            all.push((Api::V1, kind, String::new(), body.clone()));
        }
    }
    all
}

#[test]
fn no_way_of_smuggling_a_forbidden_method_through_a_batch_passes() {
    let all = smuggled();
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

/// The methods that a portal would run, read by other means than the gateway's.
mod portal {
    use serde_json::Value;

    pub(super) fn runs(query: &str, content_type: &str, body: &str) -> Vec<String> {
        let mut commands = form(query);
        if content_type == super::JSON {
            commands.extend(json(body));
        } else if content_type == super::PARTS {
            commands.extend(multipart(body));
        } else {
            commands.extend(form(body));
        }
        commands.iter().flat_map(|command| paths(command)).collect()
    }

    fn form(text: &str) -> Vec<String> {
        let pairs = text.split('&').filter_map(|pair| pair.split_once('='));
        pairs
            .filter(|(name, _)| names_cmd(&decoded(name)))
            .map(|(_, value)| decoded(value))
            .collect()
    }

    fn decoded(text: &str) -> String {
        let text = text.replace('+', " ");
        let mut out = String::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once('%') {
            out.push_str(before);
            let byte = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
            (rest, _) = match byte.filter(u8::is_ascii) {
                Some(byte) => (&after[2..], out.push(char::from(byte))),
                None => (after, out.push('%')),
            };
        }
        out + rest
    }

    fn names_cmd(name: &str) -> bool {
        let name = name.trim_start_matches(' ').split('\0').next().unwrap();
        name.split('[').next().unwrap().to_lowercase() == "cmd"
    }

    fn json(text: &str) -> Vec<String> {
        let Ok(Value::Object(members)) = serde_json::from_str(text) else { return Vec::new() };
        let cmd = members.into_iter().filter(|(name, _)| name.to_lowercase() == "cmd");
        cmd.flat_map(|(_, value)| match value {
            Value::Array(items) => items,
            Value::Object(items) => items.into_iter().map(|(_, item)| item).collect(),
            _ => Vec::new(),
        })
        .filter_map(|item| item.as_str().map(str::to_owned))
        .collect()
    }

    fn multipart(text: &str) -> Vec<String> {
        let mut commands = Vec::new();
        for part in format!("\n{text}").split("\n--b").skip(1) {
            let part = part.replace("\r\n", "\n");
            let Some((head, content)) = part.split_once("\n\n") else { continue };
            let name = head.split("name=\"").nth(1).and_then(|rest| rest.split('"').next());
            if name.is_some_and(names_cmd) {
                commands.push(content.strip_suffix('\r').unwrap_or(content).to_owned());
            }
        }
        commands
    }

    /// Whatever `parse_url` could take for the path.
    fn paths(command: &str) -> Vec<String> {
        let front = command.split(['?', '#']).next().unwrap();
        let behind_scheme = front.split_once(':').map(|(_, path)| path.to_owned());
        let behind_host = front.rsplit('/').next().map(str::to_owned);
        [Some(front.to_owned()), behind_scheme, behind_host].into_iter().flatten().collect()
    }
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
        commands.iter().for_each(|command| { form.append_pair("cmd[]", command); });
        let form = form.finish();
        prop_assert_eq!(check(Api::V1, "", FORM, form.as_bytes()), Ok(()));
        prop_assert_eq!(check(Api::V1, &form, "", b""), Ok(()));
        let multipart: String = commands.iter().map(|command| part("cmd[]", command)).collect();
        let multipart = multipart + "--b--";
        prop_assert_eq!(check(Api::V1, "", PARTS, multipart.as_bytes()), Ok(()));
    }
}
