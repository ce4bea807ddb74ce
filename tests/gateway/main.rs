//! The gateway as its users meet it: the real binary in front of the simulated portal.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    reason = "a test fails loudly"
)]

#[path = "../support/mod.rs"]
mod support;

mod answers; // what portals and networks do wrong, and what becomes of it
mod clients; // PHP, Python and curl, as they are
mod endings; // answers without a length
mod hostile; // what is refused, and that the portal never hears of it
mod memory; // bodies larger than memory
mod smoke; // a call, an expiry, a restart
mod tls; // whom the gateway talks to
mod unix; // the listener that file modes protect
mod wire; // what real clients send, and that the portal gets it
