//! Portals that arrive by themselves, keyed by their `member_id`.
