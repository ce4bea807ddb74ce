//! Bringing a pair into a store: what is there is looked up, [`admit`] decides.

use crate::credential::{Admission, Admitted, Grant, Held, Refused, Replace, admit};
use crate::store::{Seat, Store, StoreError, StoredCredential};

/// Why a pair that somebody brought is not in the store.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// It is not taken.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The store did not do it.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What should become of `grant`, by what the store holds for `portal`.
pub async fn consider(
    store: &dyn Store,
    portal: &str,
    grant: &Grant,
    replace: Replace,
) -> Result<Admission, IntakeError> {
    let records = store.load().await?;
    let seen = store.seen(portal, &grant.refresh).await?;
    let record = records.iter().find(|record| record.portal == portal);
    let active: Option<&StoredCredential> =
        record.and_then(|record| record.credential.as_ref()?.as_ref().ok());
    let spares = record.into_iter().flat_map(|record| &record.spares);
    let spares: Vec<Held<'_>> = spares.flatten().map(Held::from).collect();
    let active = active.map(Held::from);
    Ok(admit(active.as_ref(), &spares, grant, seen.as_ref(), replace)?)
}

/// Takes `grant` into a store that no gateway uses.
pub async fn take_in(
    store: &dyn Store,
    portal: &str,
    grant: &Grant,
    replace: Replace,
) -> Result<Admitted, IntakeError> {
    let seat = match consider(store, portal, grant, replace).await? {
        Admission::Add(seat) => seat,
        Admission::Known { chain, generation, active, dead } => {
            return Ok(Admitted::Known { chain, generation: generation.0, active, dead });
        }
    };
    let added = store.add(portal, grant, seat).await?;
    Ok(match seat {
        Seat::Active { keep_old } => {
            Admitted::Active { generation: added.generation.0, old_kept: keep_old }
        }
        Seat::Spare => Admitted::Spare { chain: added.chain, dropped: added.dropped },
    })
}
