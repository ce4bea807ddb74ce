//! Faults that a test provokes on purpose, and the list of those that are switched on.
//!
//! A fault applies to the next requests it matches until its `count` is used up; the first match in
//! the order of switching on wins. `drop_bearer`, `idle_close` and `down` describe the place and
//! not a request: they hold until they are cleared, beside any other fault.

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::modes::{OauthMode, PortalMode};

/// A fault and when it applies.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Fault<M> {
    /// How many requests it hits; all of them when it is absent.
    pub(super) count: Option<u64>,
    /// How many matching requests pass before it begins.
    #[serde(default)]
    pub(super) skip: u64,
    /// The only REST method that it hits.
    pub(super) method: Option<String>,
    /// Whether the call runs all the same; see [`PortalMode::runs_the_call`] for the default. For
    /// the OAuth server: whether the rotation is committed before the bad answer.
    #[serde(alias = "commit")]
    pub(super) executed: Option<bool>,
    /// Hits only requests on a connection that has carried one before.
    #[serde(default)]
    pub(super) reused: bool,
    /// What goes wrong.
    #[serde(flatten)]
    pub(super) mode: M,
}

/// The faults that are switched on.
#[derive(Debug, Default)]
pub(super) struct Faults {
    portal: Vec<Fault<PortalMode>>,
    oauth: Vec<Fault<OauthMode>>,
    /// Until when the portal's listener is closed.
    pub(super) portal_down: Option<Until>,
    /// Until when the OAuth server's listener is closed.
    pub(super) oauth_down: Option<Until>,
}

/// The end of an outage; `None` is "until cleared".
pub(super) type Until = Option<Instant>;

impl Faults {
    /// Switches faults on: `{"portal": {...}}`, `{"oauth": {...}}`, or both; also lists of them.
    pub(super) fn add(&mut self, json: &serde_json::Value) -> Result<(), String> {
        let sides = json.as_object().ok_or("a fault is a JSON object")?;
        for (side, faults) in sides {
            let faults = faults.as_array().cloned().unwrap_or_else(|| vec![faults.clone()]);
            for fault in faults {
                match side.as_str() {
                    "portal" => self.add_portal(fault)?,
                    "oauth" => self.add_oauth(fault)?,
                    other => return Err(format!("no side is called {other}: portal or oauth")),
                }
            }
        }
        Ok(())
    }

    /// Everything works again.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// The fault that hits this REST request, if any; its count goes down.
    pub(super) fn hit_portal(&mut self, method: &str, reused: bool) -> Option<Fault<PortalMode>> {
        let matches = |fault: &Fault<PortalMode>| !fault.mode.is_of_the_place();
        take(&mut self.portal, method, reused, matches)
    }

    /// The fault that hits this request to the OAuth server, if any.
    pub(super) fn hit_oauth(&mut self, reused: bool, post: bool) -> Option<Fault<OauthMode>> {
        let matches = |fault: &Fault<OauthMode>| match fault.mode {
            OauthMode::PostRefused => post,
            OauthMode::Down { .. } => false,
            _ => true,
        };
        take(&mut self.oauth, "", reused, matches)
    }

    /// Whether `Authorization` is ignored.
    pub(super) fn drops_bearer(&self) -> bool {
        self.portal.iter().any(|fault| matches!(fault.mode, PortalMode::DropBearer))
    }

    /// After how much idleness connections are closed.
    pub(super) fn idle_ms(&self) -> Option<u64> {
        self.portal.iter().find_map(|fault| match fault.mode {
            PortalMode::IdleClose { ms } => Some(ms),
            _ => None,
        })
    }

    /// What is switched on, for people.
    pub(super) fn describe(&self) -> serde_json::Value {
        serde_json::json!({"portal": self.portal, "oauth": self.oauth})
    }

    fn add_portal(&mut self, fault: serde_json::Value) -> Result<(), String> {
        let mut fault: Fault<PortalMode> = parse(fault)?;
        match fault.mode {
            PortalMode::ExpiredOnce => fault.count = Some(1),
            PortalMode::Down { ms } => self.portal_down = Some(ms.map(after)),
            _ => {}
        }
        self.portal.push(fault);
        Ok(())
    }

    fn add_oauth(&mut self, fault: serde_json::Value) -> Result<(), String> {
        let fault: Fault<OauthMode> = parse(fault)?;
        if let OauthMode::Down { ms } = fault.mode {
            self.oauth_down = Some(ms.map(after));
        }
        self.oauth.push(fault);
        Ok(())
    }
}

/// Whether an outage is on.
pub(super) fn is_down(outage: Option<Until>) -> bool {
    outage.is_some_and(|until| until.is_none_or(|until| until > Instant::now()))
}

fn take<M: Clone>(
    faults: &mut Vec<Fault<M>>,
    method: &str,
    reused: bool,
    matches: impl Fn(&Fault<M>) -> bool,
) -> Option<Fault<M>> {
    let index = faults.iter_mut().position(|fault| {
        let named = fault.method.as_deref();
        let hit = named.is_none_or(|named| named.eq_ignore_ascii_case(method))
            && (reused || !fault.reused)
            && matches(fault);
        let passes = hit && fault.skip > 0;
        fault.skip -= u64::from(passes);
        hit && !passes
    })?;
    let fault = faults.get_mut(index)?;
    let copy = fault.clone();
    if let Some(count) = &mut fault.count {
        *count = count.saturating_sub(1);
        if *count == 0 {
            faults.remove(index);
        }
    }
    Some(copy)
}

fn parse<M: for<'de> Deserialize<'de>>(json: serde_json::Value) -> Result<Fault<M>, String> {
    serde_json::from_value(json).map_err(|error| error.to_string())
}

fn after(ms: u64) -> Instant {
    Instant::now() + std::time::Duration::from_millis(ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_fault_hits_its_method_so_many_times_after_so_many_passed() {
        let mut faults = Faults::default();
        let fault = json!({"portal": {"mode": "hang", "method": "profile", "count": 2, "skip": 1}});
        faults.add(&fault).unwrap();
        assert!(faults.hit_portal("user.current", false).is_none());
        let hits: Vec<_> = (0..4).map(|_| faults.hit_portal("Profile", false).is_some()).collect();
        assert_eq!(hits, [false, true, true, false]);
    }

    #[test]
    fn a_fault_for_reused_connections_spares_a_first_request() {
        let mut faults = Faults::default();
        faults.add(&json!({"portal": {"mode": "garbage", "reused": true, "count": 1}})).unwrap();
        assert!(faults.hit_portal("profile", false).is_none());
        assert!(faults.hit_portal("profile", true).is_some());
    }

    #[test]
    fn unknown_sides_and_modes_are_refused() {
        let mut faults = Faults::default();
        assert!(faults.add(&json!({"gateway": {"mode": "hang"}})).is_err());
        assert!(faults.add(&json!({"portal": {"mode": "explode"}})).is_err());
    }
}
