//! What the running gateway answers over its control socket.

use std::sync::Arc;

use crate::control::{Desk, PortalView, Reply, Request};
use crate::portal::{Portal, Portals};

/// Answers for `portals`.
pub(super) fn desk(portals: Arc<Portals>) -> Desk {
    Arc::new(move |request| {
        let portals = portals.clone();
        Box::pin(async move { answer(&portals, request).await })
    })
}

async fn answer(portals: &Portals, request: Request) -> Reply {
    match request {
        Request::List => Reply::Portals(portals.all().iter().map(|portal| view(portal)).collect()),
        Request::Show { portal } => match portals.by_name(&portal) {
            Some(portal) => Reply::Portal(view(&portal)),
            None => unknown(portals, &portal),
        },
        Request::Import { portal, grant } => match portals.by_name(&portal) {
            Some(portal) => match portal.credential.adopt(grant).await {
                Ok(_) => Reply::Stored(view(&portal)),
                Err(error) => Reply::Refused(error.to_string()),
            },
            None => unknown(portals, &portal),
        },
    }
}

fn view(portal: &Portal) -> PortalView {
    PortalView::new(&portal.name, portal.site().endpoint.to_string(), &portal.credential.state())
}

fn unknown(portals: &Portals, name: &str) -> Reply {
    Reply::Refused(format!(
        "the running gateway has no portal {name}; it knows: {}; after a change of the \
         configuration send it SIGHUP",
        portals.names().join(", ")
    ))
}
