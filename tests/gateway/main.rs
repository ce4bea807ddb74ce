//! The gateway as its users meet it: the real binary in front of the simulated portal.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stderr,
    clippy::needless_pass_by_value,
    reason = "a test fails loudly, and json!() stands where it is used"
)]

#[path = "../support/mod.rs"]
mod support;

mod canary; // no secret gets out, however it is wrapped
mod expiry; // an expired token is renewed once, and what looks like one is not
mod life; // starts, stops, reloads, commands beside a running gateway
mod oauth_faults; // what clients see while the OAuth server fails, and what is kept
mod smoke; // a call, an expiry, a restart
