//! What portals and networks do wrong.
