//! Every mistake is told with its file, its line, its key and the mend.

mod alerts;
mod clients;
mod listeners;
mod portals;

use super::super::{Config, ConfigError};
use super::{APP, PORTAL, parse};
use alerts::ALERTS;
use clients::CLIENTS;
use listeners::LISTENERS;
use portals::{APPS, PORTALS, SECTIONS};

/// A configuration, the line and the section to blame, and what must be said about it.
type Row = (&'static str, usize, &'static str, &'static [&'static str]);

fn one_problem(text: &str) -> ConfigError {
    let error = parse(text).expect_err(text);
    assert_eq!(error.problems().len(), 1, "{error}\nin:\n{text}");
    error
}

fn check(prefix: &str, rows: &[Row]) {
    for (text, line, section, said) in rows {
        let error = one_problem(&format!("{prefix}{text}\n"));
        let shown = error.to_string();
        let start = format!("/etc/b24gate/b24gate.toml:{line}: [{section}] ");
        assert!(shown.starts_with(&start), "{shown}\nshould start with {start}\nin:\n{text}");
        for phrase in *said {
            assert!(shown.contains(phrase), "{shown}\nshould say {phrase}\nin:\n{text}");
        }
        assert!(!shown.contains("canary"), "a secret is shown: {shown}");
        assert!(!shown.contains('\n'), "more than one line: {shown}");
        assert_eq!(error.exit_code(), 2);
    }
}

#[test]
fn mistakes_in_the_listeners_and_the_store_are_told_with_line_key_and_mend() {
    check("", LISTENERS);
}

#[test]
fn mistakes_in_alerts_are_told_with_line_key_and_mend() {
    check("", ALERTS);
}

#[test]
fn mistakes_in_section_headers_are_told_with_line_and_mend() {
    check("", SECTIONS);
}

#[test]
fn mistakes_in_portals_are_told_with_line_key_and_mend() {
    check(APP, PORTALS);
}

#[test]
fn mistakes_in_apps_are_told_with_line_key_and_mend() {
    check("", APPS);
}

#[test]
fn mistakes_in_clients_are_told_with_line_key_and_mend() {
    check(&format!("{APP}{PORTAL}"), CLIENTS);
}

#[test]
fn a_client_may_be_of_a_portal_that_will_come_by_itself() {
    let open = APP.replace("[apps.main]", "[apps.main]\naccept_installs = true");
    let config = parse(&format!("{open}[clients.erp]\nportals = [\"new.bitrix24.com\"]\n"));
    let erp = config.unwrap().clients["erp"].clone();
    assert_eq!(erp.portals.as_deref(), Some(&["new.bitrix24.com".to_owned()][..]));
}

#[test]
fn a_problem_names_the_key_it_is_about() {
    let error = one_problem("[gateway]\nmax_wait = \"1h\"\n");
    let problem = &error.problems()[0];
    assert_eq!(problem.key.as_deref(), Some("max_wait"));
    assert_eq!((problem.section.as_deref(), problem.line), (Some("gateway"), Some(2)));
}

#[test]
fn all_problems_are_told_at_once_in_the_order_of_the_file() {
    let error = parse(
        "[portals.acme]\nurll = 1\n[gateway]\nmax_wait = \"x\"\nlisten = [1, \"0.0.0.0:1\"]\n[zzz]\n",
    )
    .unwrap_err();
    let lines: Vec<_> = error.problems().iter().filter_map(|problem| problem.line).collect();
    // No url, no app, an unknown key; a duration; two elements of one list; a section.
    assert_eq!(lines, [1, 1, 2, 4, 5, 5, 6], "{error}");
    assert_eq!(error.to_string().lines().count(), 7);
}

#[test]
fn a_broken_app_is_told_once_and_not_again_by_its_portals() {
    let error = one_problem(&format!("[apps.main]\nclient_id = \"a\"\n{PORTAL}"));
    assert!(error.to_string().contains("client_secret is missing"), "{error}");
}

#[test]
fn syntax_errors_are_told_with_file_and_line_and_without_the_text() {
    for (text, line) in [
        ("[gateway\n", 1),
        ("[gateway]\nlisten = \n", 2),
        ("[apps.main]\nclient_id = \"a\"\nclient_secret = \"S-canary\n", 3),
        ("[apps.main]\nclient_secret = S-canary\n", 2),
        ("[gateway]\nhosts = []\nhosts = []\n", 3),
        ("[gateway]\n[admin]\n[gateway]\n", 3),
        ("a = 1979-99-99\n", 1),
    ] {
        let error = parse(text).expect_err(text);
        let shown = error.to_string();
        let start = format!("/etc/b24gate/b24gate.toml:{line}: not valid TOML: ");
        assert!(shown.starts_with(&start), "{shown}\nshould start with {start}");
        assert!(!shown.contains("canary"), "{shown}");
        assert_eq!(error.exit_code(), 2);
    }
}

#[test]
fn a_key_outside_every_section_is_sent_to_its_section() {
    let shown = one_problem("listen = \"127.0.0.1:1\"\n").to_string();
    assert!(shown.contains(":1: unknown key \"listen\" outside every section"), "{shown}");
    assert!(shown.contains("belongs in [gateway] or [admin] or [callback]"), "{shown}");
    assert!(one_problem("xyzzy = 1\n").to_string().contains("remove it"));
}

#[test]
fn control_characters_in_names_and_values_cannot_forge_a_line() {
    let text =
        "[\"por\\ntals\\u001b[2J\"]\n[gateway]\n\"a\\nb\" = 1\nmax_wait = \"1\\n\\u001b[2J\"\n";
    let shown = parse(text).unwrap_err().to_string();
    assert_eq!(shown.lines().count(), 3, "{shown}");
    assert!(!shown.contains('\u{1b}'), "{shown:?}");
}

#[test]
fn the_table_of_mistakes_is_no_shorter_than_it_was() {
    assert!(LISTENERS.len() + SECTIONS.len() + PORTALS.len() + APPS.len() >= 112);
}

#[test]
fn any_text_is_either_accepted_or_refused_without_a_panic() {
    use proptest::prelude::*;
    let pieces = prop::collection::vec(
        prop_oneof![
            Just("[gateway]\n".to_owned()),
            Just("[apps.main]\n".to_owned()),
            Just("[portals.a]\n".to_owned()),
            "(listen|url|hosts|max_wait|client_secret|app) = \"[ -~]{0,12}\"\n",
            "[a-z]{1,3} = (1|true|\\[\\]|\\{\\}|1.5|2024-01-01)\n",
            "\\PC{0,20}\n",
        ],
        0..12,
    );
    proptest!(ProptestConfig::with_cases(512), |(pieces in pieces)| {
        let text = pieces.concat();
        if let Err(error) = Config::parse(&text, std::path::Path::new("b24gate.toml")) {
            prop_assert!(!error.problems().is_empty(), "refused without a reason: {text}");
        }
    });
}
