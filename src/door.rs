//! A side door: a listener for people and for Bitrix24's servers, off the request path. Connections,
//! heads, bodies and times are bounded here, so that what answers behind it need not think of them.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use zeroize::Zeroizing;

/// A request with its whole body, which may hold tokens.
pub type Asked = Request<Zeroizing<Vec<u8>>>;

/// An answer with its whole body.
pub type Answer = Response<Full<Bytes>>;

/// Serves until it is aborted. `answer` gets requests whose body has arrived and has at most
/// [`BODY_MAX`] bytes.
pub async fn serve<F, W>(listener: TcpListener, answer: F)
where
    F: Fn(Asked) -> W + Clone + Send + Sync + 'static,
    W: Future<Output = Answer> + Send + 'static,
{
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let answer = answer.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let answer = answer.clone();
                async move { Ok::<_, Infallible>(respond(request, &answer).await) }
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIME)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "a connection at a side door ended early");
            }
            drop(place);
        });
    }
}

async fn respond<F, W>(request: Request<Incoming>, answer: &F) -> Answer
where
    F: Fn(Asked) -> W,
    W: Future<Output = Answer>,
{
    let (head, body) = request.into_parts();
    let whole = timeout(BODY_TIME, Limited::new(body, BODY_MAX).collect()).await;
    match whole {
        Err(_elapsed) => text(StatusCode::REQUEST_TIMEOUT, "the body does not arrive\n"),
        Ok(Err(_too_long)) => text(StatusCode::PAYLOAD_TOO_LARGE, "at most 64 KiB\n"),
        Ok(Ok(body)) => {
            let body = Zeroizing::new(body.to_bytes().to_vec());
            answer(Request::from_parts(head, body)).await
        }
    }
}

/// A line of text, with the headers that every answer of a side door has.
pub fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    page(status, "text/plain; charset=utf-8", body)
}

/// An answer of this type: not kept by anybody, not framed, not sniffed, telling no other page where
/// it was.
pub fn page(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    for (name, value) in SAFE {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

const SAFE: [(&str, &str); 4] = [
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("content-security-policy", "default-src 'none'; frame-ancestors 'none'"),
];

/// Longest body, bytes: Bitrix24's own have about 2,000.
pub const BODY_MAX: usize = 64 * 1024;
const CONNECTIONS_MAX: usize = 256;
const HEAD_TIME: Duration = Duration::from_secs(10);
const BODY_TIME: Duration = Duration::from_secs(10);
