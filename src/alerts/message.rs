//! What people are told, as JSON and in the log: for somebody who has just been woken up and has
//! never heard of this program. It is made of our own words and of error codes, so that no token, no
//! secret and no text of a server can be in it.

use tracing::field::display;

use super::subject::{Condition, Subject};
use super::watch::{Change, Fact};
use crate::portal::UNINSTALLED;

/// An alert as it is delivered.
pub(super) fn json(change: &Change, admin_url: &str) -> String {
    let Change { subject, previous, fact } = change;
    serde_json::json!({
        "gateway": "b24gate",
        "version": env!("CARGO_PKG_VERSION"),
        "subject": subject.word(),
        "portal": subject.portal(),
        "condition": fact.condition.word(),
        "previous": previous.word(),
        "code": fact.code,
        "since": rfc3339(fact.since),
        "message": sentence(subject, fact),
        "admin_url": admin_url,
    })
    .to_string()
}

/// A change in the log, whether or not there is anybody to alert.
pub(super) fn log(change: &Change) {
    let Change { subject, previous, fact } = change;
    let (was, condition) = (previous.word(), fact.condition.word());
    let (portal, code) = (subject.portal().map(display), fact.code.as_deref().map(display));
    let (subject, what) = (subject.word(), sentence(subject, fact));
    match fact.condition {
        Condition::Dead | Condition::Failing => {
            tracing::error!(%subject, portal, %condition, %was, code, %what, "alert");
        }
        Condition::Paused | Condition::Suspect => {
            tracing::warn!(%subject, portal, %condition, %was, code, %what, "alert");
        }
        Condition::Connected | Condition::Ok => {
            tracing::info!(%subject, portal, %condition, %was, code, %what, "alert");
        }
    }
}

/// What has happened and what to do about it.
fn sentence(subject: &Subject, fact: &Fact) -> String {
    let portal = subject.portal().unwrap_or_default();
    let code = fact.code.as_deref().unwrap_or_default();
    match fact.condition {
        Condition::Connected => format!("Portal {portal} is connected again; nothing to do."),
        Condition::Suspect => format!(
            "Portal {portal} is in doubt: for ten minutes no answer of the OAuth server has said \
             whether the last renewal of its token happened; check that this machine reaches that \
             server, the gateway keeps asking and loses nothing."
        ),
        Condition::Paused => format!("Portal {portal} is paused ({code}): {}.", refusal(code)),
        Condition::Dead if code == UNINSTALLED => format!(
            "Portal {portal} is dead ({code}): the application was removed in the portal, and calls \
             are refused; install it there again, its tokens are kept until then."
        ),
        Condition::Dead if is_of_webhook(code) => format!(
            "Portal {portal} is dead ({code}): Bitrix24 does not take its incoming webhook any more, \
             and its calls fail; make a new one there, and put its URL where the configuration \
             names it."
        ),
        Condition::Dead => format!(
            "Portal {portal} is dead ({code}): {}, and its calls fail once the last access token has \
             expired; connect it again on the status page, or with `b24gate portal connect \
             {portal}` on the gateway's machine.",
            end(code)
        ),
        Condition::Ok => "The store takes new tokens again; nothing to do.".to_owned(),
        Condition::Failing => {
            "The store cannot be written: no token is renewed before it can, and one that was renewed \
             may lie in the gateway's memory only; free disk space or mend the disk under the state \
             directory, and do not kill or restart the gateway before."
                .to_owned()
        }
    }
}

/// Codes by which a portal refuses a webhook; a token has others.
fn is_of_webhook(code: &str) -> bool {
    ["invalid_credentials", "authorization_error"].iter().any(|it| code.eq_ignore_ascii_case(it))
}

/// Why a portal is dead.
fn end(code: &str) -> &'static str {
    if code.eq_ignore_ascii_case("not_installed") {
        "the application is no longer installed there"
    } else {
        "Bitrix24 does not take its refresh token any more"
    }
}

/// Why a portal is paused, and what to do.
fn refusal(code: &str) -> &'static str {
    match code.to_ascii_lowercase().as_str() {
        "payment_required" => {
            "Bitrix24 wants the portal's plan or the application's subscription to be paid; pay, and \
             it goes on by itself within ten minutes of calls, its token is kept"
        }
        "invalid_client" | "wrong_client" => {
            "the OAuth server does not take the application's client_id and client_secret; correct \
             them in the configuration and send the gateway SIGHUP, its token is kept"
        }
        "member_id_mismatch" => {
            "the OAuth server answered with the tokens of another portal, which were not used; check \
             that url and app of this portal belong together in the configuration"
        }
        _ => {
            "the OAuth server refuses to renew its token for now; the token is kept and tried again, \
             look at the gateway's log and at the portal's application settings"
        }
    }
}

/// Unix seconds as `2026-11-22T03:00:00Z`.
fn rfc3339(unix: u64) -> String {
    let (days, second) = (unix / 86_400, unix % 86_400);
    // Years that begin in March have their odd day at the end; see Hinnant, days from civil.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(subject: &Subject, condition: Condition, code: Option<&str>) -> String {
        let fact = Fact { condition, code: code.map(str::to_owned), since: 0 };
        sentence(subject, &fact)
    }

    #[test]
    fn moments_are_written_as_rfc_3339_says() {
        for (unix, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_709_164_800, "2024-02-29T00:00:00Z"),
            (1_735_689_599, "2024-12-31T23:59:59Z"),
            (1_735_689_600, "2025-01-01T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(unix), text);
        }
    }

    #[test]
    fn an_alert_has_every_field_also_where_there_is_nothing_to_say() {
        let fact = Fact { condition: Condition::Failing, code: None, since: 1_795_381_200 };
        let change = Change { subject: Subject::Store, previous: Condition::Ok, fact };
        let json: serde_json::Value =
            serde_json::from_str(&json(&change, "http://127.0.0.1:8025/")).unwrap();
        let message = json["message"].as_str().unwrap();
        assert!(message.contains("do not kill or restart"), "{message}");
        assert_eq!(
            json,
            serde_json::json!({
                "gateway": "b24gate", "version": env!("CARGO_PKG_VERSION"), "subject": "store",
                "portal": null, "condition": "failing", "previous": "ok", "code": null,
                "since": "2026-11-22T21:00:00Z", "message": message,
                "admin_url": "http://127.0.0.1:8025/",
            })
        );
    }

    #[test]
    fn every_message_is_one_sentence_that_names_its_portal_and_says_what_to_do() {
        let acme = Subject::Portal("acme".to_owned());
        for (condition, code, said) in [
            (Condition::Dead, Some("invalid_grant"), "`b24gate portal connect acme`"),
            (Condition::Dead, Some("INVALID_CREDENTIALS"), "make a new one there"),
            (Condition::Dead, Some("NOT_INSTALLED"), "no longer installed"),
            (Condition::Dead, Some("uninstalled"), "calls are refused; install it there again"),
            (Condition::Paused, Some("PAYMENT_REQUIRED"), "pay, and it goes on by itself"),
            (Condition::Paused, Some("invalid_client"), "correct them in the configuration"),
            (Condition::Paused, Some("wrong_client"), "client_secret"),
            (Condition::Paused, Some("member_id_mismatch"), "url and app"),
            (Condition::Paused, Some("UNHEARD_OF"), "(UNHEARD_OF)"),
            (Condition::Suspect, None, "check that this machine reaches"),
            (Condition::Connected, None, "nothing to do"),
        ] {
            let text = told(&acme, condition, code);
            assert!(text.contains(said), "{text}");
            assert!(text.starts_with("Portal acme is ") && text.ends_with('.'), "{text}");
            assert_eq!(text.matches(". ").count(), 0, "{text}");
            assert!(!text.contains("  ") && !text.contains('\n'), "{text}");
        }
        for condition in [Condition::Ok, Condition::Failing] {
            let text = told(&Subject::Store, condition, None);
            assert!(text.starts_with("The store ") && text.ends_with('.'), "{text}");
        }
    }
}
