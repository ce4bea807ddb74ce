//! The numbers people look at, in Prometheus' text format. Labels come from the configuration and
//! from closed lists, never from requests.

mod clients;
mod histogram;
mod traffic;
mod words;

pub use clients::ClientTally;
pub use traffic::{Held, Level, PortalTally, Tally, Traffic};
pub use words::{Guard, Replay};

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

/// What a page of numbers is sent as.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// All numbers of the process.
pub struct Metrics {
    registry: Registry,
    refreshes: Family<Refreshed, Counter>,
    refresh_duration: Histogram,
    store_write: Histogram,
    alerts: Family<Alerted, Counter>,
    tokens: Tokens,
    store_failing: Gauge,
    traffic: Arc<Traffic>,
    /// One page at a time, since a page begins with taking the gauges' figures.
    page: Mutex<()>,
}

/// How an exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There is a new pair.
    Renewed,
    /// The same, but the store did not take it yet.
    Unsaved,
    /// The refresh token is dead.
    Dead,
    /// The server refuses until a human acts.
    Refused,
    /// Nobody knows whether it took place.
    Unknown,
    /// It did not take place, and is tried again.
    Failed,
    /// It was not begun: the store cannot be written.
    Store,
}

/// Whether an alert was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// It was.
    Delivered,
    /// It was not, and is tried again.
    Failed,
}

/// What is known of a portal's token at the moment.
#[derive(Clone, Debug)]
pub struct TokenFigures {
    /// The portal's name in the configuration.
    pub portal: String,
    /// The state in a word: one of [`STATES`].
    pub state: &'static str,
    /// The generation in use.
    pub generation: Option<u64>,
    /// When it expires, unix seconds.
    pub expires_at: Option<u64>,
    /// Chains that wait for this one to die.
    pub spares: usize,
    /// Whether the pair in use is not in the store.
    pub unsaved: bool,
}

/// The states that are shown, one gauge each.
pub const STATES: [&str; 5] = ["connected", "suspect", "paused", "dead", "not connected"];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Refreshed {
    portal: String,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Alerted {
    target: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfPortal {
    portal: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InState {
    portal: String,
    state: &'static str,
}

#[derive(Clone, Debug, Default)]
struct Tokens {
    generation: Family<OfPortal, Gauge>,
    expires: Family<OfPortal, Gauge>,
    spares: Family<OfPortal, Gauge>,
    unsaved: Family<OfPortal, Gauge>,
    state: Family<InState, Gauge>,
}

impl Metrics {
    /// An exchange of a portal's refresh token has ended.
    pub fn refreshed(&self, portal: &str, result: Outcome) {
        let result = match result {
            Outcome::Renewed => "renewed",
            Outcome::Unsaved => "unsaved",
            Outcome::Dead => "dead",
            Outcome::Refused => "refused",
            Outcome::Unknown => "unknown",
            Outcome::Failed => "failed",
            Outcome::Store => "store",
        };
        self.refreshes.get_or_create(&Refreshed { portal: portal.to_owned(), result }).inc();
    }

    /// How long it took, from the intent to the commit.
    pub fn refresh_took(&self, time: Duration) {
        self.refresh_duration.observe(time.as_secs_f64());
    }

    /// How long a durable write of it took.
    pub fn store_wrote(&self, time: Duration) {
        self.store_write.observe(time.as_secs_f64());
    }

    /// An alert was taken by a target (`webhook`, `command`), or not.
    pub fn alerted(&self, target: &'static str, result: Delivery) {
        let result = match result {
            Delivery::Delivered => "delivered",
            Delivery::Failed => "failed",
        };
        self.alerts.get_or_create(&Alerted { target, result }).inc();
    }

    /// What the request path counts.
    pub fn traffic(&self) -> &Arc<Traffic> {
        &self.traffic
    }

    /// The page, with the figures of this moment.
    pub fn page(&self, tokens: &[TokenFigures], store_failing: bool) -> String {
        let _alone = self.page.lock().unwrap_or_else(PoisonError::into_inner);
        self.store_failing.set(i64::from(store_failing));
        self.tokens.set(tokens);
        let mut page = String::new();
        // Writing to a String cannot fail.
        encode(&mut page, &self.registry).unwrap_or_default();
        page
    }
}

impl Tokens {
    /// A portal that is gone is shown no more.
    fn set(&self, tokens: &[TokenFigures]) {
        for family in [&self.generation, &self.expires, &self.spares, &self.unsaved] {
            family.clear();
        }
        self.state.clear();
        for token in tokens {
            let portal = OfPortal { portal: token.portal.clone() };
            let set = |family: &Family<OfPortal, Gauge>, value| {
                family.get_or_create(&portal).set(value);
            };
            if let Some(generation) = token.generation {
                set(&self.generation, number(generation));
            }
            if let Some(at) = token.expires_at {
                set(&self.expires, number(at));
            }
            set(&self.spares, i64::try_from(token.spares).unwrap_or(i64::MAX));
            set(&self.unsaved, i64::from(token.unsaved));
            for state in STATES {
                let label = InState { portal: token.portal.clone(), state };
                self.state.get_or_create(&label).set(i64::from(state == token.state));
            }
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("b24gate");
        // From a millisecond to half a minute, and to ten seconds for the disk.
        let refresh_duration = Histogram::new(exponential_buckets(0.001, 2.0, 16));
        let store_write = Histogram::new(exponential_buckets(0.000_25, 2.0, 16));
        let (refreshes, alerts) = (Family::default(), Family::default());
        let tokens = Tokens::default();
        let store_failing = Gauge::default();
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The running program", build);
        registry.register(
            "token_refresh",
            "Exchanges of refresh tokens by their outcome",
            Family::clone(&refreshes),
        );
        registry.register_with_unit(
            "token_refresh_duration",
            "Time of an exchange, from the intent to the commit",
            Unit::Seconds,
            refresh_duration.clone(),
        );
        registry.register_with_unit(
            "store_write",
            "Time of a durable write of an exchange",
            Unit::Seconds,
            store_write.clone(),
        );
        registry.register(
            "store_failing",
            "Whether the last write to the store failed",
            store_failing.clone(),
        );
        registry.register("alerts", "Alerts by target and fate", Family::clone(&alerts));
        let of_portal = [
            ("token_generation", "Rotations of the portal's credential", &tokens.generation),
            (
                "token_expires_timestamp_seconds",
                "When the access token expires, unix time",
                &tokens.expires,
            ),
            ("token_spares", "Chains that wait for the one in use to die", &tokens.spares),
            ("token_unsaved", "Whether the pair in use is not in the store", &tokens.unsaved),
        ];
        for (name, help, family) in of_portal {
            registry.register(name, help, Family::clone(family));
        }
        registry.register("token_state", "The credential's state", tokens.state.clone());
        let traffic = Arc::new(Traffic::default());
        registry.register_collector(Box::new(traffic.clone()));
        Self {
            registry,
            refreshes,
            refresh_duration,
            store_write,
            alerts,
            tokens,
            store_failing,
            traffic,
            page: Mutex::new(()),
        }
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(portal: &str) -> TokenFigures {
        TokenFigures {
            portal: portal.to_owned(),
            state: "dead",
            generation: Some(41),
            expires_at: Some(1_800_000_000),
            spares: 1,
            unsaved: false,
        }
    }

    #[test]
    fn the_page_holds_the_names_that_people_use() {
        let metrics = Metrics::default();
        metrics.refreshed("acme", Outcome::Renewed);
        metrics.refresh_took(Duration::from_millis(20));
        metrics.store_wrote(Duration::from_millis(2));
        metrics.alerted("webhook", Delivery::Failed);
        let page = metrics.page(&[figures("acme")], true);
        for line in [
            concat!("b24gate_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1"),
            "b24gate_token_refresh_total{portal=\"acme\",result=\"renewed\"} 1",
            "b24gate_token_refresh_duration_seconds_count 1",
            "b24gate_store_write_seconds_count 1",
            "b24gate_token_expires_timestamp_seconds{portal=\"acme\"} 1800000000",
            "b24gate_token_generation{portal=\"acme\"} 41",
            "b24gate_token_state{portal=\"acme\",state=\"dead\"} 1",
            "b24gate_token_state{portal=\"acme\",state=\"connected\"} 0",
            "b24gate_token_spares{portal=\"acme\"} 1",
            "b24gate_store_failing 1",
            "b24gate_alerts_total{target=\"webhook\",result=\"failed\"} 1",
            "# EOF",
        ] {
            assert!(page.lines().any(|found| found == line), "no {line} in\n{page}");
        }
    }

    #[test]
    fn a_portal_that_is_gone_is_shown_no_more() {
        let metrics = Metrics::default();
        assert!(metrics.page(&[figures("old")], false).contains("\"old\""));
        assert!(!metrics.page(&[figures("new")], false).contains("\"old\""));
    }
}
