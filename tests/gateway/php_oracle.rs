//! The credential that the portal finds is the gateway's, whatever a client sends: PHP itself reads
//! the request, by a script that restates the portal's own reading (`tests/clients/php_oracle.php`).

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use b24gate::sandbox::{Options, Sandbox};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::{Value, json};

use crate::support::http::{Answer, Client};
use crate::support::{Gate, PATIENCE, Setup, repository};

const FORM: &str = "application/x-www-form-urlencoded";
const JSON: &str = "application/json";
const MULTIPART: &str = "multipart/form-data; boundary=B";

/// PHP's own web server with the script on it, and the gateway in front.
struct Oracle {
    gate: Gate,
    token: String,
    reads_no_bodies: bool,
    php: Child,
    _oauth: Sandbox,
}

impl Oracle {
    async fn start(inject: &str) -> Self {
        let mut php = Command::new("php")
            .args(["-d", "display_errors=0", "-d", "max_input_vars=1000", "-S", "127.0.0.1:0"])
            .arg(repository().join("tests/clients/php_oracle.php"))
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("php, which scripts/test installs");
        let mut lines = BufReader::new(php.stderr.take().unwrap()).lines().map_while(Result::ok);
        let address = lines
            .find_map(|line| {
                let after = line.split("(http://").nth(1)?;
                Some(after.split(')').next()?.to_owned())
            })
            .expect("PHP says where it listens");
        // It must not be stopped by a full pipe.
        std::thread::spawn(move || lines.count());
        let oauth = Sandbox::start(Options::default()).await.unwrap();
        let seed = oauth.seed();
        let portal = format!("url = \"http://{address}\"\ninject = \"{inject}\"");
        let gate = Gate::connected(&Setup::of(&seed).only_portal(&portal), &seed);
        let reads_no_bodies = inject == "bearer";
        Self { gate, token: seed.access_token, reads_no_bodies, php, _oauth: oauth }
    }

    /// What PHP has found in this request.
    async fn reads(&self, request: &Request) -> Value {
        let mut client = Client::connect(self.gate.address).await;
        client.send(request.wire()).await;
        let answer: Answer = client.answer().await.expect("an answer");
        assert_eq!(answer.status, 200, "{request:?}: {}", answer.text());
        answer.json()["result"].take()
    }

    /// The portal finds the gateway's token, and no other judge finds anything.
    async fn holds(&self, request: &Request) -> Result<(), String> {
        let found = self.reads(request).await;
        let mut others: Vec<_> = found["others"].as_array().unwrap().iter().collect();
        if self.reads_no_bodies && request.body.is_some() {
            // The header wins over everything, so bodies pass unread: a session needs a cookie
            // besides, and a webhook of the client's own is the client's own.
            others.retain(|other| *other == "cookie" || *other == "csrf");
        }
        if found["effective"] == json!(self.token) && others.is_empty() {
            return Ok(());
        }
        Err(format!("{request:?}\n    {found}"))
    }
}

impl Drop for Oracle {
    fn drop(&mut self) {
        drop(self.php.kill());
        drop(self.php.wait());
    }
}

/// What a client sends.
#[derive(Clone, Default)]
struct Request {
    query: String,
    fields: String,
    content_type: Option<String>,
    body: Option<Vec<u8>>,
}

impl std::fmt::Debug for Request {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let wire = self.wire();
        f.write_str(&String::from_utf8_lossy(&wire[..wire.len().min(600)]))
    }
}

impl Request {
    fn wire(&self) -> Vec<u8> {
        let verb = if self.body.is_some() { "POST" } else { "GET" };
        let body = self.body.as_deref().unwrap_or_default();
        let kind = self.content_type.as_ref();
        let kind = kind.map(|kind| format!("Content-Type: {kind}\r\n")).unwrap_or_default();
        let head = format!(
            "{verb} /rest/oracle?{} HTTP/1.1\r\nHost: localhost\r\n{}{kind}Content-Length: {}\r\n\r\n",
            self.query,
            self.fields,
            body.len()
        );
        [head.as_bytes(), body].concat()
    }
}

/// Forms, which are queries as well: every way to name a credential that PHP reads as one.
const FORMS: &[&str] = &[
    "auth=EVIL",
    "access_token=EVIL",
    "a=1&auth=EVIL&b=2",
    "auth=EVIL&auth=EVIL2",
    "auth=&auth=EVIL",
    "%61uth=EVIL",
    "%61%75%74%68=EVIL",
    "+auth=EVIL",
    "%20auth=EVIL",
    "+%20+auth=EVIL",
    "auth%00x=EVIL",
    "auth%00[x]=EVIL",
    "access.token=EVIL",
    "access%2Etoken=EVIL",
    "access+token=EVIL",
    "access%20token=EVIL",
    "access[token=EVIL",
    "access%5Btoken=EVIL",
    "+access.token=EVIL",
    "auth[]=x&access_token=EVIL",
    "auth[x]=EVIL&access_token=EVIL",
    "access_token[]=x&auth=EVIL",
    "auth[=EVIL",
    "auth[x=EVIL",
    "auth%5B=EVIL",
    "AUTH=x&auth=EVIL",
    "auth;=x&auth=EVIL",
    "a=1;auth=EVIL",
    "a&auth=EVIL&",
    "&&auth=EVIL",
    "=x&auth=EVIL",
    "auth=EVIL=x",
    "auth==EVIL",
    "auth",
    "aplogin=a&ap=EVIL",
    "ap=EVIL",
    "sessid=EVIL",
    "+sessid=EVIL&%61plogin=x&a%70=EVIL",
    "sessid[]=EVIL",
    "auth_connector=x&auth=EVIL",
];

const JSONS: &[&str] = &[
    r#"{"auth":"EVIL"}"#,
    r#"{"access_token":"EVIL"}"#,
    r#"{"a":1,"auth":"EVIL","b":2}"#,
    r#"{"auth":"x","auth":"EVIL"}"#,
    r#"{"\u0061uth":"EVIL"}"#,
    r#"{"\u0061\u0075\u0074\u0068":"EVIL"}"#,
    r#"{"access\u005Ftoken":"EVIL"}"#,
    r#"{"auth":["x"],"access_token":"EVIL"}"#,
    r#"{"auth":{"a":"}"},"access_token":"EVIL"}"#,
    r#"{"auth":null,"access_token":"EVIL"}"#,
    r#"{"auth":12345}"#,
    r#"{"auth":true}"#,
    r#"{"a":{"auth":"x"},"auth":"EVIL"}"#,
    r#"{"a":"\"","auth":"EVIL"}"#,
    r#"{"a":"\\","auth":"EVIL"}"#,
    "{\r\n\t\"auth\"\n :\r \"EVIL\" }",
    " \n{\"auth\":\"EVIL\"}\n ",
    r#"{"aplogin":"a","ap":"EVIL"}"#,
    r#"{"sessid":"EVIL"}"#,
    r#"{"auth":"EVIL"#,
    r#"[{"auth":"EVIL"}]"#,
    "not json at all&auth=EVIL",
];

const PARTS: &[&str] = &[
    "--B\r\nContent-Disposition: form-data; name=\"auth\"\r\n\r\nEVIL\r\n--B--\r\n",
    "--B\r\nContent-Disposition: form-data; name=auth\r\n\r\nEVIL\r\n--B--\r\n",
    "--B\r\nContent-Disposition: form-data; name='auth'\r\n\r\nEVIL\r\n--B--\r\n",
    "--B\r\ncontent-disposition:form-data;name=\"access_token\"\r\n\r\nEVIL\r\n--B--\r\n",
    "--B\r\nContent-Disposition: form-data; name=\"a\"; name=\"auth\"\r\n\r\nEVIL\r\n--B--\r\n",
    "--B\r\nContent-Disposition: form-data; name=\"access.token\"\r\n\r\nEVIL\r\n--B--\r\n",
    "--B\r\nContent-Disposition: form-data; name=\" auth\"\r\n\r\nEVIL\r\n--B--\r\n",
    "--B\r\nContent-Disposition: form-data; name=\"auth\"\r\nX: y\r\n\r\nEVIL\r\n--B\r\n\
     Content-Disposition: form-data; name=\"auth\"\r\n\r\nEVIL2\r\n--B--\r\n",
    "--B\r\nContent-Disposition: form-data; name=\"sessid\"\r\n\r\nEVIL\r\n--B--\r\n",
];

const HEADERS: &[&str] = &[
    "Authorization: Bearer EVIL\r\n",
    "authorization: bearer EVIL\r\n",
    "Authorization: Basic RVZJTA==\r\n",
    "Authorization: Bearer EVIL\r\nAuthorization: Bearer EVIL2\r\n",
    "Authorization:\r\n",
    "Connection: authorization\r\n",
    "Cookie: PHPSESSID=EVIL\r\n",
    "X-Bitrix-Csrf-Token: EVIL\r\n",
    "X_Bitrix_Csrf_Token: EVIL\r\n",
    "HTTP_AUTHORIZATION: Bearer EVIL\r\nREDIRECT_HTTP_AUTHORIZATION: Bearer EVIL\r\n",
    "Proxy-Authorization: Bearer EVIL\r\n",
];

/// Every input of section 1.5, in the query, as a body of every type, and both.
fn requests() -> Vec<Request> {
    let body = |kind: Option<&str>, body: &str, query: &str| Request {
        query: query.to_owned(),
        content_type: kind.map(str::to_owned),
        body: Some(body.as_bytes().to_vec()),
        ..Request::default()
    };
    let mut requests = Vec::new();
    for form in FORMS {
        requests.push(Request { query: (*form).to_owned(), ..Request::default() });
        let kinds = [Some(FORM), Some("application/x-www-form-urlencoded; charset=utf-8")];
        for kind in kinds.into_iter().chain([Some("text/plain"), Some("evil/type"), None]) {
            requests.push(body(kind, form, ""));
        }
        requests.push(body(Some(FORM), form, form));
        requests.push(body(Some(JSON), "{}", form));
        // Too long for a request line: as a form of the gateway's making.
        let long = format!("{form}&long={}", "x".repeat(9_000));
        requests.push(Request { query: long, ..Request::default() });
    }
    for text in JSONS {
        for kind in [JSON, "application/json; charset=utf-8", "APPLICATION/JSON"] {
            requests.push(body(Some(kind), text, "a=1"));
        }
        requests.push(body(Some("application/vnd.api+json"), text, "auth=EVIL"));
        // JSON labelled as a form is what some clients send.
        requests.push(body(Some(FORM), text, ""));
    }
    for parts in PARTS {
        requests.push(body(Some(MULTIPART), parts, ""));
        requests.push(body(Some("multipart/form-data; boundary=\"B\""), parts, "auth=EVIL"));
    }
    for fields in HEADERS {
        let fields = (*fields).to_owned();
        requests.push(Request { fields: fields.clone(), ..Request::default() });
        requests.push(Request { fields, ..body(Some(FORM), "auth=EVIL", "access_token=EVIL") });
    }
    // What stands beyond PHP's thousandth variable is not read; what stands first is.
    let many = "a[]=1&".repeat(1_200);
    requests.push(body(Some(FORM), &format!("{many}auth=EVIL"), &many));
    requests.push(body(Some(FORM), &format!("auth=EVIL&{many}"), ""));
    requests
}

async fn the_token_is_found_in_all(inject: &str) {
    let oracle = Oracle::start(inject).await;
    let requests = requests();
    assert!(requests.len() > 400, "{}", requests.len());
    let mut failed = Vec::new();
    for request in &requests {
        failed.extend(oracle.holds(request).await.err());
    }
    assert!(failed.is_empty(), "{}: {} requests\n{}", inject, failed.len(), failed.join("\n"));
}

#[tokio::test]
async fn s_34_php_finds_the_gateways_token_in_the_header_whatever_a_client_sends() {
    the_token_is_found_in_all("bearer").await;
}

#[tokio::test]
async fn s_34_php_finds_the_gateways_token_as_a_parameter_whatever_a_client_sends() {
    the_token_is_found_in_all("parameter").await;
}

/// The oracle is no yes-man: asked directly, it finds what a client sends.
#[tokio::test]
async fn the_portal_alone_would_find_the_clients_credential() {
    let oracle = Oracle::start("bearer").await;
    let config = oracle.gate.setup().text();
    let address = config.split("url = \"http://").nth(1).unwrap().split('"').next().unwrap();
    let mut found = 0;
    for form in FORMS {
        let request = format!(
            "GET /rest/oracle?{form} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        );
        let answer = crate::support::http::send(address.parse().unwrap(), request).await;
        let result = answer.json()["result"].take();
        found += usize::from(result["effective"] != json!(null) || result["others"] != json!([]));
    }
    assert!(found >= 30, "of {} the portal would have believed {found}", FORMS.len());
}

/// Names and values that are nearly credentials, in bodies that are nearly what they say.
fn generated() -> impl Strategy<Value = Request> {
    let name = prop_oneof![
        4 => "[ +.]{0,2}(a|%61|A)(u|%75)(t|%74)h(\\[[a-z]?\\]?|%00|%5B|\\.| |=)?",
        4 => "(\\+|%20|%0b)?access(_|\\.|\\+|%20|%5F|\\[|-)token(\\[\\])?",
        // No `token`: with an `auth` it is a signed link, which goes through as it is.
        2 => "(ap|aplogin|sessid|auth_connector)",
        2 => "[a-z\\[\\]%=.+ \"'\\\\{}:]{0,6}",
    ];
    let pair = (name, "(=?EVIL|=|=x%26auth=EVIL|%3DEVIL)").prop_map(|(name, value)| name + &value);
    let form = prop::collection::vec(pair.clone(), 0..4)
        .prop_map(|pairs| pairs.join("&").replace(' ', "+"));
    let escape = prop_oneof![Just("auth"), Just("\\u0061uth"), Just("access_token"), Just("a")];
    let value = prop_oneof![
        Just("\"EVIL\""),
        Just("[\"EVIL\"]"),
        Just("{\"auth\":\"EVIL\"}"),
        Just("1"),
        Just("\"\\\"auth\\\":\""),
        Just("null")
    ];
    let member = (escape, value).prop_map(|(name, value)| format!("\"{name}\" : {value}"));
    let object = (prop::collection::vec(member, 0..4), "[ \n]?")
        .prop_map(|(members, space)| format!("{space}{{{}}}", members.join(&format!("{space},"))));
    let parts = (prop::collection::vec("( |')?(auth|access.token|sessid|a)'?", 0..3), "\r?\n?")
        .prop_map(|(names, end)| {
            let part = |name: &String| {
                format!(
                    "--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\nEVIL{end}\r\n"
                )
            };
            names.iter().map(part).collect::<String>() + "--B--\r\n"
        });
    let kind = prop_oneof![Just(Some(FORM)), Just(Some("text/plain")), Just(None)];
    let body = prop_oneof![
        3 => (kind, form.clone()).prop_map(|(kind, form)| (kind, Some(form))),
        3 => object.prop_map(|object| (Some(JSON), Some(object))),
        2 => parts.prop_map(|parts| (Some(MULTIPART), Some(parts))),
        2 => Just((None, None)),
    ];
    (form, body).prop_map(|(query, (kind, body))| Request {
        query: query.replace(['#', ' '], "+"),
        fields: String::new(),
        content_type: kind.map(str::to_owned),
        body: body.map(String::into_bytes),
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn s_34_php_finds_the_gateways_token_in_what_nobody_thought_of() {
    for inject in ["bearer", "parameter"] {
        let oracle = Oracle::start(inject).await;
        let runtime = tokio::runtime::Handle::current();
        let config = Config { cases: 500, max_shrink_iters: 200, ..Config::default() };
        let config = Config { failure_persistence: None, ..config };
        let outcome = tokio::task::block_in_place(|| {
            TestRunner::new(config).run(&generated(), |request| {
                let held = runtime.block_on(async {
                    tokio::time::timeout(PATIENCE, oracle.holds(&request)).await
                });
                held.expect("an answer in time").map_err(TestCaseError::fail)
            })
        });
        if let Err(error) = outcome {
            panic!("{inject}: {error}");
        }
    }
}
