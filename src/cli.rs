//! The command line.

pub mod portal;
