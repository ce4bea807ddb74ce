//! Whether portals and OAuth servers can be reached: their names resolve and somebody accepts a
//! connection. Nothing is sent.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::config::{Config, Endpoint};

use super::super::Exit;
use super::Finding;

/// Tries every portal and every OAuth server, all at the same time.
pub(super) async fn check(config: &Config) -> Vec<Finding> {
    let portals = config
        .portals
        .values()
        .map(|portal| (format!("portals.{}: url {}", portal.name, portal.url), portal.url.clone()));
    let servers = config.apps.values().map(|app| {
        let server = &app.oauth_server;
        (format!("apps.{}: oauth_server {server}", app.name), server.clone())
    });
    let mut attempts = JoinSet::new();
    for (index, (name, endpoint)) in portals.chain(servers).enumerate() {
        attempts.spawn(async move { (index, attempt(&name, &endpoint).await) });
    }
    // Told in the order of the configuration, not of the answers.
    let mut findings = BTreeMap::new();
    while let Some(attempt) = attempts.join_next().await {
        findings.extend(attempt);
    }
    findings.into_values().collect()
}

async fn attempt(name: &str, endpoint: &Endpoint) -> Finding {
    let failure = match timeout(REACHED_WITHIN, connect(endpoint)).await {
        Ok(Ok(())) => return Finding::Right(format!("{name} accepts connections")),
        Ok(Err(failure)) => failure,
        Err(_) => "does not answer within 3 s (timeout): is there a firewall or a proxy between?"
            .to_owned(),
    };
    Finding::Wrong(Exit::Failed, format!("{name} {failure}"))
}

async fn connect(endpoint: &Endpoint) -> Result<(), String> {
    let mut attempts = JoinSet::new();
    for address in resolve(endpoint).await? {
        attempts.spawn(TcpStream::connect(address));
    }
    let mut failure = None;
    while let Some(attempt) = attempts.join_next().await {
        match attempt {
            Ok(Ok(_stream)) => return Ok(()),
            Ok(Err(error)) => failure = Some(error),
            Err(_aborted) => {}
        }
    }
    let host = &endpoint.host;
    Err(match failure {
        None => format!("has no address: the name {host} resolves to nothing (DNS)"),
        Some(error) if error.kind() == ErrorKind::ConnectionRefused => format!(
            "refuses connections: is anything running at port {}, and is the port right?",
            endpoint.port
        ),
        Some(error) => format!("cannot be reached: {error}"),
    })
}

async fn resolve(endpoint: &Endpoint) -> Result<Vec<SocketAddr>, String> {
    let Endpoint { host, port, tls: _ } = endpoint;
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::from((address, *port))]);
    }
    // Not every resolver knows that these are this machine.
    if host.ends_with(".localhost") {
        return Ok(vec![SocketAddr::from((Ipv4Addr::LOCALHOST, *port))]);
    }
    let addresses = tokio::net::lookup_host((host.as_str(), *port)).await;
    addresses.map(Iterator::collect).map_err(|error| {
        format!(
            "does not resolve (DNS): {error}; is {host} spelt right, and is this machine online?"
        )
    })
}

const REACHED_WITHIN: Duration = Duration::from_secs(3);
