//! What people see, in a real Chromium. Screenshots are kept in `target/screenshots`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::needless_pass_by_value,
    reason = "a test fails loudly, and json!() stands where it is used"
)]

#[path = "../support/mod.rs"]
mod support;

mod calls; // what is noted of calls
mod hostile; // web pages that nobody has allowed, and one that somebody has
mod install; // the app's page in the portal's frame, and in nobody else's
mod listener; // an app that is not the gateway
mod login; // from Connect to a status page that says so
mod operate; // the buttons of the status page, with scripts and without
mod portal; // the simulated portal's own pages
mod world; // a portal, a gateway and a browser that find each other
