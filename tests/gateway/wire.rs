//! What real clients put on the wire: request lines, header fields, connections. Bodies are in
//! `wire/bodies.rs`, connections in `wire/connections.rs`.

mod bodies;
mod connections;

use crate::support::http::{self, Client};
use crate::support::wire::{
    calls, chunked_request, last_call, pattern, request, sha256, stage, stage_with,
};
use crate::support::{Gate, Setup};
use b24gate::sandbox::{Options, Sandbox};
use serde_json::json;

#[tokio::test]
async fn w1_raw_angle_brackets_and_quotes_pass_on_every_request_of_a_connection() {
    let (portal, gate) = stage().await;
    let mut client = Client::connect(gate.address).await;
    // A body that looks like a request must not be taken for one.
    let decoy = b"GET /rest/profile?filter[<ID]=9 HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec();
    let large = pattern(200_000);
    let bodies = [&b""[..], b"a=1&b[>c]=2", &decoy, &large];
    for round in 0..3 {
        for (kind, body) in bodies.iter().enumerate() {
            let number = round * 10 + kind;
            let target = format!("/rest/sandbox.echo?filter[>ID]={number}&q=\"<{number}>\"");
            let wire = match (kind, round) {
                (0, 2) => request(&format!("POST {target}"), "Content-Length: 0\r\n", b""),
                (0, _) => request(&format!("GET {target}"), "", b""),
                (_, 0) => request(&format!("POST {target}"), "", body),
                (_, 1) => chunked_request(&format!("POST {target}"), "", body, 4_000),
                _ => request(&format!("POST {target}"), "X-Quoted: \"<>\"\r\n", body),
            };
            client.send(&wire).await;
            let answer = client.answer().await.unwrap().json();
            let echo = &answer["result"];
            let query = format!("filter[%3EID]={number}&q=%22%3C{number}%3E%22");
            assert_eq!(echo["query"], query.as_str(), "round {round}, body {kind}");
            assert_eq!(echo["params"]["filter"][">ID"], number.to_string().as_str());
            assert_eq!(echo["params"]["q"], format!("\"<{number}>\"").as_str());
            assert_eq!(echo["body_sha256"], sha256(body).as_str(), "round {round}, body {kind}");
        }
    }
    assert_eq!(portal.control().executions("sandbox.echo"), 12);
}

#[tokio::test]
async fn w1_other_characters_that_clients_leave_raw_go_on_byte_for_byte() {
    let (portal, gate) = stage().await;
    for query in [
        "filter[ID]=1&x={a|b}^`c\\",
        "q=\u{43f}\u{440}\u{438}\u{432}\u{435}\u{442}",
        "a=%5B%20&b=+&c=%zz&d=%",
        "a=b=c==&&&e",
        "?a=1?b=2",
        "order[ID]=ASC&select[]=*&select[]=UF_*",
        "a='1;DROP'&b=$1,(2)!~@:/",
    ] {
        http::get(gate.address, &format!("/rest/sandbox.echo?{query}")).await;
        assert_eq!(last_call(&portal).target, format!("/rest/sandbox.echo?{query}"));
    }
}

#[tokio::test]
async fn w2_w3_w4_paths_of_every_sdk_reach_the_portal_as_one_plain_path() {
    let (portal, gate) = stage().await;
    for (sent, received) in [
        ("/rest/profile", "/rest/profile"),
        ("/rest/profile/", "/rest/profile"),
        ("/rest//profile", "/rest/profile"),
        ("//rest///profile//", "/rest/profile"),
        ("/rest/profile.json", "/rest/profile.json"),
        ("/rest/profile.json/", "/rest/profile.json"),
        ("/rest/profile.xml", "/rest/profile.xml"),
        ("/rest/profile?", "/rest/profile"),
        ("/rest/1/s3cretK3y/profile", "/rest/profile"),
        ("/rest/1/s3cretK3y//profile.json/?a=1", "/rest/profile.json?a=1"),
        ("/acme/rest/profile", "/rest/profile"),
        ("/acme//rest/1/K/profile/", "/rest/profile"),
        // Case decides on some portals, so it is the client's.
        ("/rest/tasks.flow.Flow.get", "/rest/tasks.flow.Flow.get"),
        ("/rest/CRM.Deal.LIST.json", "/rest/CRM.Deal.LIST.json"),
        ("/rest/Profile.XML", "/rest/Profile.XML"),
        ("/rest/api/rest.scope.list", "/rest/api/rest.scope.list"),
        ("/rest/api/rest.scope.list/", "/rest/api/rest.scope.list"),
        ("/rest/api/1/s3cretK3y/documentation", "/rest/api/documentation"),
        ("/acme/rest/api/scopes", "/rest/api/scopes"),
        ("http://localhost/rest/profile", "/rest/profile"),
        ("HTTP://localhost/rest//profile/?a=/b//c/", "/rest/profile?a=/b//c/"),
    ] {
        portal.control().clear_log();
        let answer = http::get(gate.address, sent).await;
        let seen: Vec<_> = calls(&portal).into_iter().map(|call| call.target).collect();
        assert_eq!(seen, [received], "{sent}: {}", answer.text());
        assert!(answer.status < 500, "{sent}");
    }
}

#[tokio::test]
async fn w2_xml_answers_and_xml_errors_pass() {
    let (portal, gate) = stage().await;
    let answer = http::get(gate.address, "/rest/profile.xml").await;
    assert!(answer.text().contains("<NAME>Ada</NAME>"), "{}", answer.text());
    let missing = http::get(gate.address, "/rest/no.such.method.xml").await;
    assert_eq!(missing.status, 404);
    assert!(missing.text().contains("<error>ERROR_METHOD_NOT_FOUND</error>"), "{}", missing.text());
    // The gateway's own errors have the shape that was asked for, too.
    portal.control().fault(&serde_json::json!({"portal": {"mode": "garbage"}})).await.unwrap();
    let broken = http::get(gate.address, "/rest/profile.xml").await;
    assert_eq!(broken.field("content-type"), Some("text/xml; charset=utf-8"));
    assert!(broken.text().contains("<error>GATEWAY_PORTAL_BROKEN</error>"), "{}", broken.text());
    assert!(broken.text().contains("<executed>unknown</executed>"), "{}", broken.text());
}

#[tokio::test]
async fn w4_version_3_is_called_with_json_and_refuses_in_its_own_shape() {
    let (portal, gate) = stage().await;
    let target = "/rest/api/tasks.task.get";
    let body = br#"{"id":1,"select":["id"]}"#;
    let answer = http::post(gate.address, target, "application/json", body).await;
    assert_eq!((answer.status, portal.control().executions("tasks.task.get")), (200, 1));
    let unknown = http::post(gate.address, "/rest/api/no.such", "application/json", b"{}").await;
    let code = unknown.json()["error"]["code"].as_str().unwrap().to_owned();
    assert_eq!(
        (unknown.status, code.as_str()),
        (404, "BITRIX_REST_V3_EXCEPTION_METHODNOTFOUNDEXCEPTION")
    );

    portal.control().expire();
    let replayed = http::post(gate.address, target, "application/json", body).await;
    assert_eq!(replayed.status, 200, "{}", replayed.text());
    assert_eq!(last_call(&portal).body.as_deref().unwrap().as_bytes(), body);
    assert_eq!(portal.control().executions("tasks.task.get"), 2);
}

#[tokio::test]
async fn w8_a_target_of_60_kb_passes_as_a_form_and_one_that_does_not_fit_is_a_414() {
    let (portal, gate) = stage().await;
    let mut client = Client::connect(gate.address).await;
    for length in [7_900, 8_000, 16_000, 32_000, 60_000] {
        let query = format!("filter[>ID]=0&auth=stale&cmd={}", "x".repeat(length));
        let fields = "Content-Type: application/json\r\n";
        client.send(request(&format!("GET /rest/sandbox.echo?{query}"), fields, b"")).await;
        let answer = client.answer().await.unwrap();
        assert_eq!(answer.status, 200, "{length}");
        assert_eq!(answer.json()["result"]["params"]["filter"][">ID"], "0", "{length}");
        assert_eq!(answer.json()["result"]["params"]["cmd"], "x".repeat(length), "{length}");
        let (call, sent) = (last_call(&portal), query.replace("auth=stale&", ""));
        if length == 7_900 {
            let target = format!("/rest/sandbox.echo?{}", sent.replace('>', "%3E"));
            assert_eq!((call.method.as_str(), call.target), ("GET", target));
            continue;
        }
        let line = (call.method.as_str(), call.target.as_str());
        assert_eq!(line, ("POST", "/rest/sandbox.echo"), "{length}");
        assert_eq!(call.header("content-type"), Some("application/x-www-form-urlencoded"));
        assert_eq!(answer.json()["result"]["body_sha256"], sha256(sent.as_bytes()), "{length}");
    }
    let target = format!("/rest/sandbox.echo?cmd={}", "x".repeat(70_000));
    let answer = http::get(gate.address, &target).await;
    assert_eq!((answer.status, answer.error().as_str()), (414, "GATEWAY_TARGET_TOO_LONG"));
    assert_eq!(portal.control().executions("sandbox.echo"), 5);
}

#[tokio::test]
async fn w8_a_long_get_survives_an_expiry_and_finds_a_portal_that_reads_parameters_only() {
    for inject in ["bearer", "parameter", "auto"] {
        let setting = format!("inject = \"{inject}\"");
        let (portal, gate) = stage_with(|setup| setup.portal(&setting)).await;
        let bearer = json!({"bearer": inject == "bearer"});
        portal.control().switch(&bearer).unwrap();
        for round in 0..3 {
            portal.control().expire();
            let cmd = format!("{round}{}", "y".repeat(20_000));
            let answer = http::get(gate.address, &format!("/rest/sandbox.echo?cmd={cmd}")).await;
            assert_eq!(answer.status, 200, "{inject}: {}", answer.text());
            assert_eq!(answer.json()["result"]["params"]["cmd"], cmd, "{inject}");
            assert_eq!(last_call(&portal).method, "POST", "{inject}");
        }
        assert_eq!(portal.control().executions("sandbox.echo"), 3, "{inject}");
        assert_eq!(portal.control().exchanges(), 3, "{inject}");
    }
}

#[tokio::test]
async fn w8_long_downloads_and_heads_and_gets_with_a_body_stay_what_they_are() {
    let (portal, gate) = stage().await;
    let long = "x".repeat(9_000);
    for (line, body, status) in [
        (format!("HEAD /rest/profile?cmd={long}"), &b""[..], 200),
        (format!("GET /rest/sandbox.echo?cmd={long}"), b"a=1", 200),
        (format!("GET /rest/disk.file.download?cmd={long}"), b"", 404),
        (format!("GET /rest/download?auth=A&token=disk&cmd={long}"), b"", 0),
    ] {
        let mut client = Client::connect(gate.address).await;
        client.send(request(&line, "", body)).await;
        let found = client.answer_to(line.starts_with("HEAD")).await.unwrap();
        assert!(status == 0 || found.status == status, "{}: {}", &line[..30], found.head);
        let call = last_call(&portal);
        assert_eq!(format!("{} {}", call.method, call.target), line);
    }
}

#[tokio::test]
async fn all_fields_of_a_call_reach_the_portal_up_to_a_hundred() {
    let (portal, gate) = stage().await;
    let mut client = Client::connect(gate.address).await;
    // Host is one of them. Room for more than sixteen is made only where it is needed.
    for count in [14, 15, 16, 17, 98, 99] {
        let fields: Vec<_> = (0..count).map(|number| format!("X-Field: {number}\r\n")).collect();
        let fields = fields.concat();
        client.send(request("GET /rest/profile", &fields, b"")).await;
        assert_eq!(client.answer().await.unwrap().status, 200, "{count}");
        let sent: Vec<_> = fields.lines().collect();
        let mut came = last_call(&portal).headers;
        came.retain(|line| line.starts_with("X-Field"));
        assert_eq!(came, sent, "{count}");
    }
    let fields = "X-Field: y\r\n".repeat(101);
    client.send(request("GET /rest/profile", &fields, b"")).await;
    assert_eq!(client.answer().await.unwrap().status, 431);
}

#[tokio::test]
async fn w9_an_offer_of_http_2_is_answered_over_1_1_and_goes_no_further() {
    let (portal, gate) = stage().await;
    let mut client = Client::connect(gate.address).await;
    let offer = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n\
                 HTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n";
    for line in ["GET /rest/sandbox.echo?filter[>ID]=1", "POST /rest/sandbox.echo"] {
        let body: &[u8] = if line.starts_with("POST") { b"a=1" } else { b"" };
        client.send(request(line, offer, body)).await;
        let answer = client.answer().await.unwrap();
        assert_eq!(answer.status, 200);
        assert!(answer.head.starts_with("HTTP/1.1 200"), "{}", answer.head);
        let call = last_call(&portal);
        for name in ["upgrade", "http2-settings", "connection"] {
            assert_eq!(call.header(name), None, "{name}");
        }
    }
}

#[tokio::test]
async fn w12_stale_credentials_of_the_client_are_replaced_and_never_reach_the_portal() {
    let portal = Sandbox::start(Options::default()).await.unwrap();
    let seed = portal.seed();
    let gate = Gate::connected(&Setup::of(&seed), &seed);
    let stale = "Authorization: Bearer stale-0\r\nCookie: PHPSESSID=stale-1; a=b\r\n\
                 X-Bitrix-Csrf-Token: stale-2\r\nX-B24-Secret: stale-3\r\n\
                 Proxy-Authorization: Basic stale-4\r\nauthorization: Basic stale-5\r\n";
    for target in [
        "/rest/sandbox.echo?auth=stale-6&access_token=stale-7&a=1",
        "/rest/sandbox.echo?a=1&+auth=stale-6&%61ccess.token=stale-7&auth[]=stale-8",
        "/rest/sandbox.echo?a=1&aplogin=1&ap=stale-6&sessid=stale-7&auth",
        "/rest/1/stale-9/sandbox.echo?a=1",
    ] {
        for line in [format!("GET {target}"), format!("POST {target}")] {
            let body: &[u8] = if line.starts_with("POST") { b"b=2" } else { b"" };
            let answer = http::send(gate.address, request(&line, stale, body)).await;
            assert_eq!(answer.status, 200, "{line}");
            let call = last_call(&portal);
            assert!(!call.target.contains("stale"), "{}", call.target);
            assert_eq!(call.target, "/rest/sandbox.echo?a=1");
            let text = call.headers.join("\n");
            assert!(!text.contains("stale"), "{text}");
            let credentials: Vec<_> = call
                .headers
                .iter()
                .filter(|line| line.to_ascii_lowercase().starts_with("authorization"))
                .collect();
            assert_eq!(credentials, [&format!("Authorization: Bearer {}", seed.access_token)]);
        }
    }
    assert_eq!(portal.control().exchanges(), 0, "a client's stale token is no reason to refresh");
}

#[tokio::test]
async fn w13_answers_are_packed_only_for_clients_that_take_gzip() {
    let (portal, gate) = stage().await;
    portal.control().switch(&serde_json::json!({"gzip": true})).unwrap();
    for (accepts, packed) in [
        ("", false),
        ("Accept-Encoding: identity\r\n", false),
        ("Accept-Encoding: gzip, deflate\r\n", true),
        ("Accept-Encoding: gzip, deflate, br, zstd\r\n", true),
        ("Accept-Encoding: br;q=1.0, GZip;q=0.8, *;q=0.1\r\n", true),
        ("Accept-Encoding: br\r\nAccept-Encoding: gzip\r\n", true),
        ("Accept-Encoding: br, zstd, compress\r\n", false),
        ("Accept-Encoding: gzip;q=0\r\n", false),
    ] {
        let answer = http::send(gate.address, request("GET /rest/profile", accepts, b"")).await;
        let found = answer.field("content-encoding");
        assert_eq!(found, packed.then_some("gzip"), "{accepts}");
        assert_eq!(answer.body.starts_with(b"\x1f\x8b"), packed, "{accepts}");
        // Only what the gateway can read is asked for, whatever the client would take.
        let asked = last_call(&portal).header("accept-encoding").map(str::to_owned);
        assert_eq!(asked.as_deref(), packed.then_some("gzip"), "{accepts}");
    }
}
