//! placeholder until merged
pub(crate) fn hit(_name: &str) {}
