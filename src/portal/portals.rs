//! The concurrent map of portals. No guard of the map leaves this file: what comes out is an
//! `Arc<Portal>`, a list of names, or a number.

use std::sync::{Arc, PoisonError};

use arc_swap::ArcSwapOption;
use dashmap::DashMap;
use tokio::sync::MutexGuard;

use crate::portal::Portal;

/// All portals, by name and by domain.
#[derive(Debug, Default)]
pub struct Portals {
    by_name: DashMap<String, Arc<Portal>>,
    /// Lower-case host, and host:port where the port is not the scheme's.
    by_domain: DashMap<String, Arc<Portal>>,
    /// What the configuration names.
    wanted: std::sync::Mutex<Option<String>>,
    default: ArcSwapOption<Portal>,
    changing: tokio::sync::Mutex<()>,
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

    /// The portal with this stable key; one of the configuration before one that came by itself.
    pub fn by_member(&self, member_id: &str) -> Option<Arc<Portal>> {
        let is_it = |portal: &Arc<Portal>| portal.has_member_id(member_id);
        let mut found: Vec<_> = self.all().into_iter().filter(is_it).collect();
        found.sort_by_key(|portal| portal.standing.facts().arrived.is_some());
        found.into_iter().next()
    }

    /// The portal of requests that name none: the one that the configuration names, or else the
    /// only one.
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

    /// Keeps others from adding and removing portals: who looks first and adds then holds this.
    pub async fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().await
    }

    /// Adds a portal or replaces the one of the same name.
    pub fn put(&self, portal: Arc<Portal>) {
        let before = self.by_name(&portal.name);
        if before.is_some_and(|before| !Arc::ptr_eq(&before, &portal)) {
            for mut listed in self.by_domain.iter_mut().filter(|it| it.name == portal.name) {
                *listed = portal.clone();
            }
        }
        self.list_domain(&portal);
        self.by_name.insert(portal.name.clone(), portal);
        self.settle_default();
    }

    /// Makes the portal reachable under where it lives now; older domains keep leading to it, unless
    /// another portal lives there.
    pub fn list_domain(&self, portal: &Arc<Portal>) {
        let site = portal.site();
        for domain in [site.endpoint.host.clone(), site.authority.clone()] {
            self.by_domain.insert(domain, portal.clone());
        }
        for domain in portal.older_domains() {
            self.by_domain.entry(domain).or_insert_with(|| portal.clone());
        }
    }

    /// Stops serving the portal of this name. Calls under way end as they would have.
    pub fn remove(&self, name: &str) {
        self.by_name.remove(name);
        self.by_domain.retain(|_, portal| portal.name != name);
        self.settle_default();
    }

    /// Removes what is not among `names`.
    pub fn retain(&self, names: &[&str]) {
        let kept = |portal: &Arc<Portal>| names.contains(&portal.name.as_str());
        self.by_name.retain(|_, portal| kept(portal));
        self.by_domain.retain(|_, portal| kept(portal));
        self.settle_default();
    }

    /// Sets the portal of requests that name none; it need not be there yet. With `None` it is the
    /// only one, where there is only one.
    pub fn set_default(&self, name: Option<&str>) {
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = name.map(str::to_owned);
        self.settle_default();
    }

    fn settle_default(&self) {
        // Held until the end, so that of two changes the later one has the last word.
        let wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
        let default = match wanted.as_deref() {
            Some(name) => self.by_name(name).or_else(|| self.by_domain(name)),
            None => match self.names().as_slice() {
                [only] => self.by_name(only),
                _ => None,
            },
        };
        self.default.store(default);
    }
}
