//! The concurrent map of portals. No guard of the map leaves this file: what comes out is an
//! `Arc<Portal>`, a list of names, or a number.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
use dashmap::DashMap;

use crate::portal::Portal;

/// All portals, by name and by domain.
#[derive(Debug, Default)]
pub struct Portals {
    by_name: DashMap<String, Arc<Portal>>,
    /// Lower-case host, and host:port where the port is not the scheme's.
    by_domain: DashMap<String, Arc<Portal>>,
    default: ArcSwapOption<Portal>,
}

impl Portals {
    /// The portal of this name.
    pub fn by_name(&self, name: &str) -> Option<Arc<Portal>> {
        self.by_name.get(name).map(|portal| portal.clone())
    }

    /// The portal that lives under this host name.
    pub fn by_domain(&self, domain: &str) -> Option<Arc<Portal>> {
        if let Some(portal) = self.by_domain.get(domain) {
            return Some(portal.clone());
        }
        let lower = domain.to_ascii_lowercase();
        self.by_domain.get(&lower).map(|portal| portal.clone())
    }

    /// The portal of requests that name none.
    pub fn default_portal(&self) -> Option<Arc<Portal>> {
        self.default.load_full()
    }

    /// All names, sorted.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = self.by_name.iter().map(|entry| entry.key().clone()).collect();
        names.sort_unstable();
        names
    }

    /// All portals, sorted by name.
    pub fn all(&self) -> Vec<Arc<Portal>> {
        self.names().iter().filter_map(|name| self.by_name(name)).collect()
    }

    /// Adds a portal or replaces the one of the same name.
    pub fn put(&self, portal: Arc<Portal>) {
        self.list_domain(&portal);
        self.by_name.insert(portal.name.clone(), portal);
    }

    /// Makes the portal reachable under where it lives now; older domains keep leading to it.
    pub fn list_domain(&self, portal: &Arc<Portal>) {
        let site = portal.site();
        for domain in [site.endpoint.host.clone(), site.authority.clone()] {
            self.by_domain.insert(domain, portal.clone());
        }
    }

    /// Removes one portal.
    pub fn remove(&self, name: &str) {
        self.by_name.remove(name);
        self.by_domain.retain(|_, portal| portal.name != name);
        if self.default_portal().is_some_and(|portal| portal.name == name) {
            self.default.store(None);
        }
    }

    /// Removes what is not among `names`.
    pub fn retain(&self, names: &[&str]) {
        let kept = |portal: &Arc<Portal>| names.contains(&portal.name.as_str());
        self.by_name.retain(|_, portal| kept(portal));
        self.by_domain.retain(|_, portal| kept(portal));
    }

    /// Sets the portal of requests that name none.
    pub fn set_default(&self, name: Option<&str>) {
        self.default.store(name.and_then(|name| self.by_name(name)));
    }
}
