//! The local authority and the certificates that the gateway shows to its clients.
