//! The gateway as its users meet it: the real binary in front of the simulated portal.

#[path = "../support/mod.rs"]
mod support;

mod clients;
mod smoke; // a call, an expiry, a restart // PHP, Python and curl, as they are
