//! One request to an OAuth server and its whole answer, within one time limit.

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONNECTION, CONTENT_TYPE, HOST, HeaderMap, HeaderName, LOCATION,
    RETRY_AFTER, USER_AGENT,
};
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

use crate::config::Endpoint;
use crate::credential::oauth::answer::RefreshFailure;
use crate::credential::oauth::redirect::{self, Told};
use crate::credential::{RawAnswer, unix_now};
use crate::transport::{Connector, TransportError};

/// Longest time to a connection, TLS included.
const CONNECT: Duration = Duration::from_secs(5);

/// Longest answer read, bytes. A token response has about 600.
const ANSWER_MAX: usize = 64 * 1024;

/// The time limit of the body is inside the one for the whole.
const GRACE: Duration = Duration::from_millis(100);

/// How the form travels.
#[derive(Clone, Copy, Debug)]
pub(super) enum Verb {
    /// In the body.
    Post,
    /// In the query, for servers that read nothing else.
    Get,
}

impl Verb {
    pub(super) fn request(
        self,
        server: &Endpoint,
        path: &str,
        form: &str,
    ) -> Result<Request<Full<Bytes>>, RefreshFailure> {
        let request = Request::builder()
            .header(HOST, server.authority())
            .header(ACCEPT, "application/json")
            .header(ACCEPT_ENCODING, "identity")
            .header(CONNECTION, "close")
            .header(USER_AGENT, concat!("b24gate/", env!("CARGO_PKG_VERSION")));
        let request = match self {
            Self::Post => {
                // The buffer is wiped when hyper has written it.
                let form = Zeroizing::new(form.as_bytes().to_vec());
                request
                    .method(Method::POST)
                    .uri(path)
                    .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .body(Full::new(Bytes::from_owner(form)))
            }
            Self::Get => request.uri(format!("{path}?{form}")).body(Full::default()),
        };
        // The error would quote the target.
        request.map_err(|_quotes_secrets| RefreshFailure::unsent("bad_request"))
    }
}

/// Sends `request` on a connection of its own and reads the answer to its end.
pub(super) async fn send(
    connector: &Connector,
    server: &Endpoint,
    total: Duration,
    request: Request<Full<Bytes>>,
) -> Result<RawAnswer, RefreshFailure> {
    let deadline = Instant::now() + total;
    let stream = connector.connect(server, CONNECT.min(total)).await.map_err(|error| {
        tracing::debug!(%server, %error, "no connection to the OAuth server");
        RefreshFailure::unsent(match error {
            TransportError::Name(_) => "name",
            TransportError::Private => "private_address",
            TransportError::Itself => "itself",
            TransportError::Connect(_) => "connect",
            TransportError::Timeout => "connect_timeout",
            TransportError::Tls(_) if error.date_fault().is_some() => "tls_date",
            TransportError::Tls(_) | TransportError::Roots { .. } => "tls",
        })
    })?;
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(ANSWER_MAX)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|_no_more_detail| RefreshFailure::unsent("connect"))?;
    let _driver = Driver(tokio::spawn(async move {
        // What goes wrong is told to the sender too.
        drop(connection.await);
    }));
    // From here on the server may have acted, whatever is heard of it.
    let answer = async {
        let response = sender.send_request(request).await.ok()?;
        let status = response.status().as_u16();
        let retry_after = header(response.headers(), &RETRY_AFTER);
        let retry_after =
            retry_after.and_then(|value| value.trim().parse().ok()).map(Duration::from_secs);
        let told = header(response.headers(), &LOCATION).and_then(|it| redirect::read(status, it));
        if let Some(told) = told {
            // Status 200 is what a pair has, in the journal too; the page behind it says nothing.
            let (status, body) = match told {
                Told::Pair(body) => (200, body),
                Told::Error(body) => (status, body),
            };
            return Some(Ok(RawAnswer {
                status,
                retry_after,
                at: unix_now(),
                complete: true,
                body,
            }));
        }
        // Kept outside of what the time limit cuts off: half an answer may hold a whole pair.
        let mut body = Zeroizing::new(Vec::with_capacity(ANSWER_MAX));
        let end = timeout_at(deadline, read(response.into_body(), &mut body)).await;
        if matches!(end, Ok(End::TooLong)) {
            return Some(Err(RefreshFailure::ambiguous("answer_too_long")));
        }
        let complete = matches!(end, Ok(End::Whole));
        if body.is_empty() && !complete {
            let code = if end.is_err() { "timeout" } else { "connection_lost" };
            return Some(Err(RefreshFailure::ambiguous(code)));
        }
        Some(Ok(RawAnswer { status, retry_after, at: unix_now(), complete, body }))
    };
    match timeout_at(deadline + GRACE, answer).await {
        Ok(Some(answer)) => answer,
        Ok(None) => Err(RefreshFailure::ambiguous("connection_lost")),
        Err(_elapsed) => Err(RefreshFailure::ambiguous("timeout")),
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// How a body ended.
enum End {
    Whole,
    Cut,
    TooLong,
}

/// Reads into `whole`, which keeps what came when this is cut short.
async fn read(mut body: Incoming, whole: &mut Vec<u8>) -> End {
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return End::Cut;
        };
        let Ok(data) = frame.into_data() else {
            continue;
        };
        if whole.len() + data.len() > ANSWER_MAX {
            return End::TooLong;
        }
        whole.extend_from_slice(&data);
    }
    End::Whole
}

/// Ends the connection's task with the exchange.
struct Driver(tokio::task::JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}
