//! Who called what, when, and what became of it.
