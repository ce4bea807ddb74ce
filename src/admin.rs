//! The operator's listener: is it alive, is it ready, what are the portals doing. No
//! token is shown.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, ORIGIN};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::credential::{Custody, State, Status};
use crate::metrics::{self, TokenFigures};
use crate::portal::{Portal, Portals};

/// The operator's pages.
#[derive(Clone, Debug)]
pub struct Admin {
    readiness: Arc<Readiness>,
    portals: Arc<Portals>,
    custody: Arc<Custody>,
}

/// Whether calls can be served.
#[derive(Debug)]
pub struct Readiness {
    stopping: AtomicBool,
    portals: Arc<Portals>,
    custody: Arc<Custody>,
}

type Answer = Response<Full<Bytes>>;

impl Readiness {
    /// Ready as soon as the portals are, and while `custody` can write.
    pub fn new(portals: Arc<Portals>, custody: Arc<Custody>) -> Self {
        Self { stopping: AtomicBool::new(false), portals, custody }
    }

    /// From now on: not ready, so that nobody sends new work.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    /// What stands in the way, one line each.
    pub fn reasons(&self) -> Vec<String> {
        let mut reasons = Vec::new();
        if self.stopping.load(Ordering::Relaxed) {
            reasons.push("stopping".to_owned());
        }
        if self.custody.is_store_failing() {
            reasons.push("the store cannot be written".to_owned());
        }
        for portal in self.portals.all() {
            let status = portal.status();
            if status.unsaved {
                reasons.push(format!("{}: a renewed token is not stored yet", portal.name));
            }
            if matches!(status.state, State::Dead { .. } | State::Paused { .. }) {
                reasons.push(format!("{}: {}", portal.name, describe(&status)));
            }
        }
        reasons
    }
}

impl Admin {
    /// Pages about `portals`.
    pub fn new(readiness: Arc<Readiness>, portals: Arc<Portals>, custody: Arc<Custody>) -> Self {
        Self { readiness, portals, custody }
    }

    /// Serves until it is aborted.
    pub async fn serve(self, listener: TcpListener) {
        serve(listener, move |request| self.answer(request)).await;
    }

    fn answer(&self, request: &Request<Incoming>) -> Answer {
        if let Some(refused) = wall(request) {
            return refused;
        }
        match request.uri().path() {
            "/" => text(StatusCode::OK, self.overview()),
            "/livez" => text(StatusCode::OK, "ok\n"),
            "/readyz" => match self.readiness.reasons() {
                reasons if reasons.is_empty() => text(StatusCode::OK, "ready\n"),
                reasons => text(StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n"),
            },
            "/metrics" => {
                let figures: Vec<_> = self.portals.all().iter().map(|it| figures(it)).collect();
                let failing = self.custody.is_store_failing();
                let mut page = text(StatusCode::OK, self.custody.metrics().page(&figures, failing));
                let kind = HeaderValue::from_static(metrics::CONTENT_TYPE);
                page.headers_mut().insert(CONTENT_TYPE, kind);
                page
            }
            _ => text(StatusCode::NOT_FOUND, "not found: /, /livez, /readyz, /metrics\n"),
        }
    }

    fn overview(&self) -> String {
        let mut page = format!("b24gate {}\n\n", env!("CARGO_PKG_VERSION"));
        let portals = self.portals.all();
        if portals.is_empty() {
            page.push_str(NO_PORTALS);
        }
        for portal in portals {
            describe_portal(&mut page, &portal);
        }
        page
    }
}

fn figures(portal: &Portal) -> TokenFigures {
    let status = portal.status();
    TokenFigures {
        portal: portal.name.clone(),
        state: status.state.word(),
        generation: status.generation.map(|generation| generation.0),
        expires_at: status.expires_at,
        spares: status.spares,
        unsaved: status.unsaved,
    }
}

fn describe_portal(page: &mut String, portal: &Portal) {
    let status = portal.status();
    let number =
        |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    let written = writeln!(
        page,
        "{}  {}\n  state       {}\n  generation  {}\n  expires     {}\n  user        {}\n  spares      {}\n  requests    {}\n",
        portal.name,
        portal.site().endpoint,
        describe(&status),
        number(status.generation.map(|generation| generation.0)),
        number(status.expires_at),
        number(status.user_id),
        status.spares,
        portal.requests(),
    );
    debug_assert!(written.is_ok(), "writing to a String does not fail");
}

fn describe(status: &Status) -> String {
    match status.state.code() {
        Some(code) => format!("{} ({code})", status.word()),
        None => status.word().to_owned(),
    }
}

/// The admin page changes nothing, but a web page has no business reading it either.
fn wall(request: &Request<Incoming>) -> Option<Answer> {
    let headers = request.headers();
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return Some(text(StatusCode::METHOD_NOT_ALLOWED, "GET only\n"));
    }
    if headers.contains_key(ORIGIN) || foreign_page(headers) || !is_loopback_name(headers) {
        return Some(text(StatusCode::FORBIDDEN, "open this page as http://localhost:PORT/\n"));
    }
    None
}

fn foreign_page(headers: &HeaderMap) -> bool {
    headers.get("sec-fetch-site").is_some_and(|site| site != "none" && site != "same-origin")
}

fn is_loopback_name(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let host = host.to_str().unwrap_or_default();
    let name = match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next(),
        None => host.split(':').next(),
    };
    let name = name.unwrap_or_default();
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.insert("x-frame-options", HeaderValue::from_static("DENY"));
    let policy = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
    headers.insert("content-security-policy", policy);
    answer
}

async fn serve(
    listener: TcpListener,
    answer: impl Fn(&Request<Incoming>) -> Answer + Clone + Send + 'static,
) {
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
                let answer = answer(&request);
                async move { Ok::<_, Infallible>(answer) }
            });
            let served = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_MAX)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            if let Err(error) = served {
                tracing::debug!(%error, "a connection of an operator ended early");
            }
            drop(place);
        });
    }
}

const NO_PORTALS: &str = "No portal is configured.\n\
    1. Write [apps.main] and [portals.NAME] into b24gate.toml (see config.example.toml).\n\
    2. b24gate portal import NAME < token.json\n";
const CONNECTIONS_MAX: usize = 256;
const HEAD_MAX: Duration = Duration::from_secs(10);
