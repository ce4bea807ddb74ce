//! What an operator does to a portal: by command, by page, by API.

use crate::connect::Connect;

/// Why it was not done. A sentence for the operator.
#[derive(Debug, thiserror::Error)]
pub enum OperateError {
    /// There is no such portal.
    #[error("there is no portal {0}")]
    Unknown(String),
    /// It cannot be done with this portal; why, and what to do instead.
    #[error("{0}")]
    Refused(String),
    /// It cannot be done now.
    #[error("{0}")]
    Later(String),
}

impl Connect {
    /// Renews the token now, whether it has expired or not; returns the new generation.
    pub async fn refresh(&self, name: &str) -> Result<u64, OperateError> {
        Err(OperateError::Unknown(name.to_owned()))
    }

    /// Takes a portal out of service, or puts it back; durable when it returns.
    pub async fn set_disabled(&self, name: &str, _disabled: bool) -> Result<(), OperateError> {
        Err(OperateError::Unknown(name.to_owned()))
    }

    /// Takes a portal's credential out of use. One that came by itself is not served any more; one
    /// of the configuration is not connected.
    pub async fn remove(&self, name: &str) -> Result<(), OperateError> {
        Err(OperateError::Unknown(name.to_owned()))
    }
}
