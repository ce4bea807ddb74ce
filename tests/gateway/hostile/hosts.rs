//! S-03: which names and ports a request may be addressed to.

use std::net::SocketAddr;

use crate::support::Gate;
use crate::support::http;
use crate::support::wire::{stage, stage_with};

use super::{only_probes, refused};

/// Hosts that a rebound name or a clever spelling would bring.
const FOREIGN_HOSTS: &[&str] = &[
    "",
    " ",
    ".",
    ":8024",
    "evil.example",
    "evil.example:8024",
    "localhost.evil.example",
    "evil-localhost",
    "xlocalhost",
    "localhost.localdomain",
    "127.0.0.1.nip.io",
    "127.1",
    "127.0.0.2",
    "127.0.1",
    "0.0.0.0",
    "0",
    "2130706433",
    "0x7f.1",
    "0x7f000001",
    "017700000001",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[0:0:0:0:0:0:0:1]",
    "[::1",
    "::1",
    "[::1]evil",
    "[::1]:evil",
    "[::1%25lo]",
    "localhost:evil",
    "localhost:80:80",
    "localhost:123456",
    "localhost:1",
    "127.0.0.1:1",
    "[::1]:1",
    "acme.localhost:1",
    "localhost:65536",
    "localhost:-1",
    "localhost@evil.example",
    "evil.example@localhost",
    "user:pass@localhost",
    "localhost/",
    "localhost/rest",
    "localhost?x",
    "localhost#x",
    "localhost%00",
    "localhost, evil.example",
    "localhost evil.example",
    "http://localhost",
    "l\u{f6}calhost",
    "\u{ff4c}ocalhost",
    "192.168.0.1",
    "host.docker.internal",
    "metadata.google.internal",
    "169.254.169.254",
];

#[tokio::test]
async fn s_03_a_host_that_is_not_the_gateways_is_refused() {
    let (portal, gate) = stage().await;
    for (number, host) in FOREIGN_HOSTS.iter().enumerate() {
        let wire = format!("GET /rest/profile HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let answer = refused(&gate, wire.as_bytes(), number).await;
        let found = (answer.status, answer.error());
        assert_eq!(found, (403, "GATEWAY_BROWSER_REFUSED".to_owned()), "{host:?}");
    }
    only_probes(&portal);
}

#[tokio::test]
async fn s_03_the_gateways_own_names_are_accepted_in_every_spelling() {
    let hosts = "hosts = [\"b24.office\", \"localhost:9000\", \"fd00::7\", \"tools.lan:81\"]";
    let (portal, gate) =
        stage_with(|setup| setup.gateway(hosts).listen("127.0.0.9:0").listen("[::1]:0")).await;
    let (port, second) = (gate.address.port(), tcp_doors(&gate)[1]);
    let own = [
        "localhost",
        "LOCALHOST",
        "localhost.",
        "localhost:",
        "localhost:PORT",
        "LocalHost.:PORT",
        "localhost:SECOND",
        "127.0.0.1",
        "127.0.0.1:PORT",
        "[::1]",
        "[::1]:PORT",
        "acme.localhost",
        "ACME.localhost:PORT",
        "b24.office",
        "B24.Office:8024",
        // On purpose: a published port.
        "localhost:9000",
        "acme.localhost:9000",
        "127.0.0.1:9000",
        "[fd00::7]",
        "[fd00::7]:1234",
        "tools.lan:81",
        // An address that is listened on, with its port.
        "127.0.0.9:SECOND",
    ];
    for host in own {
        let host = host.replace("PORT", &port.to_string());
        let host = host.replace("SECOND", &second.port().to_string());
        let wire = format!("GET /rest/profile HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let answer = http::send(gate.address, wire).await;
        assert_eq!(answer.status, 200, "{host}: {}", answer.text());
        let upstream = crate::support::wire::last_call(&portal);
        let expected = portal.address().to_string();
        assert_eq!(upstream.header("host"), Some(expected.as_str()), "{host}");
    }
    let foreign =
        ["tools.lan", "tools.lan:82", "127.0.0.9", "127.0.0.9:PORT", "0.0.0.0:PORT", "[::]:PORT"];
    for (number, host) in foreign.iter().enumerate() {
        let host = host.replace("PORT", &port.to_string());
        let wire = format!("GET /rest/profile?foreign HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(refused(&gate, wire.as_bytes(), number).await.status, 403, "{host}");
    }
    assert_eq!(portal.control().executions("profile"), own.len() as u64);
}

/// Every TCP address of the gateway, as its log says.
fn tcp_doors(gate: &Gate) -> Vec<SocketAddr> {
    let log = gate.log();
    let lines = log.lines().filter(|line| line.contains("gateway listening"));
    lines.map(|line| line.split("http://").nth(1).unwrap().trim().parse().unwrap()).collect()
}

#[tokio::test]
async fn s_03_another_port_of_this_machine_is_refused_with_what_would_open_it() {
    let (portal, gate) = stage().await;
    let other = if gate.address.port() == 8024 { 8025 } else { 8024 };
    for (number, host) in
        ["localhost", "LOCALHOST.", "127.0.0.1", "[::1]", "acme.localhost"].iter().enumerate()
    {
        let wire = format!("GET /rest/profile HTTP/1.1\r\nHost: {host}:{other}\r\n\r\n");
        let answer = refused(&gate, wire.as_bytes(), number).await;
        let found = (answer.status, answer.error());
        assert_eq!(found, (403, "GATEWAY_BROWSER_REFUSED".to_owned()), "{host:?}");
        let said = answer.json()["error_description"].as_str().unwrap().to_owned();
        assert!(said.contains(&format!("add \"localhost:{other}\" to gateway.hosts")), "{said}");
    }
    only_probes(&portal);
}
