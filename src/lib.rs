//! b24gate: a local gateway for the Bitrix24 REST API.
//!
//! Clients send requests without credentials; the gateway adds the portal's current access token,
//! forwards, renews the token when the portal says that it has expired, and replays. The rooms and
//! the one way through them are described in ARCHITECTURE.md.

pub mod admin;
pub mod alerts;
pub mod app;
pub mod audit;
pub mod ca;
pub mod callback;
pub mod cli;
pub mod client;
pub mod config;
pub mod connect;
pub mod control;
pub mod credential;
pub mod door;
pub mod error;
pub mod failpoint;
pub mod gateway;
pub mod metrics;
pub mod portal;
pub mod sandbox;
pub mod secret;
pub mod store;
pub mod telemetry;
pub mod transport;
pub mod views;
