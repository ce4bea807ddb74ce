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

mod listener;
mod portal;
