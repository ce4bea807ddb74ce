//! The install page and the application's own page: a form that the user's browser posts, which
//! anybody can forge, so that nothing of it is believed before the OAuth server has said so.

mod taking;

pub(super) use taking::{Fate, Followed, Taken};

use std::sync::Arc;

use tokio::sync::oneshot;

use crate::connect::claim::Claim;
use crate::connect::verify::{Doubt, Pace};
use crate::connect::{Connect, Form};
use crate::credential::{Admitted, unix_now};

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
    /// Takes an installation in: verified, exchanged, stored. Dropping the future does not stop what
    /// has begun.
    pub async fn install(self: &Arc<Self>, form: &Form) -> Result<Installed, InstallError> {
        let claim = Claim::of_page(form, unix_now()).map_err(InstallError::Refused)?;
        if !self.may_be_ours(&claim) {
            return Err(InstallError::Refused("it is of no portal that is served here"));
        }
        let (told, outcome) = oneshot::channel();
        let connect = self.clone();
        self.custody.flights().spawn(async move {
            // The browser may have left.
            drop(told.send(connect.take(&claim, Pace::Now).await));
        });
        let cut_short = |_closed| InstallError::Later("the installation was cut short".to_owned());
        outcome.await.map_err(cut_short)?.map(Installed::from).map_err(InstallError::from)
    }
}

impl From<Taken> for Installed {
    fn from(taken: Taken) -> Self {
        let Taken { portal, verified, fate } = taken;
        let holder = portal.status().user_id;
        let holder = holder.map_or_else(|| "somebody".to_owned(), |user| format!("user {user}"));
        let text = match fate {
            Fate::Admitted(Admitted::Active { .. }) => {
                format!("{} is connected as {holder}.", portal.name)
            }
            Fate::Admitted(Admitted::Spare { .. } | Admitted::Known { .. }) => {
                format!("{} was connected as {holder} already, and stays so.", portal.name)
            }
            Fate::AnotherUser => format!(
                "{} is connected as {holder}, and not as you; nothing has changed.",
                portal.name
            ),
            Fate::Spent | Fate::Nothing => {
                format!("{} is connected as {holder}; nothing has changed.", portal.name)
            }
        };
        Self {
            portal: portal.name.clone(),
            frame_ancestor: verified.endpoint.to_string(),
            finish: verified.installed != Some(true),
            text,
        }
    }
}

impl From<Doubt> for InstallError {
    fn from(doubt: Doubt) -> Self {
        match doubt {
            Doubt::Refused(reason) => Self::Refused(reason),
            Doubt::Later(reason) => Self::Later(reason),
        }
    }
}
