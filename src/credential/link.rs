//! Which pair is meant: a chain, and how often it was rotated.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::credential::Generation;

/// A chain: one authorisation and the pairs that came from it by rotation. Never given out twice by
/// one store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ChainId(pub i64);

/// One pair of one chain: what an exchange starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link<'a> {
    /// The portal's name in the configuration.
    pub portal: &'a str,
    /// The chain.
    pub chain: ChainId,
    /// The generation of the pair.
    pub generation: Generation,
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
