//! The gateway as its users meet it: the real binary in front of the simulated portal.

#[path = "../support/mod.rs"]
mod support;

mod expiry; // an expired token is renewed once, and what looks like one is not
mod smoke; // a call, an expiry, a restart
