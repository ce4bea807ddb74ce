//! Other ways to arrive: the gateway as an HTTP proxy, under a portal's own name, and under a name
//! below localhost.

use std::process::Output;

use b24gate::sandbox::{Options, Sandbox};
use b24gate::store::Seat;
use serde_json::Value;

use crate::support::wire::{calls, last_call, stage};
use crate::support::{Gate, Setup, http};

/// Two portals. The domain of the second one is a name, to everybody but the resolver, which takes
/// it for 127.0.0.1.
async fn named() -> (Sandbox, Sandbox, Gate) {
    let portal = Sandbox::start(Options::default()).await.unwrap();
    let other = Sandbox::start(Options::default()).await.unwrap();
    let (seed, second) = (portal.seed(), other.seed());
    let more = format!(
        "[apps.second]\nclient_id = \"{}\"\nclient_secret = \"{}\"\noauth_server = \"{}\"\n\
         [portals.zeta]\napp = \"second\"\nallow_http = true\nurl = \"{}\"",
        second.client_id,
        second.client_secret,
        second.oauth_url,
        second.portal_url.replace("127.0.0.1", DOMAIN),
    );
    let setup = Setup::of(&seed).portal("app = \"main\"").more(&more);
    let setup = setup.gateway("default_portal = \"acme\"");
    let seat = Seat::Active { keep_old: false };
    setup.keep(&[("acme", &seed), ("zeta", &second)], seat).await;
    let gate = setup.start();
    (portal, other, gate)
}

const DOMAIN: &str = "0x7f.0x1";

async fn curl(arguments: &[&str]) -> Output {
    let mut command = tokio::process::Command::new("curl");
    command.args(["-s", "-g", "--max-time", "10", "-w", "\n%{http_code}"]).args(arguments);
    command.env_remove("http_proxy").env_remove("no_proxy").env_remove("NO_PROXY");
    command.output().await.expect("curl, which scripts/test installs")
}

/// Status and body.
fn told(output: &Output) -> (String, String) {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').unwrap_or_default();
    (status.to_owned(), body.to_owned())
}

fn port_of(url: &str) -> &str {
    url.rsplit(':').next().unwrap()
}

#[tokio::test]
async fn curl_uses_the_gateway_as_its_proxy_and_the_address_says_which_portal() {
    let (portal, other, gate) = named().await;
    let proxy = format!("http://127.0.0.1:{}", gate.address.port());
    let own = gate.address.port();
    for (whose, name) in [
        (&portal, "acme.localhost".to_owned()),
        (&other, "zeta.localhost".to_owned()),
        (&other, format!("ZETA.localhost:{own}")),
        (&portal, "localhost".to_owned()),
    ] {
        let url = format!("http://{name}/rest/profile?filter[>ID]=0");
        let before = (calls(&portal).len(), calls(&other).len());
        let (status, body) = told(&curl(&["-x", &proxy, "-U", "user:secret", &url]).await);
        assert_eq!(status, "200", "{body}");
        let json: Value = serde_json::from_str(&body).unwrap();
        assert_eq!(json["result"]["NAME"], "Ada");
        let call = last_call(whose);
        assert_eq!(call.target, "/rest/profile?filter[%3EID]=0");
        for field in ["proxy-authorization", "proxy-connection"] {
            assert_eq!(call.header(field), None);
        }
        let after = (calls(&portal).len(), calls(&other).len());
        assert_eq!(after.0 + after.1, before.0 + before.1 + 1, "one call, at one portal: {name}");
    }
    let (status, body) = told(&curl(&["-x", &proxy, "http://evil.example/rest/profile"]).await);
    assert!(status == "403" && body.contains("GATEWAY_BROWSER_REFUSED"), "{status} {body}");
}

#[tokio::test]
async fn curl_that_wants_a_tunnel_is_told_to_write_http() {
    let (portal, gate) = stage().await;
    let proxy = format!("http://127.0.0.1:{}", gate.address.port());
    let output = curl(&["-v", "-x", &proxy, "https://acme.bitrix24.com/rest/profile"]).await;
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("405"), "{said}");
    let wire = "CONNECT acme.bitrix24.com:443 HTTP/1.1\r\nHost: acme.bitrix24.com:443\r\n\r\n";
    let answer = http::send(gate.address, wire).await;
    assert_eq!((answer.status, answer.error().as_str()), (405, "GATEWAY_VERB_REFUSED"));
    assert!(answer.text().contains("no tunnel: write http:// instead of https://"));
    assert!(calls(&portal).is_empty());
}

#[tokio::test]
async fn curl_that_resolves_a_name_to_the_gateway_gets_the_portal_of_that_name() {
    let (portal, other, gate) = named().await;
    let port = gate.address.port();
    for (whose, name) in [(&other, "zeta.localhost"), (&portal, "acme.localhost")] {
        let resolve = format!("{name}:{port}:127.0.0.1");
        let url = format!("http://{name}:{port}/rest/profile");
        let (status, body) = told(&curl(&["--resolve", &resolve, &url]).await);
        assert_eq!(status, "200", "{body}");
        assert_eq!(calls(whose).len(), 1, "{name}");
    }
    // As with an entry in the hosts file, whatever the port.
    let wire = format!("GET /rest/profile HTTP/1.1\r\nHost: {DOMAIN}:{port}\r\n\r\n");
    assert_eq!(http::send(gate.address, wire).await.status, 200);
    assert_eq!(calls(&other).len(), 2);
    // Nobody's name leads to nobody, and not to the default portal.
    let resolve = format!("nobody.localhost:{port}:127.0.0.1");
    let url = format!("http://nobody.localhost:{port}/rest/profile");
    let (status, body) = told(&curl(&["--resolve", &resolve, &url]).await);
    assert!(status == "404" && body.contains("GATEWAY_PORTAL_UNKNOWN"), "{status} {body}");
}

#[tokio::test]
async fn in_the_absolute_form_the_address_decides_and_a_host_may_be_missing() {
    let (portal, other, gate) = named().await;
    let port = port_of(&other.seed().portal_url).to_owned();
    for (scheme, version, host) in [
        ("http", "HTTP/1.0", String::new()),
        ("HTTP", "HTTP/1.1", format!("Host: 0X7F.0x1:{port}\r\n")),
        ("https", "HTTP/1.1", format!("Host: {DOMAIN}:{port}\r\n")),
        ("http", "HTTP/1.1", format!("Host: {DOMAIN}:{port}\r\nProxy-Connection: close\r\n")),
    ] {
        let before = calls(&other).len();
        let wire = format!("GET {scheme}://{DOMAIN}:{port}/rest/profile {version}\r\n{host}\r\n");
        let answer = http::send(gate.address, &wire).await;
        assert_eq!(answer.status, 200, "{wire}: {}", answer.text());
        assert_eq!(calls(&other).len(), before + 1, "{wire}");
        let expected = format!("{DOMAIN}:{port}");
        assert_eq!(last_call(&other).header("host"), Some(expected.as_str()));
    }
    assert!(calls(&portal).is_empty());
}

#[tokio::test]
async fn a_portal_whose_name_leads_back_to_the_gateway_is_told_so_and_the_call_goes_round_once() {
    let portal = Sandbox::start(Options::default()).await.unwrap();
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let own = format!("url = \"http://{free}\"\napp = \"main\"");
    let setup = Setup::new(&portal).listen(&free.to_string()).only_portal(&own);
    setup.keep(&[("acme", &portal.seed())], Seat::Active { keep_old: false }).await;
    let gate = setup.start();
    let answer = http::get(gate.address, "/rest/profile").await;
    assert_eq!(answer.status, 502, "{}", answer.text());
    let json = answer.json();
    assert_eq!(json["error"], "GATEWAY_PORTAL_UNREACHABLE", "{json}");
    assert_eq!(json["gateway"]["executed"], "no", "{json}");
    let said = json["error_description"].as_str().unwrap();
    assert!(said.contains("leads back to this gateway"), "{said}");
    let metrics = http::get(gate.admin, "/metrics").await.text();
    let requests = metrics.lines().filter(|line| line.starts_with("b24gate_requests_total{"));
    let requests: Vec<_> = requests.collect();
    assert_eq!(requests.len(), 1, "{requests:?}");
    assert!(requests[0].ends_with(" 1"), "{requests:?}");
}

#[tokio::test]
async fn a_name_of_the_hosts_file_leads_here_over_https_with_the_local_authority() {
    let portal = Sandbox::start(Options::default()).await.unwrap();
    let setup = Setup::new(&portal).gateway("hosts = [\"acme.example.com\"]");
    setup.keep(&[("acme", &portal.seed())], Seat::Active { keep_old: false }).await;
    let gate = setup.start();
    assert!(gate.setup().command(&["ca"], "").status.success());
    let ca = gate.setup().state().join("ca.pem");
    let port = gate.address.port();
    let resolve = format!("acme.example.com:{port}:127.0.0.1");
    let url = format!("https://acme.example.com:{port}/rest/profile");
    let trusting = ["--resolve", &resolve, "--cacert", ca.to_str().unwrap(), &url];
    let (status, body) = told(&curl(&trusting).await);
    assert_eq!(status, "200", "{body}");
    assert_eq!(calls(&portal).len(), 1);
    let (status, _) = told(&curl(&["--resolve", &resolve, &url]).await);
    assert_eq!(status, "000", "a tool that does not trust it does not call");
}
