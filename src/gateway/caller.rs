//! Who is calling: the client whose key a request shows, and the user who runs the program.

use std::sync::Arc;

use crate::client::Client;

/// Who is calling.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller {
    /// The client; `None` is anonymous.
    pub(crate) client: Option<Arc<Client>>,
    /// The user of this machine who runs the calling program, where that was asked.
    pub(crate) uid: Option<u32>,
}
