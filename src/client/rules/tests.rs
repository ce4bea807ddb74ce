//! Patterns against a reader that tries everything; what reads, and what only sounds so.

use proptest::prelude::*;

use super::*;

fn rules(methods: &[&str], read_only: bool) -> Rules {
    let methods: Vec<_> = methods.iter().map(|&pattern| pattern.to_owned()).collect();
    Rules::new(&methods, read_only)
}

/// Every way in which a star could take letters.
fn oracle(pattern: &[u8], text: &[u8]) -> bool {
    match pattern.split_first() {
        None => text.is_empty(),
        Some((b'*', after)) => (0..=text.len()).any(|taken| oracle(after, &text[taken..])),
        Some((wanted, after)) => text.first() == Some(wanted) && oracle(after, &text[1..]),
    }
}

proptest! {
    #[test]
    fn a_pattern_matches_what_some_reading_of_its_stars_gives(
        pattern in "[ab.*]{0,9}",
        text in "[ab.]{0,9}",
    ) {
        let (pattern, text) = (pattern.as_bytes(), text.as_bytes());
        prop_assert_eq!(matches(pattern, text), oracle(pattern, text));
    }
}

#[test]
fn what_is_forbidden_stays_forbidden_whatever_else_is_allowed() {
    let rules = rules(&["crm.*", "User.Get", "!*.delete", "!crm.lead.*"], false);
    for method in ["crm.deal.list", "CRM.Deal.ADD", "user.get", "USER.GET", "crm."] {
        assert!(rules.permit(method.as_bytes()), "{method}");
    }
    for method in [
        "crm.deal.delete",
        "crm.deal.DELETE",
        "crm.lead.list",
        "user.getx",
        "xuser.get",
        "tasks.task.list",
        "crm",
        "",
    ] {
        assert!(!rules.permit(method.as_bytes()), "{method}");
    }
}

#[test]
fn without_an_allowing_pattern_everything_else_is_allowed() {
    let only_denied = rules(&["!*.delete"], false);
    assert!(only_denied.permit(b"anything.at.all"));
    assert!(!only_denied.permit(b"a.delete"));
    assert!(!only_denied.allow_all());
    assert!(rules(&[], false).allow_all());
    assert!(!rules(&[], true).allow_all());
    assert!(!rules(&["*"], false).allow_all());
}

#[test]
fn a_batch_needs_no_permission_and_can_be_forbidden() {
    assert!(rules(&["crm.*"], true).permit_batch());
    for pattern in ["!batch", "!BAT*", "!*"] {
        assert!(!rules(&[pattern], false).permit_batch(), "{pattern}");
    }
}

#[test]
fn read_only_lets_through_what_is_known_to_read_and_nothing_else() {
    let rules = rules(&[], true);
    for method in [
        "crm.deal.list",
        "crm.deal.Get",
        "tasks.task.getFields",
        "user.current",
        "profile",
        "catalog.product.list",
        "disk.folder.getchildren",
        "tasks.flow.Flow.get",
        "calendar.event.get",
        "download",
    ] {
        assert!(rules.permit(method.as_bytes()), "{method}");
    }
    for method in [
        "crm.deal.add",
        "crm.deal.update",
        "crm.deal.delete",
        "event.offline.get",
        "Event.Offline.GET",
        "im.disk.folder.get",
        "imbot.v2.Event.get",
        "pull.config.get",
        "disk.file.getexternallink",
        "disk.storage.getforapp",
        "entity.rights",
        "upload",
        "get",
        "list",
        "search",
        "crm.deal.list.json",
        "crm.budget",
        "crm.widget",
        "im.notify",
        "batch",
        "something.new",
        "",
        ".",
    ] {
        assert!(!rules.permit(method.as_bytes()), "{method}");
    }
}

#[test]
fn read_only_and_patterns_both_have_to_agree() {
    let rules = rules(&["crm.*", "!crm.lead.*"], true);
    assert!(rules.permit(b"crm.deal.list"));
    for method in ["crm.deal.add", "crm.lead.list", "user.get"] {
        assert!(!rules.permit(method.as_bytes()), "{method}");
    }
}

#[test]
fn only_the_suffix_of_the_answer_is_no_part_of_a_method() {
    for (method, bare) in [
        ("crm.deal.list", "crm.deal.list"),
        ("crm.deal.list.json", "crm.deal.list"),
        ("crm.deal.list.XML", "crm.deal.list"),
        ("a.json.json", "a.json"),
        ("json", "json"),
        (".json", ".json"),
        ("a.jsonx", "a.jsonx"),
    ] {
        assert_eq!(Rules::bare(method.as_bytes()), bare.as_bytes(), "{method}");
    }
}

#[test]
fn what_reads_is_documented_word_by_word() {
    let text = include_str!("../../../docs/clients.md");
    for name in [reads::WORDS, reads::METHODS, reads::EXCEPT].concat() {
        let name = format!("`{}`", std::str::from_utf8(name).unwrap());
        assert!(text.contains(&name), "{name} is not in docs/clients.md");
    }
}
