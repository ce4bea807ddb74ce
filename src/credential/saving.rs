//! A pair that came while the store was down: in use from memory, written as soon as it can be.

use std::sync::Arc;

use crate::credential::refresh::Chains;
use crate::credential::rotation::{Chain, Stored};
use crate::credential::{Credential, Generation, Link};
use crate::store::StoreError;

impl Credential {
    /// Says where a new pair lies, and keeps at it until it is stored.
    pub(super) fn note_stored(self: &Arc<Self>, generation: Generation, stored: &Stored) {
        let (error, lost_by_a_crash) = match stored {
            Stored::Yes => return self.custody.store_works(),
            Stored::Journal(error) => (error, false),
            Stored::No(error) => (error, true),
        };
        self.custody.store_fails();
        if lost_by_a_crash {
            // The pair exists nowhere else now, and the one before it is spent.
            tracing::error!(
                portal = %self.portal,
                %generation,
                reason = %reason(error),
                "renewed pair is NOT stored, do not stop the gateway; trying again"
            );
        } else {
            tracing::error!(
                portal = %self.portal,
                %generation,
                reason = %reason(error),
                "renewed pair is in the journal only, the store cannot be written; trying again"
            );
        }
        self.note(|status| {
            status.unsaved = true;
            status.memory_only |= lost_by_a_crash;
        });
        self.keep_saving();
    }

    /// Stores the pairs that could not be stored when they came, and takes the seats over that the
    /// store may have given although it reported a failure.
    pub(super) async fn save_all(&self, chains: &mut Chains) -> Result<(), StoreError> {
        let mut wrote = false;
        let arriving = chains.arriving.iter_mut().map(|it| &mut it.chain);
        for chain in chains.active.iter_mut().chain(&mut chains.spares).chain(arriving) {
            wrote |= self.save(chain).await?;
        }
        if wrote {
            self.custody.store_works();
            self.note(|status| {
                status.unsaved = false;
                status.memory_only = false;
            });
        }
        self.settle_seats(chains).await
    }

    async fn save(&self, chain: &mut Chain) -> Result<bool, StoreError> {
        let Some(grant) = &chain.unsaved else {
            return Ok(false);
        };
        let generation = chain.generation;
        let before = Generation(generation.0.saturating_sub(1));
        let link = Link { generation: before, ..chain.link(&self.portal) };
        match self.custody.store.recover(link, grant).await {
            // Superseded by itself: that write came through although it reported a failure. No
            // other pair can be there, because every way to one passes through here first.
            Ok(_) | Err(StoreError::Superseded(_)) => {}
            Err(error) => return Err(error),
        }
        tracing::info!(portal = %self.portal, %generation, "renewed pair is stored now");
        chain.unsaved = None;
        Ok(true)
    }

    /// Tries until everything is stored; a shutdown waits for it.
    pub(super) fn keep_saving(self: &Arc<Self>) {
        let credential = Arc::clone(self);
        self.custody.flights.spawn(async move {
            let pace = credential.custody.pace;
            let mut pause = pace.save_min;
            loop {
                tokio::time::sleep(pause).await;
                let mut chains = credential.chains.lock().await;
                match credential.save_all(&mut chains).await {
                    Ok(()) => return,
                    Err(error) => tracing::error!(
                        portal = %credential.portal,
                        reason = %reason(&error),
                        "renewed pair is still NOT in the store; trying again"
                    ),
                }
                pause = pause.saturating_mul(2).min(pace.save_max);
            }
        });
    }
}

/// The whole chain of causes; the store's errors hold no secrets.
pub(super) fn reason(error: &StoreError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
