//! The gateway as its users meet it: the real binary in front of the simulated portal.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails loudly"
)]

#[path = "../support/mod.rs"]
mod support;

mod answers; // what portals and networks do wrong, and what becomes of it
mod hostile; // what is refused, and that the portal never hears of it
mod smoke; // a call, an expiry, a restart
mod wire; // what real clients send, and that the portal gets it
