//! The install page and the application's own page: a form that the user's browser posts, which
//! anybody can forge, so that nothing of it is believed before the OAuth server has said so.

use crate::connect::{Connect, Form};

/// What the page that answers needs to know.
#[derive(Clone, Debug)]
pub struct Installed {
    /// The portal's name here.
    pub portal: String,
    /// Who may frame the answer: the portal's origin, from the OAuth server.
    pub frame_ancestor: String,
    /// Whether the portal's installation wizard waits for `BX24.installFinish()`.
    pub finish: bool,
    /// What has become of the pair, in a sentence for the user.
    pub text: String,
}

/// Why a form is not taken. Whoever posted it learns only the status: 403 and 503.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InstallError {
    /// Forged, of another application, or of a portal that is not ours. The sentence is for the log.
    #[error("{0}")]
    Refused(&'static str),
    /// The OAuth server or the store is down, or too many ask at once; nothing is lost.
    #[error("{0}")]
    Later(String),
}

impl Connect {
    /// Takes an installation in: verified, exchanged, stored.
    pub async fn install(&self, _form: &Form) -> Result<Installed, InstallError> {
        Err(InstallError::Refused("not built"))
    }
}
