//! b24gate: a local gateway for the Bitrix24 REST API.
//!
//! Clients send requests without credentials; the gateway adds the portal's current access token,
//! forwards, renews the token when the portal says that it has expired, and replays. The rooms and
//! the one way through them are described in ARCHITECTURE.md.

pub mod config;
pub mod credential;
pub mod sandbox;
pub mod store;
