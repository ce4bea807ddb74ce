//! An alert by HTTP. Of the webhook nothing but its host is ever shown: its path is what a chat
//! service knows its friends by.

use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{Method, Request};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;

use crate::config::Webhook;
use crate::transport::{Connector, TransportError};

/// Posts `text`; a 2xx is success. Redirects are not followed: they would take the alert elsewhere.
pub(super) async fn post(
    connector: &Connector,
    webhook: &Webhook,
    text: String,
) -> Result<(), String> {
    let limit = TOTAL.as_secs();
    let status = timeout(TOTAL, exchange(connector, webhook, text))
        .await
        .map_err(|_elapsed| format!("no answer within {limit} s"))??;
    match status {
        200..=299 => Ok(()),
        300..=399 => Err(format!("answered {status}; redirects are not followed")),
        _ => Err(format!("answered {status}")),
    }
}

async fn exchange(connector: &Connector, webhook: &Webhook, text: String) -> Result<u16, String> {
    let request = Request::builder()
        .method(Method::POST)
        .uri(webhook.target.expose())
        .header(HOST, webhook.server.authority())
        .header(ACCEPT, "*/*")
        .header(CONTENT_TYPE, "application/json")
        .header(CONNECTION, "close")
        .header(USER_AGENT, concat!("b24gate/", env!("CARGO_PKG_VERSION")))
        .body(Full::<Bytes>::from(text))
        // The error would quote the target.
        .map_err(|_quotes_the_target| "the URL cannot be asked for".to_owned())?;
    let stream =
        connector.connect(&webhook.server, TOTAL).await.map_err(|error| describe(&error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|_no_more_detail| "the connection broke".to_owned())?;
    let answer = async {
        let answer = sender.send_request(request).await;
        // Its body is of no interest: the connection ends with the sender.
        answer.map(|answer| answer.status().as_u16())
    };
    tokio::pin!(answer);
    let answer = tokio::select! {
        answer = &mut answer => answer,
        // The answer may have been its last word; if not, this says so.
        _ended = connection => answer.await,
    };
    answer.map_err(|_no_more_detail| "the connection ended without an answer".to_owned())
}

fn describe(error: &TransportError) -> String {
    match error.tls_fault() {
        Some(fault) => format!("TLS is refused: {fault}"),
        None => error.to_string(),
    }
}

/// Name, connection and answer together.
const TOTAL: Duration = Duration::from_secs(10);
