//! Requests in the shapes of tools that cannot be run here, each sent by curl as the tool sends it,
//! and curl itself in the ways in which people call it.

use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::world::World;
use super::*;

/// What a curl has seen.
#[derive(Debug)]
struct Seen {
    status: u64,
    redirects: u64,
    body: String,
}

/// Arguments of curl; `KEY` is the client's key, `GATE` the gateway's address, `PORTAL` the portal's,
/// `LOCAL-CA` the file of the gateway's authority.
const SHAPES: &[(&str, &[&str])] = &[
    (
        "b24phpsdk",
        &[
            "--http2",
            "-H",
            "X-Request-ID: 018f",
            "--json",
            "{\"filter\":{\">ID\":0}}",
            "http://GATE/rest/1/KEY//crm.deal.list/?bx24_request_id=018f",
        ],
    ),
    (
        "andrey-tech/bitrix24-api-php",
        &[
            "-H",
            "Connection: close",
            "--data",
            "filter[>ID]=0",
            "http://GATE/rest/1/KEY/crm.deal.list.json",
        ],
    ),
    ("CRest without parameters", &["http://GATE/rest/1/KEY/crm.deal.list.json"]),
    ("CRest 1.33", &["-g", "http://GATE/rest/1/KEY/crm.deal.list.json?filter[>ID]=0"]),
    ("restCommand", &["--data", "filter[>ID]=0&auth=KEY", "http://GATE/rest/crm.deal.list"]),
    (
        "Authorization: Bearer",
        &["-H", "Authorization: Bearer KEY", "--json", "{}", "http://GATE/rest/crm.deal.list.json"],
    ),
    ("n8n with OAuth", &["--json", "{}", "http://GATE/rest/crm.deal.list.json?access_token=KEY"]),
    (
        "parameters in the address of an empty POST",
        &[
            "-g",
            "-X",
            "POST",
            "-H",
            "Content-Type: application/json",
            "http://GATE/rest/1/KEY/crm.deal.list?filter[>ID]=0",
        ],
    ),
    (
        "JSON that says it is a form",
        &["--data", "{\"filter\":{\">ID\":0}}", "http://GATE/rest/1/KEY/crm.deal.list"],
    ),
    ("curl -g", &["-g", "http://GATE/rest/1/KEY/crm.deal.list?filter[>ID]=0"]),
    ("curl -F", &["-F", "filter[>ID]=0", "http://GATE/rest/1/KEY/crm.deal.list"]),
    ("HTTP/1.0", &["--http1.0", "http://GATE/rest/1/KEY/crm.deal.list"]),
    ("an MCP server", &["--json", "{\"start\":0}", "http://GATE/rest/1/KEY/crm.deal.list"]),
    (
        "OpenIntegrations, which makes it https",
        &[
            "--cacert",
            "LOCAL-CA",
            "-A",
            "1C+Enterprise/8.3",
            "--json",
            "{\"start\":0}",
            "https://GATE/rest/1/KEY/crm.deal.list",
        ],
    ),
    (
        "the portal's own name by an HTTP proxy",
        &["--proxy", "http://GATE", "--data", "start=0", "PORTAL/rest/1/KEY/crm.deal.list"],
    ),
];

#[tokio::test]
async fn every_known_shape_of_a_request_gets_a_whole_page_of_the_list() {
    let world = World::new(&CREST_WEBHOOK).await;
    let control = world.portal.control();
    for (shape, arguments) in SHAPES {
        for state in ["undisturbed", "expired"] {
            if state == "expired" {
                control.expire();
            }
            let seen = world.curl(arguments).await;
            assert_eq!((seen.status, seen.redirects), (200, 0), "{shape} {state}: {seen:?}");
            let page = seen.json();
            let first = (&page["total"], &page["result"][0]["ID"], &page["next"]);
            assert_eq!(first, (&json!(120), &json!("1"), &json!(50)), "{shape} {state}");
        }
    }
    let calls = world.calls().into_iter();
    let told = calls.map(|call| format!("{} {:?} {:?}", call.target, call.headers, call.body));
    let told: Vec<_> = told.filter(|told| told.contains(&world.key)).collect();
    assert!(told.is_empty(), "the key stays here: {told:#?}");
}

#[tokio::test]
async fn no_shape_of_a_request_is_sent_after_a_portal_that_was_renamed() {
    for (shape, arguments) in SHAPES {
        let world = World::new(&CREST_WEBHOOK).await;
        world.portal.control().switch(&json!({"renamed": true})).unwrap();
        let seen = world.curl(arguments).await;
        assert_eq!((seen.status, seen.redirects), (200, 0), "{shape}: {seen:?}");
        assert!(!seen.body.to_lowercase().contains("\nlocation:"), "{shape}: {seen:?}");
        assert_eq!(seen.json()["total"], 120, "{shape}");
    }
}

#[tokio::test]
async fn every_known_shape_of_a_request_gets_json_that_says_what_is_wrong() {
    let world = World::new(&CREST_WEBHOOK).await;
    world.portal.control().fault(&json!({"portal": {"mode": "down"}})).await.unwrap();
    for (shape, arguments) in SHAPES {
        let seen = world.curl(arguments).await;
        assert_eq!((seen.status, seen.redirects), (502, 0), "{shape}: {seen:?}");
        assert_eq!(seen.json()["error"], "GATEWAY_PORTAL_UNREACHABLE", "{shape}");
    }

    let world = World::idle_for_an_hour(&CREST_WEBHOOK).await;
    world.portal.control().kill_chain();
    for (shape, arguments) in SHAPES {
        let seen = world.curl(arguments).await;
        assert_eq!((seen.status, seen.redirects), (403, 0), "{shape}: {seen:?}");
        assert_eq!(seen.json()["error"], "GATEWAY_PORTAL_NOT_CONNECTED", "{shape}");
    }
    let asked = world.portal.control().log();
    assert_eq!((world.calls().len(), asked.len()), (0, 1), "one finds it out, for all: {asked:#?}");
}

#[tokio::test]
async fn no_shape_of_a_request_is_let_in_by_a_key_that_is_nobodys() {
    let world = World::of_a_stranger(&CREST_WEBHOOK).await;
    for (shape, arguments) in SHAPES {
        let seen = world.curl(arguments).await;
        assert_eq!((seen.status, seen.redirects), (403, 0), "{shape}: {seen:?}");
        assert_eq!(seen.json()["error"], "GATEWAY_KEY_REFUSED", "{shape}");
        assert!(!seen.body.contains(&world.key), "{shape}: {seen:?}");
    }
    world.assert_refused(SHAPES.len() as u64, "of every shape").await;
    assert_eq!(world.portal.control().log().len(), 0);
}

impl World {
    /// Follows whatever it is sent after, as most tools do.
    async fn curl(&self, arguments: &[&str]) -> Seen {
        let gate = format!("localhost:{}", self.gate.address.port());
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--location", "--max-time", "30"]);
        command.args(["--dump-header", "-", "-w", "\n%{http_code} %{num_redirects}"]);
        if arguments.contains(&"LOCAL-CA") {
            assert!(self.gate.setup().command(&["ca"], "").status.success());
        }
        let ca = self.gate.setup().state().join("ca.pem");
        for argument in arguments {
            let argument = argument.replace("GATE", &gate).replace("PORTAL", &self.portal_url);
            let argument = argument.replace("LOCAL-CA", ca.to_str().unwrap());
            command.arg(argument.replace("KEY", &self.key));
        }
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap()).stdin(Stdio::null());
        let run = move || command.output().expect("curl is missing; scripts/test installs it");
        let output = tokio::task::spawn_blocking(run).await.unwrap();
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stdout).unwrap();
        let (body, numbers) = said.rsplit_once('\n').unwrap();
        let (status, redirects) = numbers.split_once(' ').unwrap();
        let number = |text: &str| text.parse().unwrap();
        Seen { status: number(status), redirects: number(redirects), body: body.to_owned() }
    }
}

impl Seen {
    fn json(&self) -> Value {
        let body = self.body.rsplit("\r\n\r\n").next().unwrap();
        serde_json::from_str(body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }
}
