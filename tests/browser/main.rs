//! What people see, in a real Chromium. Screenshots are kept in `target/screenshots`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails loudly"
)]

#[path = "../support/mod.rs"]
mod support;

mod listener;
mod portal;
