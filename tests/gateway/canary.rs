//! One long run with everything that can go wrong and the log at its loudest; afterwards every
//! byte that came out anywhere is searched for every secret that was in play.

mod imports;
mod keys;
mod search;
mod tls;

use std::collections::{BTreeSet, HashSet};
use std::path::Path;
use std::process::Output;

use b24gate::sandbox::{Options, Sandbox, Seed};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::support::calls::{fault, switch, token_requests, until};
use crate::support::http::{self, Answer, Client};
use crate::support::{Gate, Setup};

use search::{Hay, Needle};

/// What nobody may see. It is written differently in a URL, in JSON and in a header.
const CLIENT_SECRET: &str = "S-canary+/=&~7Hq2mZ0secret";
/// A credential of a client's own, which the gateway has no business repeating either.
const CLIENTS_OWN: &str = "C-canary+/=&~9Xw4kB1stale";

/// What an operator, a browser and a program get to read.
const PAGES: [&str; 14] = [
    "/",
    "/livez",
    "/readyz",
    "/metrics",
    "/nothing",
    "/api/v1/clients",
    "/api/v1/portals",
    "/api/v1/portals/acme",
    "/api/v1/portals/acme/chains",
    "/api/v1/portals/acme/ledger?limit=1000",
    "/api/v1/portals/acme/token",
    "/api/v1/events",
    "/api/v1/calls?limit=1000",
    "/calls",
];

/// A run, with all that came out of it.
struct Run {
    portal: Sandbox,
    setup: Setup,
    tokens: BTreeSet<String>,
    outputs: Vec<Hay>,
    seen: HashSet<Vec<u8>>,
    kept: usize,
}

impl Run {
    fn keep(&mut self, from: impl Into<String>, bytes: &[u8]) {
        self.kept += 1;
        // The same words again, as pages have them, need not be searched again.
        if self.seen.insert(bytes.to_vec()) {
            self.outputs.push(Hay::new(from, bytes));
        }
    }

    fn keep_answer(&mut self, to: &str, answer: &Answer) {
        let bytes = [answer.head.as_bytes(), &answer.body].concat();
        self.keep(format!("the answer to {to}"), &bytes);
    }

    fn seed(&mut self) -> Seed {
        let seed = self.portal.seed();
        self.tokens.extend([seed.access_token.clone(), seed.refresh_token.clone()]);
        seed
    }

    /// A command, its input, and what it says.
    fn command(&mut self, arguments: &[&str], input: &str) -> Output {
        let output = self.setup.command(arguments, input);
        let said = [output.stdout.as_slice(), &output.stderr].concat();
        self.keep(format!("b24gate {}", arguments.join(" ")), &said);
        output
    }

    async fn call(&mut self, gate: &Gate, request: String) -> u16 {
        let line = request.lines().next().unwrap_or_default().to_owned();
        let mut client = Client::connect(gate.address).await;
        client.try_send(request).await;
        let head_only = line.starts_with("HEAD ");
        let Some(answer) = client.answer_to(head_only).await else { return 0 };
        self.keep_answer(&line, &answer);
        answer.status
    }

    async fn profile(&mut self, gate: &Gate) -> u16 {
        self.call(gate, "GET /rest/profile HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned()).await
    }

    /// Calls of every kind, among them those that are refused.
    async fn calls(&mut self, gate: &Gate) {
        let own = CLIENTS_OWN;
        let url: String = form_urlencoded::byte_serialize(own.as_bytes()).collect();
        let plain = "Host: localhost\r\n\r\n";
        let mut requests: Vec<String> = [
            "GET /rest/crm.deal.list.xml HTTP/1.1",
            "GET /rest/batch?cmd[a]=profile HTTP/1.1",
            "HEAD /rest/profile HTTP/1.1",
            "GET /rest/no.such.method HTTP/1.1",
            "GET /rest/sandbox.error?status=400&code=X HTTP/1.1",
            "GET /rest/sandbox.bytes?size=100000&chunked=1 HTTP/1.1",
            "GET /rest/ HTTP/1.1",
            "GET / HTTP/1.1",
            "DELETE /rest/profile HTTP/1.1",
            "GET /nobody/rest/profile HTTP/1.1",
            "GET /rest/download?auth=A&token=T HTTP/1.1",
            "NONSENSE",
        ]
        .map(|line| format!("{line}\r\n{plain}"))
        .into();
        requests.push("GET /rest/profile HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_owned());
        requests.push(format!("GET /rest/profile?auth={url} HTTP/1.1\r\n{plain}"));
        requests.push(format!("GET /rest/1/{url}/profile?sessid={url} HTTP/1.1\r\n{plain}"));
        let fields = format!("Authorization: Bearer {own}\r\nCookie: a={own}\r\n");
        requests.push(format!("GET /rest/profile HTTP/1.1\r\n{fields}{plain}"));
        requests.push(format!("GET /rest/ HTTP/1.1\r\n{fields}Origin: http://{url}\r\n{plain}"));
        for (kind, body) in [
            ("application/x-www-form-urlencoded", format!("auth={url}")),
            ("application/json", format!("{{\"auth\": \"{own}\"}}")),
            ("application/json", "{".to_owned()),
        ] {
            for path in ["/rest/profile", "/rest/api/tasks.task.list", "/rest/no.such"] {
                let length = body.len();
                requests.push(format!(
                    "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n\
                     Content-Length: {length}\r\n\r\n{body}"
                ));
            }
        }
        for request in requests {
            self.call(gate, request).await;
        }
    }

    async fn portal_faults(&mut self, gate: &Gate) {
        for mode in [
            json!({"mode": "expired_once"}),
            json!({"mode": "error", "code": "NO_AUTH_FOUND", "count": 1}),
            json!({"mode": "query_limit", "count": 1}),
            json!({"mode": "html", "count": 1}),
            json!({"mode": "html", "status": 200, "count": 1}),
            json!({"mode": "redirect", "count": 1}),
            json!({"mode": "redirect", "location": "http://127.0.0.1:9/", "count": 1}),
            json!({"mode": "reset_before_answer", "count": 1}),
            json!({"mode": "close_before_answer", "count": 1}),
            json!({"mode": "garbage", "count": 1}),
            json!({"mode": "cut_body", "after": 20, "count": 1}),
            json!({"mode": "always_expired"}),
            json!({"mode": "down"}),
        ] {
            fault(&self.portal, json!({"portal": mode})).await;
            self.profile(gate).await;
            self.pages(gate).await;
            self.portal.control().clear_faults().await;
        }
    }

    async fn oauth_faults(&mut self, gate: &Gate) {
        let plain = ["html", "truncated", "empty_json", "no_refresh_token", "reset_after_commit"];
        let verdicts = ["invalid_grant", "expired_token", "payment_required", "not_installed"];
        let others = [
            "invalid_client",
            "wrong_client",
            "other_member",
            "same_refresh_token",
            "post_refused",
        ];
        let modes = plain.into_iter().chain(verdicts).chain(others).chain(["down"]);
        let mut faults: Vec<Value> = modes.map(|mode| json!({"mode": mode})).collect();
        faults.push(json!({"mode": "hang", "ms": 50}));
        faults.push(json!({"mode": "slow", "ms": 50}));
        // A server that quotes what it was sent.
        let Seed { access_token, refresh_token, .. } = self.seed();
        let text = format!("{refresh_token} of {CLIENT_SECRET}, not {access_token}");
        for status in [200, 400, 500] {
            let body = json!({"error": "invalid_request_x", "error_description": text});
            let location = format!("http://127.0.0.1:9/?refresh_token={refresh_token}");
            faults.push(json!({"mode": "status", "status": status, "body": body.to_string(),
                "headers": {"Location": location}}));
            faults.push(json!({"mode": "status", "status": status, "body": text}));
        }
        for mode in faults {
            // Lifts the pause that the fault before it has earned.
            self.import();
            self.portal.control().expire();
            fault(&self.portal, json!({"oauth": mode})).await;
            self.profile(gate).await;
            self.pages(gate).await;
            self.command(&["portal", "show", "acme"], "");
            self.portal.control().clear_faults().await;
        }
    }

    /// What an operator looks at.
    async fn pages(&mut self, gate: &Gate) {
        for path in PAGES {
            let answer = http::get(gate.admin, path).await;
            self.keep_answer(&format!("the operator's {path}"), &answer);
        }
        for path in ["/", "/?fragment", "/calls", "/nothing"] {
            let page =
                format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n\r\n");
            let answer = http::send(gate.admin, page).await;
            assert!(answer.text().contains("b24gate"), "{}", answer.text());
            self.keep_answer(&format!("the page {path}"), &answer);
        }
    }

    /// The control socket, without the command in between.
    async fn control_socket(&mut self) {
        let Seed { access_token, refresh_token, .. } = self.seed();
        let pair = json!({"access_token": access_token, "refresh_token": refresh_token});
        for request in [
            json!({"do": "list"}),
            json!({"do": "client list"}),
            json!({"do": "show", "portal": "acme", "ledger": 1000}),
            json!({"do": "show", "portal": refresh_token}),
            json!({"do": "import", "portal": "nobody", "grant": pair}),
            json!({"do": "import", "portal": "acme", "grant": {"access_token": access_token}}),
            json!({"do": "import", "portal": "acme", "grant": pair}),
            json!({"do": "import", "portal": "acme", "grant": pair, "replace": true}),
            json!({"do": refresh_token}),
        ] {
            let socket = std::fs::read_dir(self.setup.state()).unwrap().find_map(|entry| {
                let path = entry.unwrap().path();
                path.extension().is_some_and(|end| end == "sock").then_some(path)
            });
            let mut stream = UnixStream::connect(socket.expect("a control socket")).await.unwrap();
            stream.write_all(format!("{request}\n").as_bytes()).await.unwrap();
            let mut reply = Vec::new();
            stream.read_to_end(&mut reply).await.unwrap();
            assert!(!reply.is_empty());
            // Whoever asks for a portal by the name of a token gets that name back.
            let own_words = json!(refresh_token).to_string();
            let reply = String::from_utf8(reply).unwrap();
            let kept = if request["portal"] == json!(refresh_token) {
                reply.replace(own_words.trim_matches('"'), "")
            } else {
                reply
            };
            self.keep("the control socket", kept.as_bytes());
        }
    }

    /// What other programs of this user see of the process and its files.
    fn surroundings(&mut self, pid: u32) {
        for name in ["cmdline", "environ", "status", "maps"] {
            // Unreadable is as good as clean.
            let bytes = std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default();
            self.keep(format!("/proc/PID/{name}"), &bytes);
        }
        self.state_files();
    }

    fn state_files(&mut self) {
        let state = self.setup.state();
        let mut seen = Vec::new();
        for entry in std::fs::read_dir(&state).unwrap() {
            let path = entry.unwrap().path();
            // The one place where the authority's key has to be.
            if path.is_file() && name(&path) != "ca.key" {
                seen.push(name(&path));
                let bytes = std::fs::read(&path).unwrap();
                self.keep(format!("the file {}", name(&path)), &bytes);
            }
        }
        assert!(seen.contains(&"b24gate.db".to_owned()), "{seen:?}");
    }

    /// Every token that the portal and the OAuth server have seen goes on the list.
    fn collect_tokens(&mut self) {
        let log = self.portal.control().log();
        for bearer in log.iter().filter_map(|entry| entry.header("authorization")) {
            self.tokens.extend(bearer.strip_prefix("Bearer ").map(str::to_owned));
        }
        for request in token_requests(&self.portal) {
            let form = request.body.clone().unwrap_or_default() + "&" + &request.target;
            let pairs = form_urlencoded::parse(form.as_bytes());
            self.tokens.extend(
                pairs
                    .filter(|(key, _)| key == "refresh_token")
                    .map(|(_, token)| token.into_owned()),
            );
        }
    }

    fn needles(&self) -> Vec<Needle> {
        let mut needles = vec![
            Needle::of("the client secret", CLIENT_SECRET),
            Needle::of("a client's own credential", CLIENTS_OWN),
        ];
        needles.extend(self.authority());
        for (number, token) in self.tokens.iter().enumerate() {
            // The signature: what stands before it is the same in all tokens of a portal.
            let tail = token.get(token.len().saturating_sub(32)..).unwrap();
            needles.push(Needle::of(format!("token {number}"), tail));
        }
        needles
    }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_comes_out_anywhere_in_any_disguise() {
    let client = Some(("local.canary.00000000".to_owned(), CLIENT_SECRET.to_owned()));
    let portal = Sandbox::start(Options { client, ..Options::apart() }).await.unwrap();
    switch(&portal, json!({"rotation": "lenient"}));
    let setup = Setup::new(&portal).log_level("trace").gateway("max_wait = \"1s\"");
    let setup = setup.more("[audit]\naccess_log = true");
    setup.write();
    let mut run = Run {
        portal,
        setup,
        tokens: BTreeSet::new(),
        outputs: Vec::new(),
        seen: HashSet::new(),
        kept: 0,
    };
    run.import();
    run.import_wrongly();
    run.import_more();
    run.command(&["portal", "list"], "");
    run.command(&["check"], "");

    let gate = run.setup.start();
    assert_eq!(run.profile(&gate).await, 200);
    run.import_wrongly();
    run.import_more();
    run.calls(&gate).await;
    run.calls_in_tls(&gate).await;
    run.portal_faults(&gate).await;
    run.oauth_faults(&gate).await;
    run.client(&gate).await;
    run.control_socket().await;
    run.command(&["audit", "--json", "--limit", "100000"], "");
    for arguments in [&["portal", "list"][..], &["portal", "show", "acme"], &["check"], &["serve"]]
    {
        run.command(arguments, "");
    }
    reload_wrongly(&mut run, &gate).await;
    run.portal.control().expire();
    assert_eq!(run.profile(&gate).await, 200, "the run was a real one to its end");

    run.surroundings(gate.pid());
    let (status, log) = tokio::task::spawn_blocking(|| gate.stop()).await.unwrap();
    assert!(status.success());
    for loud in ["DEBUG", "token refreshed", "token refresh failed", "NOT reloaded"] {
        assert!(log.contains(loud), "the log has no {loud}");
    }
    assert!(!log.contains("log lines dropped"), "a line that is missing cannot be searched");
    run.keep("the log", log.as_bytes());
    run.state_files();
    run.collect_tokens();
    assert!(run.tokens.len() > 60, "{} tokens", run.tokens.len());
    assert!(run.portal.control().exchanges() > 5);
    search::report(&run);
}

/// Configurations that are wrong at the very place of the secret.
async fn reload_wrongly(run: &mut Run, gate: &Gate) {
    let good = run.setup.text();
    let quoted = format!("\"{CLIENT_SECRET}\"");
    let lists = format!("[{quoted}]");
    for (written, instead) in [
        (quoted.as_str(), CLIENT_SECRET),
        (&quoted, &lists),
        ("client_secret =", "client_secrt ="),
        ("client_secret =", "client_secret_env ="),
    ] {
        let before = gate.log().matches("NOT reloaded").count();
        std::fs::write(run.setup.config(), good.replace(written, instead)).unwrap();
        run.command(&["check"], "");
        run.command(&["portal", "list"], "");
        gate.signal("HUP");
        let refused = || gate.log().matches("NOT reloaded").count() > before;
        until("a wrong configuration is refused", refused).await;
    }
    run.setup.write();
    gate.signal("HUP");
    gate.wait_for_log("configuration reloaded");
}
