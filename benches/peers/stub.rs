//! A portal that costs next to nothing, for `scripts/bench-peers`.
//!
//!     stub PORT             answers everything
//!     stub PORT TOKEN       the same, but a call needs a token, and TOKEN is the first
//!
//! One thread. `/rest/b64k` is 64 KiB, `/rest/b1m` 1 MiB, `/rest/echo` the head of the request, and
//! anything else 300 bytes of JSON. With a TOKEN there are also `/oauth/token/`, which takes
//! 200 ms to hand out the next one, `/bench/expire`, which ends the current one, and
//! `/bench/counts`.

use std::env;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Everything that can be prepared before the first request comes.
struct Portal {
    small: Vec<u8>,
    body_64k: Vec<u8>,
    body_1m: Vec<u8>,
    expired: Vec<u8>,
    tokens: Option<Mutex<Tokens>>,
    port: u16,
}

/// The one token that is accepted, and what has happened to it.
struct Tokens {
    accepted: Option<String>,
    issued: u32,
    expired_answers: u32,
}

/// What a request asks for, and how many bytes it takes in the buffer.
struct Request {
    path: String,
    bearer: Option<String>,
    head_length: usize,
    body_length: usize,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let mut arguments = env::args().skip(1);
    let port = arguments
        .next()
        .and_then(|port| port.parse().ok())
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "usage: stub PORT [TOKEN]"))?;
    let portal = Arc::new(Portal::new(port, arguments.next()));
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    loop {
        let (client, _) = listener.accept().await?;
        let portal = Arc::clone(&portal);
        // A client that goes away is the ordinary end of a connection.
        tokio::spawn(async move { portal.serve(client).await.ok() });
    }
}

impl Portal {
    fn new(port: u16, token: Option<String>) -> Self {
        Self {
            small: answer("200 OK", &filled(SMALL)),
            body_64k: answer("200 OK", &filled(64 * 1024)),
            body_1m: answer("200 OK", &filled(1024 * 1024)),
            expired: answer("401 Unauthorized", EXPIRED),
            tokens: token.map(|token| {
                Mutex::new(Tokens { accepted: Some(token), issued: 0, expired_answers: 0 })
            }),
            port,
        }
    }

    async fn serve(&self, mut client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        let mut buffer = Vec::with_capacity(HEAD_MAX);
        loop {
            let Some(request) = parse(&buffer)? else {
                if buffer.len() >= HEAD_MAX || client.read_buf(&mut buffer).await? == 0 {
                    return Ok(());
                }
                continue;
            };
            let mut missing =
                (request.head_length + request.body_length).saturating_sub(buffer.len());
            let head = buffer.get(..request.head_length).unwrap_or_default().to_vec();
            buffer.drain(..(request.head_length + request.body_length).min(buffer.len()));
            while missing > 0 {
                let mut rest = (&mut client).take(missing as u64);
                let read = rest.read_buf(&mut buffer).await?;
                if read == 0 {
                    return Ok(());
                }
                missing -= read;
                buffer.clear();
            }
            self.reply(&mut client, &request, &head).await?;
        }
    }

    async fn reply(
        &self,
        client: &mut TcpStream,
        request: &Request,
        head: &[u8],
    ) -> io::Result<()> {
        let path = request.path.split('?').next().unwrap_or_default();
        if let Some(tokens) = &self.tokens
            && let Some(reply) = self.reply_about_tokens(tokens, path, request).await
        {
            return client.write_all(&reply).await;
        }
        match path {
            "/rest/b64k" => client.write_all(&self.body_64k).await,
            "/rest/b1m" => client.write_all(&self.body_1m).await,
            "/rest/echo" => client.write_all(&answer("200 OK", head)).await,
            _ => client.write_all(&self.small).await,
        }
    }

    /// The part of the portal that knows tokens; `None` for a call with the right one.
    async fn reply_about_tokens(
        &self,
        tokens: &Mutex<Tokens>,
        path: &str,
        request: &Request,
    ) -> Option<Vec<u8>> {
        let lock = || tokens.lock().unwrap_or_else(PoisonError::into_inner);
        match path {
            "/oauth/token/" => {
                tokio::time::sleep(TOKEN_DELAY).await;
                let mut tokens = lock();
                tokens.issued += 1;
                let access = format!("{:070x}", tokens.issued);
                tokens.accepted = Some(access.clone());
                Some(answer("200 OK", token_response(self.port, &access).as_bytes()))
            }
            "/bench/expire" => {
                lock().accepted = None;
                Some(answer("200 OK", b"{}"))
            }
            "/bench/counts" => {
                let tokens = lock();
                let counts = format!(
                    r#"{{"refreshes":{},"expired_answers":{}}}"#,
                    tokens.issued, tokens.expired_answers
                );
                Some(answer("200 OK", counts.as_bytes()))
            }
            _ => {
                let mut tokens = lock();
                if request.bearer.is_some() && request.bearer == tokens.accepted {
                    return None;
                }
                tokens.expired_answers += 1;
                Some(self.expired.clone())
            }
        }
    }
}

/// The request at the start of `buffer`; `None` until all of its head is there.
fn parse(buffer: &[u8]) -> io::Result<Option<Request>> {
    let refuse = |why: &str| io::Error::new(io::ErrorKind::InvalidData, why.to_owned());
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut head = httparse::Request::new(&mut fields);
    let status = head.parse(buffer).map_err(|error| refuse(&error.to_string()))?;
    let httparse::Status::Complete(head_length) = status else {
        return Ok(None);
    };
    let mut request = Request {
        path: head.path.unwrap_or_default().to_owned(),
        bearer: None,
        head_length,
        body_length: 0,
    };
    for field in head.headers {
        let value = str::from_utf8(field.value).unwrap_or_default();
        if field.name.eq_ignore_ascii_case("content-length") {
            request.body_length = value.parse().map_err(io::Error::other)?;
        } else if field.name.eq_ignore_ascii_case("authorization") {
            request.bearer = value.strip_prefix("Bearer ").map(str::to_owned);
        } else if field.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(refuse("the stub reads no chunked bodies"));
        }
    }
    Ok(Some(request))
}

fn answer(status: &str, body: &[u8]) -> Vec<u8> {
    let mut answer = format!(
        "HTTP/1.1 {status}\r\n\
         Server: nginx\r\n\
         Date: Sun, 22 Nov 2026 15:00:00 GMT\r\n\
         Content-Type: application/json; charset=utf-8\r\n\
         Content-Length: {}\r\n\
         Connection: keep-alive\r\n\
         X-Powered-By: PHP/8.1\r\n\
         Cache-Control: no-cache\r\n\
         X-Request-Id: 0123456789abcdef0123456789abcdef\r\n\r\n",
        body.len()
    )
    .into_bytes();
    answer.extend_from_slice(body);
    answer
}

/// A portal's answer to `crm.item.get`, of exactly `length` bytes.
fn filled(length: usize) -> Vec<u8> {
    let start = r#"{"result":{"ID":"1234567","TITLE":""#;
    let end = r#""},"time":{"start":1795359600.123,"finish":1795359600.456,"duration":0.333}}"#;
    let title = "x".repeat(length.saturating_sub(start.len() + end.len()));
    format!("{start}{title}{end}").into_bytes()
}

fn token_response(port: u16, access: &str) -> String {
    format!(
        r#"{{"access_token":"{access}","refresh_token":"{access}","expires_in":3600,"scope":"app","domain":"127.0.0.1:{port}","server_endpoint":"http://127.0.0.1:{port}/rest/","client_endpoint":"http://127.0.0.1:{port}/rest/","status":"L","member_id":"0123456789abcdef0123456789abcdef","user_id":1}}"#
    )
}

const SMALL: usize = 300;
const HEAD_MAX: usize = 16 * 1024;
const TOKEN_DELAY: Duration = Duration::from_millis(200);
const EXPIRED: &[u8] =
    br#"{"error":"expired_token","error_description":"The access token provided has expired."}"#;
