//! What is counted of a client: its answers by portal, and when it called last.
//!
//! The cells of a portal are found by the portal's own cells, in a short sorted list that is read
//! without waiting. Only the first call of a client to a portal adds to that list.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;

use super::traffic::PortalTally;
use super::words::{self, KINDS, NONE};

/// What is counted of one client, by all workers.
#[derive(Debug, Default)]
pub struct ClientTally {
    portals: ArcSwap<Vec<Cells>>,
    /// Requests that were for no portal.
    unrouted: Answers,
    /// Unix seconds; zero is never.
    last_used_at: AtomicU64,
}

/// The answers of one portal to the client.
#[derive(Clone, Debug)]
struct Cells {
    /// Keeps the address from being another portal's after this one is gone.
    portal: Weak<PortalTally>,
    name: Arc<str>,
    answers: Arc<Answers>,
}

#[derive(Debug)]
pub(super) struct Answers([AtomicU64; KINDS]);

impl ClientTally {
    /// A call to the portal was answered.
    pub fn answered(&self, portal: &Arc<PortalTally>, name: &str, status: u16) {
        self.count(portal, name, words::place_of(status));
    }

    /// The client has left before the portal's answer.
    pub fn left(&self, portal: &Arc<PortalTally>, name: &str) {
        self.count(portal, name, NONE);
    }

    /// A request that was for no portal was answered.
    pub fn unrouted(&self, status: u16) {
        self.touch();
        self.unrouted.add(words::place_of(status));
    }

    /// All requests.
    pub fn calls(&self) -> u64 {
        let portals = self.portals.load();
        portals.iter().map(|cells| cells.answers.sum()).sum::<u64>() + self.unrouted.sum()
    }

    /// When the last one came to its end, unix seconds.
    pub fn last_used_at(&self) -> Option<u64> {
        Some(self.last_used_at.load(Ordering::Relaxed)).filter(|at| *at > 0)
    }

    /// Each portal with its counters that are not zero; the requests for no portal have no name.
    pub(super) fn each(
        &self,
        line: &mut dyn FnMut(&str, usize, u64) -> std::fmt::Result,
    ) -> std::fmt::Result {
        self.unrouted.each(&mut |place, value| line("", place, value))?;
        for cells in self.portals.load().iter().filter(|cells| cells.portal.strong_count() > 0) {
            cells.answers.each(&mut |place, value| line(&cells.name, place, value))?;
        }
        Ok(())
    }

    fn count(&self, portal: &Arc<PortalTally>, name: &str, place: usize) {
        self.touch();
        let listed = self.portals.load();
        match listed.binary_search_by_key(&Arc::as_ptr(portal), Cells::address) {
            Ok(at) => {
                if let Some(cells) = listed.get(at) {
                    cells.answers.add(place);
                }
            }
            Err(_) => self.enlist(portal, name).add(place),
        }
    }

    /// The cells of a portal that is new to this client.
    #[cold]
    fn enlist(&self, portal: &Arc<PortalTally>, name: &str) -> Arc<Answers> {
        let made =
            Cells { portal: Arc::downgrade(portal), name: name.into(), answers: Arc::default() };
        let wanted = made.address();
        self.portals.rcu(|listed| {
            let mut listed = Vec::clone(listed);
            if let Err(at) = listed.binary_search_by_key(&wanted, Cells::address) {
                listed.insert(at, made.clone());
            }
            listed.retain(|cells| cells.portal.strong_count() > 0);
            listed
        });
        // Another worker may have been first.
        let listed = self.portals.load();
        let found = listed.iter().find(|cells| cells.address() == wanted);
        found.map_or(made.answers, |cells| cells.answers.clone())
    }

    fn touch(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.last_used_at.store(now.as_secs(), Ordering::Relaxed);
    }
}

impl Cells {
    fn address(&self) -> *const PortalTally {
        self.portal.as_ptr()
    }
}

impl Answers {
    fn add(&self, place: usize) {
        if let Some(count) = self.0.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn sum(&self) -> u64 {
        self.0.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    fn each(&self, line: &mut dyn FnMut(usize, u64) -> std::fmt::Result) -> std::fmt::Result {
        let values = self.0.iter().map(|count| count.load(Ordering::Relaxed)).enumerate();
        values.filter(|(_, value)| *value > 0).try_for_each(|(place, value)| line(place, value))
    }
}

impl Default for Answers {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; KINDS])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::{Level, Metrics};

    #[derive(Debug)]
    struct Nothing;

    impl Level for Nothing {
        fn level(&self) -> f64 {
            0.0
        }
    }

    fn lines(tally: &ClientTally) -> Vec<(String, String, u64)> {
        let mut lines = Vec::new();
        tally
            .each(&mut |portal, place, value| {
                lines.push((portal.to_owned(), words::status_word(place), value));
                Ok(())
            })
            .unwrap();
        lines.sort();
        lines
    }

    fn line(portal: &str, status: &str, value: u64) -> (String, String, u64) {
        (portal.to_owned(), status.to_owned(), value)
    }

    #[test]
    fn every_portal_has_cells_of_its_own_and_those_of_one_that_is_gone_are_gone() {
        let (tally, acme, beta) = (ClientTally::default(), Arc::default(), Arc::default());
        assert_eq!((tally.calls(), tally.last_used_at()), (0, None));
        tally.answered(&acme, "acme", 200);
        tally.answered(&beta, "beta", 503);
        tally.answered(&acme, "acme", 200);
        tally.left(&beta, "beta");
        tally.unrouted(403);
        let all = [
            line("", "403", 1),
            line("acme", "200", 2),
            line("beta", "503", 1),
            line("beta", "none", 1),
        ];
        assert_eq!(lines(&tally), all);
        assert_eq!(tally.calls(), 5);
        assert!(tally.last_used_at().unwrap() > 1_700_000_000);
        drop(acme);
        assert!(lines(&tally).iter().all(|(portal, ..)| portal != "acme"));
        let again = Arc::default();
        tally.answered(&again, "acme", 401);
        assert!(lines(&tally).contains(&line("acme", "401", 1)));
        assert_eq!(lines(&tally).len(), 4);
    }

    #[test]
    fn the_page_counts_a_clients_answers_apart_from_those_of_nobody_known() {
        let metrics = Metrics::default();
        let traffic = metrics.traffic();
        let acme = traffic.portal("acme", Weak::<Nothing>::new());
        let erp = traffic.client("erp");
        acme.answered(200);
        erp.answered(&acme, "acme", 200);
        traffic.client("erp").answered(&acme, "acme", 200);
        erp.unrouted(403);
        let page = metrics.page(&[], false);
        for (portal, client, status, value) in
            [("acme", "anonymous", 200, 1), ("acme", "erp", 200, 2), ("", "erp", 403, 1)]
        {
            let labels = format!("portal=\"{portal}\",client=\"{client}\",status=\"{status}\"");
            let line = format!("b24gate_requests_total{{{labels}}} {value}\n");
            assert!(page.contains(&line), "{line} is missing in\n{page}");
        }
        drop(erp);
        assert!(
            !metrics.page(&[], false).contains("erp"),
            "a client that is gone is shown no more"
        );
    }

    #[test]
    fn no_answer_is_lost_while_workers_meet_at_a_portal_for_the_first_time() {
        let tally = ClientTally::default();
        let portals: Vec<_> = (0..8).map(|_| Arc::<PortalTally>::default()).collect();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for (number, portal) in portals.iter().cycle().take(4_000).enumerate() {
                        tally.answered(portal, &format!("p{}", number % 8), 200);
                    }
                });
            }
        });
        assert_eq!(tally.calls(), 16_000);
        assert_eq!(lines(&tally).len(), 8);
    }
}
