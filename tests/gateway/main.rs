//! The gateway as its users meet it: the real binary in front of the simulated portal.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::needless_pass_by_value,
    reason = "a test fails loudly, and json!() stands where it is used"
)]

#[path = "../support/mod.rs"]
mod support;

mod admin; // the operator's listener
mod admin_api; // and that its API is as it is described
mod alerts; // who is told when a portal or the store needs a human
mod answers; // what portals and networks do wrong, and what becomes of it
mod arrived; // portals that the configuration does not name
mod audit; // who called what, and what became of it
mod canary; // no secret gets out, however it is wrapped
mod clients; // PHP, Python and curl, as they are
mod endings; // answers without a length
mod events; // what Bitrix24's servers post, and what they can make happen
mod expiry; // an expired token is renewed once, and what looks like one is not
mod hostile; // what is refused, and that the portal never hears of it
mod imported; // a pair that the operator brings
mod installs; // a page that a browser posts makes a credential, or a portal
mod installs_forged; // what anybody can post
mod installs_support; // forms as browsers and Bitrix24's servers post them
mod keys; // who is given a key, and what becomes of it
mod life; // starts, stops, reloads, commands beside a running gateway
mod login; // by a browser, from the link to the stored pair
mod memory; // bodies larger than memory
mod metrics; // what /metrics says of the request path
mod moved; // a renamed portal, and who only says so
mod oauth_urls; // where the secrets of an exchange travel
mod peer; // which user's programs may call, and what is open to other machines
mod php_oracle; // which credential PHP finds in what a client sends
mod proxied; // the gateway as a proxy, and under other names
mod rules; // what a client may call, inside a batch too
mod sdk; // libraries and tools as people install them
mod secure; // TLS on the port of plain HTTP
mod shown; // whose key a request shows, and where
mod smoke; // a call, an expiry, a restart
mod tls; // whom the gateway talks to
mod twin; // a request that is sent again while it runs, or just after
mod unix; // the listener that file modes protect
mod webhook; // a portal that an incoming webhook opens
mod wire; // what real clients send, and that the portal gets it
