//! One request to an OAuth server and its whole answer, within one time limit.

use std::time::Duration;

use bytes::Bytes;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, CONNECTION, CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT,
};
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::time::{Instant, timeout_at};
use zeroize::Zeroizing;

use crate::config::Endpoint;
use crate::credential::oauth::answer::{Answer, RefreshFailure};
use crate::transport::{Connector, TransportError};

/// Longest time to a connection, TLS included.
const CONNECT: Duration = Duration::from_secs(5);

/// Longest answer read, bytes. A token response has about 600.
const ANSWER_MAX: usize = 64 * 1024;

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
) -> Result<Answer, RefreshFailure> {
    let deadline = Instant::now() + total;
    let stream = connector.connect(server, CONNECT.min(total)).await.map_err(|error| {
        tracing::debug!(%server, %error, "no connection to the OAuth server");
        RefreshFailure::unsent(match error {
            TransportError::Name(_) => "name",
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
        let retry_after = response.headers().get(RETRY_AFTER);
        let retry_after = retry_after
            .and_then(|value| value.to_str().ok()?.trim().parse().ok())
            .map(Duration::from_secs);
        Some(match read(response.into_body()).await? {
            Body::Whole(body) => Ok(Answer { status, retry_after, body }),
            Body::TooLong => Err(RefreshFailure::ambiguous("answer_too_long")),
        })
    };
    match timeout_at(deadline, answer).await {
        Ok(Some(answer)) => answer,
        Ok(None) => Err(RefreshFailure::ambiguous("connection_lost")),
        Err(_elapsed) => Err(RefreshFailure::ambiguous("timeout")),
    }
}

enum Body {
    Whole(Zeroizing<Vec<u8>>),
    TooLong,
}

/// `None` when the connection broke before the end.
async fn read(mut body: Incoming) -> Option<Body> {
    let mut whole = Zeroizing::new(Vec::with_capacity(4096));
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.ok()?.into_data() else {
            continue;
        };
        if whole.len() + data.len() > ANSWER_MAX {
            return Some(Body::TooLong);
        }
        whole.extend_from_slice(&data);
    }
    Some(Body::Whole(whole))
}

/// Ends the connection's task with the exchange.
struct Driver(tokio::task::JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}
