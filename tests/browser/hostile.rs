//! S-01 to S-05 in a real browser: whatever a page tries, on whatever name, the portal hears nothing
//! and the page reads nothing; and what the operator allows works.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use b24gate::sandbox::{Options, Sandbox};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::listener::Listener;
use crate::support::browser::{Browser, Manner};
use crate::support::script::{Line, Script};
use crate::support::wire::calls;
use crate::support::{Gate, Setup};

/// Every way in which a page can have its browser ask for something. `tried` fills up with what was
/// tried, `read` with what the page got to know.
const PAGE: &str = include_str!("hostile.html");

async fn portal_and_gate(change: impl FnOnce(Setup) -> Setup) -> (Sandbox, Gate) {
    let portal = Sandbox::start(Options::default()).await.unwrap();
    let seed = portal.seed();
    let gate = Gate::connected(&change(Setup::of(&seed)), &seed);
    (portal, gate)
}

/// Opens the page, has it attack these addresses, and gives what it got to know.
fn attack(browser: &Browser, page: &str, bases: &[String]) -> (usize, Json) {
    browser.goto(page);
    browser.script("attack(arguments[0])", &[json!(bases)]);
    let done = || browser.script("return window.done === true", &[]).as_bool().filter(|it| *it);
    browser.wait_until("every attack has come to its end", done);
    let tried = browser.script("return tried.length", &[]).as_u64().unwrap();
    (usize::try_from(tried).unwrap(), browser.script("return read", &[]))
}

/// How many requests the gateway has turned away as a browser's.
fn refusals(gate: &Gate) -> usize {
    gate.log().matches("GATEWAY_BROWSER_REFUSED").count()
}

/// A second address of the gateway, as its log says.
fn second_door(gate: &Gate) -> SocketAddr {
    let log = gate.log();
    let line = log.lines().filter(|line| line.contains("gateway listening")).nth(1).unwrap();
    line.split("http://").nth(1).unwrap().trim().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn s_01_s_05_a_hostile_page_reaches_no_portal_and_reads_nothing_in_any_way() {
    let (portal, gate) = portal_and_gate(|setup| setup.listen("[::1]:0")).await;
    let hostile = Listener::start(PAGE).await;
    let (port, sixth) = (gate.address.port(), second_door(&gate).port());
    let browser = Manner::default()
        .map("evil.test", hostile.address)
        .map("localhost.evil.test", gate.address)
        .map("rebound.test", gate.address)
        .reach("acme.localhost")
        .reach("0.0.0.0")
        .reach("::1")
        .start();
    let bases = [
        format!("http://localhost:{port}"),
        format!("http://127.0.0.1:{port}"),
        format!("http://acme.localhost:{port}"),
        format!("http://[::1]:{sixth}"),
        format!("http://0.0.0.0:{port}"),
        format!("http://localhost.evil.test:{port}"),
        format!("http://rebound.test:{port}"),
    ];
    let own = hostile.address.port();
    for (round, page) in
        [format!("http://localhost:{own}/"), format!("http://evil.test:{own}/")].iter().enumerate()
    {
        let before = refusals(&gate);
        let (tried, read) = attack(&browser, page, &bases);
        assert_eq!(read, json!([]), "from {page}");
        assert!(tried >= 20 * bases.len(), "{tried} attacks from {page}");
        let refused = refusals(&gate) - before;
        // Some never leave the browser; most do, or the test would prove nothing.
        assert!(refused >= 10 * bases.len(), "round {round}: {refused} of {tried} arrived");
        let calls: Vec<_> = calls(&portal).into_iter().map(|call| call.target).collect();
        assert_eq!(calls, [""; 0], "from {page}");
    }
    for base in &bases {
        browser.goto(&format!("{base}/rest/profile?typed"));
        let shown = browser.text_of("body");
        assert!(!shown.contains("Ada"), "{base}: {shown}");
    }
    assert!(calls(&portal).is_empty());
}

/// The attacker's server of a rebound name: it serves its page, and whatever is asked after that
/// goes to the gateway, as if the name had changed its address in between.
async fn rebinding(gate: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.2", gate.port())).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut seen = vec![0; 16 * 1024];
                let Ok(count) = near.read(&mut seen).await else { return };
                if seen.starts_with(b"GET /page ") {
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n\
                         Connection: close\r\nContent-Length: {}\r\n\r\n{PAGE}",
                        PAGE.len()
                    );
                    drop(near.write_all(answer.as_bytes()).await);
                    return;
                }
                let Ok(mut far) = TcpStream::connect(gate).await else { return };
                if far.write_all(&seen[..count]).await.is_ok() {
                    drop(tokio::io::copy_bidirectional(&mut near, &mut far).await);
                }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn s_03_a_page_of_a_rebound_name_is_of_one_origin_with_the_gateway_and_gets_nothing() {
    let (portal, gate) = portal_and_gate(|setup| setup).await;
    let rebound = rebinding(gate.address).await;
    let browser =
        Manner::default().map("evil.test", rebound).map("localhost.evil.test", rebound).start();
    for name in ["evil.test", "localhost.evil.test"] {
        let base = format!("http://{name}:{}", gate.address.port());
        let before = refusals(&gate);
        let (tried, read) = attack(&browser, &format!("{base}/page"), std::slice::from_ref(&base));
        // It may read that it was refused, and nothing else.
        let read = read.as_array().unwrap();
        let told = |it: &Json| it.as_str().unwrap().contains("{\"error\":\"GATEWAY_");
        assert!(!read.is_empty() && read.iter().all(told), "{read:?}");
        assert!(refusals(&gate) - before >= 10, "of {tried}");
        assert!(calls(&portal).is_empty());
    }
}

/// A portal that answers everything with a page that would call in the user's name.
async fn owning(mut line: Line, asked: Arc<Mutex<Vec<String>>>) {
    let page = "<title>plain</title><p id=shown>portal</p>\
                <script>document.title = 'owned'; fetch('/rest/owned')</script>\
                <img src=x onerror=\"fetch('/rest/owned')\"><iframe src='/rest/owned'></iframe>\
                <form action='/rest/owned'><input autofocus onfocus='this.form.submit()'></form>";
    while let Some(head) = line.head().await {
        asked.lock().unwrap().push(head.lines().next().unwrap().to_owned());
        line.write(format!(
            "HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nRefresh: 0; url=/rest/owned\r\n\
             Link: </rest/owned>; rel=preload; as=fetch\r\nContent-Length: {}\r\n\r\n{page}",
            page.len()
        ))
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s_05_a_page_of_the_portal_does_not_run_where_the_gateway_lives() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = asked.clone();
    // Not a name that a browser trusts, so that it sends nothing by which a page could be told.
    let allow = |setup: Setup| setup.gateway("hosts = [\"tools.test\"]");
    let script = Script::play_with(allow, move |line| owning(line, heard.clone())).await;
    let browser = Manner::default().map("tools.test", script.gate.address).start();
    browser.goto(&format!("http://tools.test:{}/rest/page", script.gate.address.port()));
    assert_eq!(browser.read("#shown"), "portal", "it is shown, to whoever typed its address");
    assert_eq!(browser.title(), "plain");
    // Whatever it has started would be there before an answer to a later request.
    browser.goto(&format!("http://tools.test:{}/rest/later", script.gate.address.port()));
    assert_eq!(browser.title(), "plain");
    let asked = asked.lock().unwrap().clone();
    assert_eq!(asked, ["GET /rest/page HTTP/1.1", "GET /rest/later HTTP/1.1"]);
    let trusted = format!("http://localhost:{}/rest/page", script.gate.address.port());
    browser.goto(&trusted);
    assert!(browser.text_of("body").contains("GATEWAY_BROWSER_REFUSED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_an_allowed_origin_calls_with_a_preflight_and_reads_the_answer() {
    let app = Listener::start("<title>app</title>").await;
    let origin = format!("http://localhost:{}", app.address.port());
    let allow = format!("origins = [\"{origin}\"]");
    let (portal, gate) = portal_and_gate(|setup| setup.gateway(&allow)).await;
    let browser = Browser::start();
    let call = "const [url, port] = arguments; window.outcome = null;
        fetch(`${url}:${port}/rest/sandbox.echo`, {
            method: 'POST', body: JSON.stringify({a: 'b'}),
            headers: {'Content-Type': 'application/json', 'X-B24-Portal': 'acme',
                      'X-Request-Id': 'page-1'},
        }).then(async answer => {
            window.outcome = [answer.status, (await answer.json()).result.params,
                answer.headers.get('X-B24-Replayed'), answer.headers.get('Server-Timing') !== null];
        }, error => { window.outcome = [String(error)] })";
    let outcome = |page: &str| -> Json {
        browser.goto(page);
        portal.control().expire();
        let port = gate.address.port();
        browser.script(call, &[json!("http://localhost"), json!(port)]);
        let come = || Some(browser.script("return window.outcome", &[])).filter(|it| !it.is_null());
        browser.wait_until("the call has come to its end", come)
    };
    assert_eq!(outcome(&origin), json!([200, {"a": "b"}, "expired_token", true]));
    let verbs: Vec<_> = calls(&portal).into_iter().map(|call| call.method).collect();
    assert_eq!(verbs, ["POST", "POST"], "the preflight is not the portal's business");
    // The same page under another name is another origin.
    let other = outcome(&format!("http://127.0.0.1:{}", app.address.port()));
    assert!(other[0].as_str().unwrap().contains("Failed to fetch"), "{other}");
    assert_eq!(calls(&portal).len(), 2);
}
