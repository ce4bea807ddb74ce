//! Times, states and codes in words that help somebody who sees them for the first time.

use std::cmp::Ordering;
use std::time::Duration;

use serde::Serialize;

use crate::credential::utc;
use crate::views::PortalView;

/// A moment, for people and for the page's countdown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Moment {
    /// Unix seconds.
    pub(super) at: u64,
    /// The same as people and browsers read it.
    pub(super) utc: String,
    /// How far away it is.
    pub(super) words: String,
}

impl Moment {
    pub(super) fn new(at: u64, now: u64) -> Self {
        let words = match at.cmp(&now) {
            Ordering::Greater => format!("in {}", span(at - now)),
            Ordering::Equal => "now".to_owned(),
            Ordering::Less => format!("{} ago", span(now - at)),
        };
        Self { at, utc: utc(at), words }
    }
}

/// The two largest units, as the page's script says them too.
pub(super) fn span(seconds: u64) -> String {
    let (days, hours) = (seconds / 86_400, seconds / 3_600 % 24);
    let (minutes, rest) = (seconds / 60 % 60, seconds % 60);
    match (days, hours, minutes) {
        (1.., ..) => format!("{days} d {hours} h"),
        (0, 1.., _) => format!("{hours} h {minutes} min"),
        (0, 0, 1..) => format!("{minutes} min {rest} s"),
        (0, 0, 0) => format!("{rest} s"),
    }
}

/// How long this process has been running.
pub(super) fn uptime(time: Duration) -> String {
    span(time.as_secs())
}

/// How a state looks: the colour of a card. The word stands beside it.
pub(super) fn tone(view: &PortalView) -> &'static str {
    if view.disabled {
        return "idle";
    }
    match view.state.as_str() {
        "connected" => "good",
        "refreshing" => "busy",
        "suspect" | "paused" => "warn",
        "dead" => "bad",
        _ => "idle",
    }
}

/// The state in the word that is shown: one that the operator decided is called as it is.
pub(super) fn state(view: &PortalView) -> String {
    if view.disabled { "disabled".to_owned() } else { view.state.clone() }
}

/// What a state means and what to do about it, where there is something to do.
pub(super) fn advice(view: &PortalView) -> Option<&'static str> {
    let code = view.code.as_deref().unwrap_or_default().to_ascii_lowercase();
    if view.unsaved {
        return Some(
            "A renewed token is not stored yet: do not stop the gateway before the disk or the \
             database is mended.",
        );
    }
    match (view.state.as_str(), code.as_str()) {
        ("connected" | "refreshing", _) => None,
        (_, "disabled") => {
            Some("You took it out of service: calls are refused until you enable it.")
        }
        (_, "uninstalled" | "not_installed") => Some(
            "The application was removed in the portal. Install it there again, then connect if it \
             does not come back by itself.",
        ),
        (_, "payment_required") => Some(
            "Bitrix24 wants the portal's plan or the application's subscription to be paid. After \
             that it goes on by itself; the token is kept.",
        ),
        (_, "wrong_client" | "invalid_client") => Some(
            "The OAuth server does not take the application's client_id and client_secret. Correct \
             them in the configuration and send the gateway SIGHUP; the token is kept.",
        ),
        (_, "member_id_mismatch") => Some(
            "The OAuth server answered with another portal's tokens, which were not used. Check that \
             url and app of this portal belong together.",
        ),
        ("suspect", _) => Some(
            "The last renewal of its token was cut short; it is tried again by itself. Check that \
             this machine reaches the OAuth server.",
        ),
        ("paused", _) => Some(
            "The OAuth server refuses to renew its token for now; the token is kept and tried again.",
        ),
        ("dead", _) => Some(
            "Bitrix24 does not take its refresh token any more: calls fail once the access token has \
             expired. Connect it again.",
        ),
        _ if view.last_error.is_some() => {
            Some("The stored credential cannot be used; connect it again.")
        }
        _ => Some("It has no token yet. Connect it with a browser that is logged in there."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_told_in_its_two_largest_units() {
        for (seconds, words) in [
            (0, "0 s"),
            (59, "59 s"),
            (60, "1 min 0 s"),
            (3_599, "59 min 59 s"),
            (3_600, "1 h 0 min"),
            (7_261, "2 h 1 min"),
            (86_340, "23 h 59 min"),
            (90_000, "1 d 1 h"),
        ] {
            assert_eq!(span(seconds), words);
        }
    }

    #[test]
    fn a_moment_is_ahead_or_past() {
        assert_eq!(Moment::new(160, 100).words, "in 1 min 0 s");
        assert_eq!(Moment::new(100, 100).words, "now");
        assert_eq!(Moment::new(40, 100).words, "1 min 0 s ago");
        assert_eq!(Moment::new(0, 0).utc, "1970-01-01T00:00:00Z");
    }

    #[test]
    fn every_state_but_a_good_one_comes_with_advice() {
        let view = |state: &str, code: Option<&str>| PortalView {
            state: state.to_owned(),
            code: code.map(str::to_owned),
            ..PortalView::default()
        };
        for state in ["connected", "refreshing"] {
            assert_eq!(advice(&view(state, None)), None, "{state}");
        }
        for (state, code, said) in [
            ("suspect", None, "cut short"),
            ("paused", Some("PAYMENT_REQUIRED"), "paid"),
            ("paused", Some("wrong_client"), "client_secret"),
            ("paused", Some("disabled"), "enable"),
            ("paused", Some("anything"), "kept"),
            ("dead", Some("uninstalled"), "Install it"),
            ("dead", Some("invalid_grant"), "Connect it again"),
            ("not connected", None, "no token yet"),
        ] {
            let advice = advice(&view(state, code)).unwrap();
            assert!(advice.contains(said), "{state} {code:?}: {advice}");
        }
    }
}
