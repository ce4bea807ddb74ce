//! Looks after credentials that no request looks after.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use crate::portal::Portals;

/// How often it looks. What is due is decided by each credential; this is no refresh timer.
const TICK: Duration = Duration::from_secs(5);

/// Looks at every portal until it is aborted.
#[expect(clippy::infinite_loop, reason = "aborted by whoever spawned it")]
pub(super) async fn keep(portals: Arc<Portals>) {
    let mut tick = tokio::time::interval(TICK);
    // After a suspend one look is as good as a hundred.
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        look(&portals);
    }
}

fn look(portals: &Portals) {
    for portal in portals.all() {
        if let Some(credential) = portal.credential()
            && portal.standing.closed().is_none()
        {
            credential.tend(portal.renew_every());
        }
    }
}

#[cfg(test)]
mod tests;
