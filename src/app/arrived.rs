//! Portals that came by themselves, as the store knows them.

use std::sync::Arc;

use crate::config::{Config, Endpoint};
use crate::portal::Arrival;
use crate::store::{Arrived, Record, StoredCredential};

/// The portal of a record, if it came by itself and can be served; else it is said why not.
/// `lost` tells of one whose row was lost with a damaged database and has to be written anew.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) arrival: Arrival,
    pub(super) lost: bool,
}

/// Looks whether `record` is a portal that came by itself.
pub(super) fn find(config: &Config, record: Record) -> Option<Found> {
    let name = record.portal.clone();
    if config.portals.contains_key(&name) {
        return None;
    }
    let Some(arrived) = record.facts.arrived.clone() else {
        return take_up_again(config, record);
    };
    let Some(app) = config.apps.values().find(|app| app.client_id == arrived.client_id) else {
        tracing::warn!(
            portal = %name, client_id = %arrived.client_id,
            "a portal that came by itself is NOT served: no app of the configuration has this \
             client_id; its credential is kept"
        );
        return None;
    };
    let endpoint = place(&record)?;
    let arrival = Arrival { name, endpoint, app: app.clone(), arrived, record: Some(record) };
    Some(Found { arrival, lost: false })
}

/// A database that was damaged takes with it how a portal came; its chains are in the journal. A
/// domain is the name of no portal of the configuration.
fn take_up_again(config: &Config, record: Record) -> Option<Found> {
    let name = record.portal.clone();
    let has_chain =
        record.credential.is_some() || !record.spares.is_empty() || !record.answers.is_empty();
    if !has_chain || !name.contains(['.', ':']) {
        return None;
    }
    let app = match config.open_apps().collect::<Vec<_>>().as_slice() {
        [only] => Arc::clone(only),
        open => {
            tracing::warn!(
                portal = %name, apps = open.len(),
                "a portal that once came by itself is NOT served: it is not known through which \
                 app, and not exactly one accepts installs; its credential is kept"
            );
            return None;
        }
    };
    let Some((member_id, endpoint)) = member_id(&record).zip(place(&record)) else {
        tracing::warn!(
            portal = %name,
            "a portal that once came by itself is NOT served: no pair says which portal it is"
        );
        return None;
    };
    tracing::warn!(
        portal = %name, app = %app.name, url = %endpoint,
        "how this portal came was lost with a damaged database: it is taken up again; whether it \
         was out of service is not known any more"
    );
    let arrived = Arrived { client_id: app.client_id.clone(), member_id };
    let arrival = Arrival { name, endpoint, app, arrived, record: Some(record) };
    Some(Found { arrival, lost: true })
}

/// Where it was last seen to live; else where the OAuth server said, if nobody can listen there;
/// else at the domain that it is named after.
fn place(record: &Record) -> Option<Endpoint> {
    if let Some(endpoint) = &record.endpoint {
        return Some(endpoint.clone());
    }
    let told = pairs(record).find_map(|(_, endpoint)| endpoint);
    let told = told.as_deref().and_then(Endpoint::of_url);
    told.filter(|told| told.tls || told.is_loopback())
        .or_else(|| Endpoint::of_url(&format!("https://{}", record.portal)))
}

fn member_id(record: &Record) -> Option<String> {
    pairs(record).find_map(|(member_id, _)| member_id)
}

/// The stable key and the place that each pair tells, the active chain's first.
fn pairs(record: &Record) -> impl Iterator<Item = (Option<String>, Option<String>)> {
    let told =
        |stored: &StoredCredential| (stored.member_id.clone(), stored.client_endpoint.clone());
    let stored = record.credential.iter().chain(&record.spares).filter_map(|it| it.as_ref().ok());
    let answers = record.answers.iter().filter_map(|answered| answered.answer.grant().ok());
    stored.map(told).chain(answers.map(|grant| (grant.member_id, grant.client_endpoint)))
}
