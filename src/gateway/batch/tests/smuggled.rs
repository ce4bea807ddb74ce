//! A forbidden method, in all the ways in which it could get past.

use super::{Api, FORM, JSON, PARTS, part, parts};

#[rustfmt::skip]
const FORMS: &[&str] = &[
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

#[rustfmt::skip]
const JSONS: &[&str] = &[
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

#[rustfmt::skip]
const V3S: &[&str] = &[
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

#[rustfmt::skip]
fn multipart() -> Vec<String> {
    vec![
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
        parts("cmd[a]", "crm.deal.delete").replace("[a]\"", "[a]\"; filename=\"x\""),
    ]
}

/// Every one of them where and as what it could be sent: content type, query, body.
pub(super) fn all() -> Vec<(Api, &'static str, String, String)> {
    let mut all: Vec<(Api, &'static str, String, String)> = Vec::new();
    let ok = "cmd[ok]=crm.deal.list&";
    for &body in FORMS {
        all.push((Api::V1, FORM, String::new(), body.to_owned()));
        all.push((Api::V1, "", String::new(), body.to_owned()));
        all.push((Api::V1, "", body.to_owned(), String::new()));
        all.push((Api::V1, FORM, body.to_owned(), "cmd[ok]=crm.deal.list".to_owned()));
        all.push((Api::V1, FORM, String::new(), format!("{ok}{body}")));
        all.push((Api::V1, JSON, body.to_owned(), r#"{"cmd":["crm.deal.list"]}"#.to_owned()));
        all.push((Api::V3, JSON, body.to_owned(), r#"[{"method":"crm.deal.get"}]"#.to_owned()));
    }
    for &body in JSONS {
        for kind in [JSON, "application/x+json", FORM, "", "text/plain", "application/json-x"] {
            all.push((Api::V1, kind, String::new(), body.to_owned()));
        }
        all.push((Api::V1, JSON, ok.to_owned(), body.to_owned()));
    }
    for &body in V3S {
        for kind in [JSON, FORM, "", "text/plain", PARTS] {
            all.push((Api::V3, kind, String::new(), body.to_owned()));
        }
    }
    for body in multipart() {
        for kind in [
            PARTS,
            "multipart/form-data",
            "multipart/mixed; boundary=b",
            "multipart/form-data; boundary=b; boundary=c",
            "multipart/form-data; boundary=b,c",
        ] {
            all.push((Api::V1, kind, String::new(), body.clone()));
        }
    }
    all
}
