//! What the operator's `/metrics` says of the request path, to the last call.

use std::collections::BTreeMap;

use serde_json::json;
use tokio::time::Instant;

use crate::support::calls::{fault, portal, portal_apart, profile, switch};
use crate::support::http::{self, Client};
use crate::support::{Gate, Setup};

/// The samples of a page: name with labels, and value.
struct Page(BTreeMap<String, String>);

impl Page {
    /// The page, once `name` has reached `value`: what is counted of a call is counted when its
    /// answer has gone.
    async fn when(gate: &Gate, name: &str, value: u64) -> Self {
        for _ in 0..500 {
            let page = Self::of(gate).await;
            if page.count(name) >= value {
                return page;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("{name} is not {value}: {:#?}", Self::of(gate).await.0);
    }

    async fn of(gate: &Gate) -> Self {
        let answer = http::get(gate.admin, "/metrics").await;
        assert_eq!(answer.status, 200);
        let text = answer.text();
        assert!(text.ends_with("# EOF\n"), "{text}");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Self(
            lines
                .map(|line| {
                    let (name, value) = line.rsplit_once(' ').unwrap();
                    (name.strip_prefix("b24gate_").unwrap().to_owned(), value.to_owned())
                })
                .collect(),
        )
    }

    fn get(&self, name: &str) -> f64 {
        self.0.get(name).map(|value| value.parse().unwrap()).unwrap_or_default()
    }

    /// A whole number, which is written as one.
    fn count(&self, name: &str) -> u64 {
        self.0.get(name).map(|value| value.parse().unwrap()).unwrap_or_default()
    }

    /// All samples of a family that are not zero, their labels without the family's name.
    fn counts(&self, family: &str) -> Vec<(&str, u64)> {
        let of_family = |(name, value): (&'_ String, &String)| -> Option<(&str, u64)> {
            let labels = self.0.get_key_value(name)?.0.strip_prefix(family)?;
            let count = value.parse().ok()?;
            (labels.starts_with('{') && count > 0).then_some((labels, count))
        };
        self.0.iter().filter_map(of_family).collect()
    }
}

fn answers(portal: &str, status: &str) -> String {
    format!("requests_total{{portal=\"{portal}\",client=\"anonymous\",status=\"{status}\"}}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_counted_once_by_the_status_that_the_client_got() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    let mut client = Client::connect(gate.address).await;
    for _ in 0..20 {
        client.send("GET /rest/profile HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        assert_eq!(client.answer().await.unwrap().status, 200);
    }
    let error = |status: u16| format!("/rest/sandbox.error?status={status}&code=X");
    for (target, status) in [
        ("/rest/no.such.method".to_owned(), 404),
        (error(400), 400),
        (error(418), 418),
        (error(499), 499),
        ("/nobody/rest/profile".to_owned(), 404),
        ("/elsewhere".to_owned(), 404),
    ] {
        assert_eq!(http::get(gate.address, &target).await.status, status, "{target}");
    }
    fault(&portal, json!({"portal": {"mode": "close_before_answer", "count": 1}})).await;
    assert_eq!(profile(&gate).await.status, 502);
    let bytes = "/rest/sandbox.bytes?size=100000";
    fault(&portal, json!({"portal": {"mode": "cut_body", "after": 70_000, "count": 1}})).await;
    assert!(!http::get(gate.address, bytes).await.whole);

    let page = Page::when(&gate, "request_duration_seconds_count", 28).await;
    let expected = [
        (answers("", "404"), 2),
        (answers("acme", "200"), 21),
        (answers("acme", "400"), 1),
        (answers("acme", "404"), 1),
        (answers("acme", "502"), 1),
        (answers("acme", "other"), 2),
    ];
    let expected = expected.map(|(name, count)| (name["requests_total".len()..].to_owned(), count));
    let found: Vec<_> = page
        .counts("requests_total")
        .into_iter()
        .map(|(labels, count)| (labels.to_owned(), count))
        .collect();
    assert_eq!(found, expected);
    assert_eq!(page.count("request_duration_seconds_count"), 28);
    assert_eq!(page.count("request_duration_seconds_bucket{le=\"+Inf\"}"), 28);
    assert_eq!(page.count("overhead_seconds_count"), 25, "of the portal's answers");
    assert!(page.get("overhead_seconds_sum") <= page.get("request_duration_seconds_sum"));
    assert!(page.get("build_info{version=\"0.1.0\"}") > 0.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_leaves_before_its_answer_is_counted_as_none() {
    let portal = portal().await;
    let gate = Gate::before(&portal);
    let mut client = Client::connect(gate.address).await;
    client
        .send("POST /rest/profile HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n")
        .await;
    drop(client);
    let page = Page::when(&gate, &answers("acme", "none"), 1).await;
    assert_eq!(page.counts("requests_total").len(), 1);
    assert_eq!(page.0["budget_level{portal=\"acme\"}"], "0.0", "nothing was sent");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_guard_counts_what_it_turns_away() {
    let portal = portal().await;
    let url = portal.seed().portal_url.replace("127.0.0.1", "localhost");
    let empty = format!("[portals.empty]\nurl = \"{url}\"");
    let setup = Setup::new(&portal).gateway("max_body = \"1KiB\"\ndefault_portal = \"acme\"");
    let setup = setup.more(&empty);
    let gate = Gate::connected(&setup, &portal.seed());
    let get = |target: &str, fields: &str| {
        format!("GET {target} HTTP/1.1\r\n{fields}Connection: close\r\n\r\n")
    };
    let local = "Host: localhost\r\n";
    let ok = "/rest/profile";
    for (guard, request) in [
        ("host", get(ok, "Host: evil.example\r\n")),
        ("origin", get(ok, &format!("{local}Origin: http://evil.example\r\n"))),
        ("origin", get(ok, &format!("{local}Referer: http://evil.example/\r\n"))),
        ("sec_fetch", get(ok, &format!("{local}Sec-Fetch-Site: cross-site\r\n"))),
        ("forwarded", get(ok, &format!("{local}X-Forwarded-For: 1.2.3.4\r\n"))),
        ("verb", format!("DELETE {ok} HTTP/1.1\r\n{local}\r\n")),
        ("malformed", "NONSENSE\r\n\r\n".to_owned()),
        ("malformed", get(ok, "")),
        ("head_too_large", get(ok, &format!("{local}{}", "A: b\r\n".repeat(101)))),
        ("body_too_large", get(ok, &format!("{local}Content-Length: 1025\r\n"))),
        ("not_a_method", get("/rest/a/b/c", local)),
        ("portal_unknown", get("/nobody/rest/profile", local)),
        ("not_connected", get("/empty/rest/profile", local)),
    ] {
        let answer = http::send(gate.address, request).await;
        assert!(answer.status >= 400, "{guard}");
    }
    let page = Page::when(&gate, "request_duration_seconds_count", 10).await;
    let expected: Vec<(String, u64)> = [
        ("body_too_large", 1),
        ("forwarded", 1),
        ("head_too_large", 1),
        ("host", 1),
        ("malformed", 2),
        ("not_a_method", 1),
        ("not_connected", 1),
        ("origin", 2),
        ("portal_unknown", 1),
        ("sec_fetch", 1),
        ("verb", 1),
    ]
    .map(|(guard, count)| (format!("{{guard=\"{guard}\"}}"), count))
    .into();
    let found: Vec<_> = page
        .counts("rejected_total")
        .into_iter()
        .map(|(labels, count)| (labels.to_owned(), count))
        .collect();
    assert_eq!(found, expected);
    assert_eq!(portal.control().log().len(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reason_to_send_a_call_again_is_counted() {
    let portal = portal_apart().await;
    let gate = Gate::connected(&Setup::new(&portal).gateway("max_wait = \"30s\""), &portal.seed());
    // While it is not known where the portal reads its token, a client's own is in the way.
    switch(&portal, json!({"bearer": false}));
    let form = "application/x-www-form-urlencoded";
    assert_eq!(http::post(gate.address, "/rest/profile", form, b"auth=x").await.status, 200);
    for (mode, count) in [("query_limit", 2), ("operating_limit", 1), ("connection_error", 1)] {
        fault(&portal, json!({"portal": {"mode": mode, "count": count}})).await;
        assert_eq!(profile(&gate).await.status, 200);
    }
    portal.control().expire();
    assert_eq!(profile(&gate).await.status, 200);
    switch(&portal, json!({"renamed": true}));
    assert_eq!(profile(&gate).await.status, 200);

    for _ in 0..2 {
        let repeated = http::get(gate.address, "/rest/profile?bx24_request_id=1").await;
        assert_eq!(repeated.status, 200);
    }

    let page = Page::when(&gate, "request_duration_seconds_count", 8).await;
    let expected = [
        ("{reason=\"client_credential\"}", 1),
        ("{reason=\"connection_error\"}", 1),
        ("{reason=\"expired_token\"}", 1),
        ("{reason=\"moved\"}", 1),
        ("{reason=\"operation_time\"}", 1),
        ("{reason=\"parameter\"}", 1),
        ("{reason=\"query_limit\"}", 2),
        ("{reason=\"request_id\"}", 1),
    ];
    assert_eq!(page.counts("replays_total"), expected);
    // Three calls were held back, one of them twice, for four waits of half a second or more.
    assert_eq!(page.count("queue_wait_seconds_count"), 3);
    let waited = page.get("queue_wait_seconds_sum");
    let total = page.get("request_duration_seconds_sum");
    assert!(waited >= 3.5 && waited <= total, "{waited} of {total}");
    assert!(page.get("overhead_seconds_sum") <= total - waited, "waiting is no work");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_held_back_stands_in_the_queue_and_leaves_it() {
    let portal = portal().await;
    let gate = Gate::connected(&Setup::new(&portal).gateway("max_wait = \"30s\""), &portal.seed());
    let depth = "queue_depth{portal=\"acme\"}";
    assert_eq!(profile(&gate).await.status, 200);
    assert_eq!(Page::of(&gate).await.0.get(depth).unwrap(), "0");
    fault(&portal, json!({"portal": {"mode": "query_limit"}})).await;
    let calls: Vec<_> = (0..3)
        .map(|_| {
            let address = gate.address;
            tokio::spawn(async move { http::get(address, "/rest/profile").await })
        })
        .collect();
    Page::when(&gate, depth, 3).await;
    portal.control().clear_faults().await;
    for call in calls {
        assert_eq!(call.await.unwrap().status, 200);
    }
    let page = Page::when(&gate, "queue_wait_seconds_count", 3).await;
    assert_eq!(page.count(depth), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_budget_shows_what_was_sent_and_the_portal_has_not_drained() {
    let portal = portal().await;
    for (plan, drains) in [("standard", 2.0), ("enterprise", 5.0), ("unlimited", f64::INFINITY)] {
        let setup = Setup::new(&portal).portal(&format!("plan = \"{plan}\""));
        let gate = Gate::connected(&setup, &portal.seed());
        let level = "budget_level{portal=\"acme\"}";
        assert_eq!(Page::of(&gate).await.0.get(level).unwrap(), "0.0");
        let mut client = Client::connect(gate.address).await;
        let began = Instant::now();
        for _ in 0..30 {
            client.send("GET /rest/profile HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
            assert_eq!(client.answer().await.unwrap().status, 200);
        }
        let found = Page::of(&gate).await.get(level);
        // However slow the machine is, no more can have drained.
        let least = (30.0 - drains * began.elapsed().as_secs_f64()).max(0.0);
        let most = if drains.is_finite() { 30.0 } else { 0.0 };
        assert!((least..=most).contains(&found), "{plan}: {found}, not {least} to {most}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_portal_that_is_removed_takes_its_numbers_along_and_a_changed_one_keeps_them() {
    let portal = portal().await;
    let url = portal.seed().portal_url.replace("127.0.0.1", "localhost");
    let setup = Setup::new(&portal).gateway("default_portal = \"acme\"");
    let both = setup.clone().more(&format!("[portals.other]\nurl = \"{url}\""));
    let gate = Gate::connected(&both, &portal.seed());
    assert_eq!(profile(&gate).await.status, 200);
    assert_eq!(http::get(gate.address, "/other/rest/profile").await.status, 403);
    Page::when(&gate, &answers("other", "403"), 1).await;

    setup.portal("plan = \"enterprise\"").write();
    gate.signal("HUP");
    gate.wait_for_log("configuration reloaded");
    let page = Page::of(&gate).await;
    assert_eq!(page.count(&answers("acme", "200")), 1);
    assert!(!page.0.keys().any(|name| name.contains("other\"") && name.contains("portal=")));
    assert_eq!(profile(&gate).await.status, 200);
    Page::when(&gate, &answers("acme", "200"), 2).await;
}
