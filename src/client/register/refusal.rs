//! Why something was not done to a client.

use crate::store::StoreError;

/// Why something was not done to a client.
#[derive(Debug, thiserror::Error)]
pub enum DeedError {
    /// It has a key.
    #[error(
        "client {name} has a key already, which nobody can show again; give it another one:\n  \
         b24gate client rotate {name}"
    )]
    HasKey {
        /// The client.
        name: String,
    },
    /// Its rules are in the configuration, and were given again.
    #[error(
        "client {name} is described by [clients.{name}] of the configuration, which says what it \
         may do; change it there, and leave --portal, --method, --read-only and --expires out"
    )]
    Configured {
        /// The client.
        name: String,
    },
    /// Whoever asks has read a configuration that is not in force.
    #[error(
        "the running gateway does not know [clients.{name}] yet; send it SIGHUP, and try again"
    )]
    NotConfigured {
        /// The client.
        name: String,
    },
    /// It is described and has no key yet.
    #[error("client {name} has no key yet; make one:\n  b24gate client add {name}")]
    NoKey {
        /// The client.
        name: String,
    },
    /// There is no such client.
    #[error("there is no client {name}; {}", listed(known))]
    Unknown {
        /// What it was called.
        name: String,
        /// Those that there are.
        known: Vec<String>,
    },
    /// A new key would be refused.
    #[error(
        "the section [clients.{name}] is gone from the configuration, so that nothing says what \
         client {name} may do and its keys are refused; put the section back, or take the keys \
         away:\n  b24gate client remove {name}"
    )]
    NoRules {
        /// The client.
        name: String,
    },
    /// The same for another reason.
    #[error(
        "what the store says of client {name} cannot be read, so that its keys are refused; make \
         it anew:\n  b24gate client remove {name}\n  b24gate client add {name} ..."
    )]
    Unreadable {
        /// The client.
        name: String,
    },
    /// It is revoked, but not durably.
    #[error(
        "the keys of client {name} are refused from now on, BUT the store could not be written \
         ({source}), and after a restart they would work again; mend the store and repeat this"
    )]
    Revoked {
        /// The client.
        name: String,
        /// What the store said.
        source: StoreError,
    },
    /// Nothing was changed.
    #[error("nothing was changed: {0}")]
    Store(#[source] StoreError),
    /// Nothing was changed.
    #[error("the system gives no random numbers: {0}")]
    Random(#[source] std::io::Error),
}

fn listed(known: &[String]) -> String {
    if known.is_empty() {
        "there is none yet".to_owned()
    } else {
        format!("there are: {}", known.join(", "))
    }
}
