mod ways;

use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::credential::Grant;

/// An OAuth server that answers by script; the last line of the script is repeated.
pub(crate) struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    script: Arc<Mutex<VecDeque<Line>>>,
    task: tokio::task::JoinHandle<()>,
}

/// What it does with a request.
#[derive(Clone, Debug)]
pub(crate) enum Line {
    /// Answers with a status and a body.
    Answer(u16, String),
    /// The same after a while.
    Late(Duration, u16, String),
    /// Sends these bytes and hangs up.
    Raw(String),
    /// Says nothing.
    Silent,
}

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) verb: String,
    pub(crate) target: String,
    pub(crate) body: String,
}

impl Server {
    pub(crate) async fn start(script: impl IntoIterator<Item = Line>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let script = Arc::new(Mutex::new(script.into_iter().collect::<VecDeque<_>>()));
        let (log, lines) = (Arc::clone(&seen), Arc::clone(&script));
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, Arc::clone(&log), Arc::clone(&lines)));
            }
        });
        Self { address, seen, script, task }
    }

    pub(crate) fn then(&self, line: Line) {
        let mut script = self.script.lock().unwrap();
        script.clear();
        script.push_back(line);
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        Endpoint { tls: false, host: self.address.ip().to_string(), port: self.address.port() }
    }

    pub(crate) fn app(&self) -> App {
        App {
            name: "main".to_owned(),
            client_id: "local.5f".to_owned(),
            client_secret: Secret::new("S&canary"),
            oauth_server: self.endpoint(),
            scope: None,
            redirect_uri: None,
            accept_installs: false,
        }
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(
    mut stream: TcpStream,
    seen: Arc<Mutex<Vec<Seen>>>,
    script: Arc<Mutex<VecDeque<Line>>>,
) {
    let mut bytes = Vec::new();
    let (head, length) = loop {
        if stream.read_buf(&mut bytes).await.unwrap() == 0 {
            return;
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some(end) = text.find("\r\n\r\n") {
            let length = text.to_ascii_lowercase();
            let length = length.split("content-length: ").nth(1);
            let length =
                length.map_or(0, |rest| rest.split("\r\n").next().unwrap().parse().unwrap());
            break (end + 4, length);
        }
    };
    while bytes.len() < head + length {
        stream.read_buf(&mut bytes).await.unwrap();
    }
    let text = String::from_utf8(bytes).unwrap();
    let mut words = text.split(' ').map(str::to_owned);
    let (verb, target) = (words.next().unwrap(), words.next().unwrap());
    seen.lock().unwrap().push(Seen { verb, target, body: text.split_at(head).1.to_owned() });
    let line = {
        let mut script = script.lock().unwrap();
        if script.len() > 1 { script.pop_front() } else { script.front().cloned() }
    };
    match line.expect("a script") {
        Line::Answer(status, body) => answer(&mut stream, status, &body).await,
        Line::Late(delay, status, body) => {
            tokio::time::sleep(delay).await;
            answer(&mut stream, status, &body).await;
        }
        Line::Raw(text) => stream.write_all(text.as_bytes()).await.unwrap_or_default(),
        Line::Silent => std::future::pending().await,
    }
}

async fn answer(stream: &mut TcpStream, status: u16, body: &str) {
    let length = body.len();
    let text = format!("HTTP/1.1 {status} X\r\nContent-Length: {length}\r\n\r\n{body}");
    // The other side may have gone by now.
    stream.write_all(text.as_bytes()).await.unwrap_or_default();
}

/// A token response with the pair of that number.
pub(crate) fn pair(number: u32) -> String {
    format!(
        r#"{{"access_token":"A-canary-{number}","refresh_token":"R-canary-{number}",
            "expires_in":3600,"member_id":"a223c6b3710f85df22e9377d6c4f7553","user_id":7}}"#
    )
}

pub(crate) fn client(total: Duration) -> OAuth {
    OAuth { total, ..OAuth::new(Connector::new(None).unwrap()) }
}

async fn refresh(oauth: &OAuth, app: &App, token: &str) -> Result<Grant, RefreshFailure> {
    oauth.exchange(app, &Secret::new(token)).await?.grant()
}

async fn outcome(line: Line) -> Result<Grant, RefreshFailure> {
    let server = Server::start([line]).await;
    refresh(&client(Duration::from_millis(300)), &server.app(), "R-canary-1").await
}

#[tokio::test]
async fn a_refresh_sends_its_secrets_in_the_body_and_none_in_the_target() {
    let server = Server::start([Line::Answer(200, pair(2))]).await;
    let app = App { scope: Some("crm,task".to_owned()), ..server.app() };
    let grant = refresh(&client(TOTAL), &app, "R/canary+1").await.unwrap();
    assert!(grant.access.matches("A-canary-2") && grant.refresh.matches("R-canary-2"));
    let seen = &server.seen()[0];
    assert_eq!((seen.verb.as_str(), seen.target.as_str()), ("POST", "/oauth/token/"));
    assert_eq!(
        seen.body,
        "grant_type=refresh_token&client_id=local.5f&client_secret=S%26canary\
         &refresh_token=R%2Fcanary%2B1&scope=crm%2Ctask"
    );
}

#[tokio::test]
async fn every_error_of_the_token_endpoint_is_judged_by_its_code() {
    use FailureKind::{Configuration, Dead, Paused, Transient};
    for (status, code, kind) in [
        (200, "wrong_client", Configuration),
        (400, "invalid_client", Configuration),
        (400, "invalid_grant", Dead),
        (200, "invalid_grant", Dead),
        (500, "invalid_grant", Dead),
        (401, "expired_token", Dead),
        (401, "NOT_INSTALLED", Dead),
        (401, "PAYMENT_REQUIRED", Paused),
        (400, "invalid_request", Transient),
        (400, "unauthorized_client", Transient),
        (400, "unsupported_grant_type", Transient),
        (403, "insufficient_scope", Transient),
        (403, "invalid_scope", Transient),
        (200, "verification_needed", Transient),
    ] {
        let body = format!(r#"{{"error":"{code}","error_description":"x","access_token":"A"}}"#);
        let failure = outcome(Line::Answer(status, body)).await.unwrap_err();
        assert_eq!((failure.kind, failure.code.as_str()), (kind, code), "{status}");
        assert!(!failure.sent, "a clear refusal exchanges nothing: {code}");
    }
}

#[tokio::test]
async fn an_answer_that_is_no_token_response_is_transient_and_leaves_doubt() {
    let access_only = r#"{"access_token":"A","expires_in":3600}"#.to_owned();
    let truncated = pair(2).chars().take(60).collect();
    for (line, code) in [
        (Line::Answer(200, "<html>502</html>".to_owned()), "bad_answer"),
        (Line::Answer(200, truncated), "bad_answer"),
        (Line::Answer(200, "{}".to_owned()), "bad_answer"),
        (Line::Answer(200, String::new()), "bad_answer"),
        (Line::Answer(200, r#"{"error":{"code":"x"}}"#.to_owned()), "bad_answer"),
        (Line::Answer(200, access_only), "missing_refresh_token"),
        (Line::Answer(200, " ".repeat(65 * 1024) + &pair(2)), "answer_too_long"),
        (Line::Answer(502, "<html>".to_owned()), "http_502"),
        (Line::Answer(500, pair(2)), "http_500"),
        (
            Line::Raw("HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{".to_owned()),
            "connection_lost",
        ),
        (Line::Raw(String::new()), "connection_lost"),
        (Line::Raw("SSH-2.0-OpenSSH\r\n".to_owned()), "connection_lost"),
        (Line::Silent, "timeout"),
    ] {
        let failure = outcome(line.clone()).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::Transient, "{line:?}");
        assert_eq!(failure.code, code, "{line:?}");
        assert!(failure.sent, "{line:?}");
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_leaves_no_doubt() {
    let elsewhere = Server::start([Line::Answer(200, pair(2))]).await;
    let to = elsewhere.endpoint();
    let raw = format!("HTTP/1.1 307 X\r\nLocation: {to}/oauth/token/\r\nContent-Length: 0\r\n\r\n");
    let failure = outcome(Line::Raw(raw)).await.unwrap_err();
    assert_eq!((failure.code.as_str(), failure.sent), ("http_307", false));
    assert!(elsewhere.seen().is_empty());
}

#[tokio::test]
async fn a_server_under_load_is_asked_again_when_it_says() {
    let raw = "HTTP/1.1 429 X\r\nRetry-After: 17\r\nContent-Length: 0\r\n\r\n".to_owned();
    let failure = outcome(Line::Raw(raw)).await.unwrap_err();
    assert_eq!(failure.retry_after, Some(Duration::from_secs(17)));
    assert_eq!((failure.code.as_str(), failure.sent), ("http_429", false));
}

#[tokio::test]
async fn a_server_that_cannot_be_reached_has_not_exchanged_anything() {
    let server = Server::start([Line::Silent]).await;
    let app = App { oauth_server: Endpoint { port: 1, ..server.endpoint() }, ..server.app() };
    let failure = refresh(&client(TOTAL), &app, "R").await.unwrap_err();
    assert_eq!((failure.code.as_str(), failure.sent), ("connect", false));
}

#[tokio::test]
async fn a_server_that_refuses_post_is_asked_with_get_and_that_is_remembered() {
    let invalid = r#"{"error":"invalid_request"}"#.to_owned();
    for refusal in [
        Line::Answer(405, String::new()),
        Line::Answer(400, invalid.clone()),
        Line::Answer(200, invalid.clone()),
    ] {
        let server = Server::start([refusal, Line::Answer(200, pair(2))]).await;
        let oauth = client(TOTAL);
        for _ in 0..2 {
            refresh(&oauth, &server.app(), "R-canary-1").await.unwrap();
        }
        let verbs: Vec<_> = server.seen().into_iter().map(|seen| seen.verb).collect();
        assert_eq!(verbs, ["POST", "GET", "GET"]);
        let get = &server.seen()[1];
        assert!(get.target.starts_with("/oauth/token/?grant_type=refresh_token&client_id="));
        assert!(get.body.is_empty());
    }
    // A request that is wrong in itself is refused both ways and teaches nothing.
    let server = Server::start([Line::Answer(400, invalid)]).await;
    let oauth = client(TOTAL);
    for _ in 0..2 {
        refresh(&oauth, &server.app(), "R-canary-1").await.unwrap_err();
    }
    let verbs: Vec<_> = server.seen().into_iter().map(|seen| seen.verb).collect();
    assert_eq!(verbs, ["POST", "GET", "POST", "GET"]);
}

#[tokio::test]
async fn a_code_cannot_carry_anything_into_a_log() {
    let long = "x".repeat(100);
    for (code, shown) in
        [("a b\\nc<script>", "abcscript"), ("<>", "unnamed"), (&long, long.split_at(64).0)]
    {
        let body = format!(r#"{{"error":"{code}"}}"#);
        assert_eq!(outcome(Line::Answer(400, body)).await.unwrap_err().code, shown);
    }
}

#[tokio::test]
async fn app_info_tells_whose_token_it_is() {
    let body = r#"{"result":{"client_id":"local.5f","scope":"crm","expires":"2026-11-22T10:00:00",
        "user_id":"7","install":{"installed":true,"domain":"acme.bitrix24.com","member_id":"A2",
        "client_endpoint":"https://acme.bitrix24.com/rest/"}}}"#;
    let server = Server::start([Line::Answer(200, body.to_owned())]).await;
    let oauth = client(TOTAL);
    let info = oauth.app_info(&server.app(), &Secret::new("A-canary")).await.unwrap();
    assert_eq!(info.client_id, "local.5f");
    assert_eq!(info.member_id.as_deref(), Some("a2"));
    assert_eq!(info.client_endpoint.as_deref(), Some("https://acme.bitrix24.com/rest/"));
    assert_eq!(info.domain.as_deref(), Some("acme.bitrix24.com"));
    assert_eq!(info.user_id, Some(7));
    let seen = &server.seen()[0];
    assert_eq!((seen.verb.as_str(), seen.target.as_str()), ("POST", "/rest/app.info"));
    assert_eq!(seen.body, "auth=A-canary");
    server.then(Line::Answer(401, r#"{"error":"expired_token"}"#.to_owned()));
    let failure = oauth.app_info(&server.app(), &Secret::new("A")).await.unwrap_err();
    assert_eq!(failure.code, "expired_token");
    server.then(Line::Answer(200, r#"{"result":[]}"#.to_owned()));
    oauth.app_info(&server.app(), &Secret::new("A")).await.unwrap_err();
}
