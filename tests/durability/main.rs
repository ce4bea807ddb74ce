//! What the machine does to the gateway: clocks that jump, code that panics, and that no pair is
//! lost by it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stderr,
    clippy::print_stdout,
    clippy::needless_pass_by_value,
    reason = "a test fails loudly, and json!() stands where it is used"
)]

#[path = "../support/mod.rs"]
mod support;

mod chains; // the checker of refresh token histories
mod clock; // wall clocks that are wrong or jump, and the time that passes in a suspend
mod disk; // a state directory that is full, read-only, gone, slow or old
mod io_errors; // errors at every call by which a pair is saved
mod kills; // SIGKILL at every step of a refresh
mod oauth; // what clients see while the OAuth server fails, and what is kept
mod panics; // code that fails in the middle of a call or of a renewal
mod shutdown; // signals in the middle of an exchange, and a second process
mod soak; // kill after kill under load, and what is left afterwards
