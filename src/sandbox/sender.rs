//! What the portal and Bitrix24's servers send by themselves: posts to the app's addresses.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value as Json, json};
use tokio::net::TcpStream;

/// Posts a form and tells what came back: `{"status", "headers", "body", "sent"}`; names of headers
/// are in lower case.
pub(super) async fn post(
    url: &str,
    headers: &[(String, String)],
    body: String,
) -> Result<Json, String> {
    let exchange = exchange(url, headers, body.clone());
    let answer = tokio::time::timeout(PATIENCE, exchange).await;
    let mut answer = answer.map_err(|_elapsed| format!("{url} does not answer"))??;
    if let Some(answer) = answer.as_object_mut() {
        answer.insert("sent".to_owned(), json!({"url": url, "body": body}));
    }
    Ok(answer)
}

async fn exchange(url: &str, headers: &[(String, String)], body: String) -> Result<Json, String> {
    let said = |error: &dyn std::fmt::Display| format!("{url}: {error}");
    let uri: Uri = url.parse().map_err(|error: http::uri::InvalidUri| said(&error))?;
    let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http"));
    let authority = authority.ok_or_else(|| said(&"only http:// addresses can be posted to"))?;
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let place =
        (uri.host().unwrap_or_default().trim_matches(['[', ']']), uri.port_u16().unwrap_or(80));
    let stream = TcpStream::connect(place).await.map_err(|error| said(&error))?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| said(&e))?;
    let mut request = Request::post(target).header("Host", authority.as_str());
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let request = request.body(Full::new(Bytes::from(body))).map_err(|error| said(&error))?;
    let answer = async {
        let answer = sender.send_request(request).await.map_err(|error| said(&error))?;
        let (head, body) = answer.into_parts();
        let body = Limited::new(body, BODY_MAX).collect().await.map_err(|error| said(&error))?;
        let mut fields = Map::new();
        for (name, value) in &head.headers {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            fields.insert(name.as_str().to_owned(), json!(value));
        }
        let body = String::from_utf8_lossy(&body.to_bytes()).into_owned();
        Ok(json!({"status": head.status.as_u16(), "headers": fields, "body": body}))
    };
    // The connection is driven by the same task, so that nothing outlives an aborted sandbox.
    tokio::pin!(answer);
    let mut connection = Box::pin(connection);
    tokio::select! {
        answer = &mut answer => answer,
        ended = &mut connection => match ended {
            Ok(()) => answer.await,
            Err(error) => Err(said(&error)),
        },
    }
}

/// How long an app may take to answer.
const PATIENCE: Duration = Duration::from_secs(30);
const BODY_MAX: usize = 1024 * 1024;
