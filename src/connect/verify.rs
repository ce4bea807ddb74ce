//! Whether a pair that somebody brought is what it claims to be: only the configured OAuth server is
//! asked, and only what it answers is believed.
