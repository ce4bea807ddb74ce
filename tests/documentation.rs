//! What the documentation says of errors is what the program answers.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails loudly")]

use std::collections::BTreeSet;

use b24gate::error::Kind;

const TEXT: &str = include_str!("../docs/errors.md");

/// A row of the tables: code, status, whether the call has run.
type Row = (String, u16, String);

#[test]
fn every_error_of_the_gateway_is_documented_with_its_status_and_whether_the_call_has_run() {
    let documented: BTreeSet<Row> = rows().into_iter().collect();
    let answered: BTreeSet<Row> = Kind::ALL
        .into_iter()
        .map(|kind| (kind.code().to_owned(), kind.status().0, kind.executed().as_str().to_owned()))
        .collect();
    let missing: Vec<_> = answered.difference(&documented).collect();
    let unknown: Vec<_> = documented.difference(&answered).collect();
    assert!(missing.is_empty(), "not in docs/errors.md: {missing:?}");
    assert!(unknown.is_empty(), "docs/errors.md describes what is never answered: {unknown:?}");
}

#[test]
fn no_error_is_documented_twice() {
    let rows = rows();
    let codes: BTreeSet<_> = rows.iter().map(|(code, ..)| code).collect();
    assert_eq!(codes.len(), rows.len());
}

fn rows() -> Vec<Row> {
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().to_owned()).collect::<Vec<_>>();
    let row = |line: &str| match cells(line).as_slice() {
        [_, code, status, executed, _, _, _] if code.starts_with('`') => {
            let status = status.split(',').next().unwrap().parse().unwrap();
            Some((code.trim_matches('`').to_owned(), status, executed.clone()))
        }
        _ => None,
    };
    TEXT.lines().filter_map(row).collect()
}

#[test]
fn no_error_is_left_out_of_the_list_of_all() {
    let source = include_str!("../src/error.rs");
    let coded = source.split("pub fn code").nth(1).unwrap().split("pub fn ").next().unwrap();
    let codes = coded.lines().filter(|line| line.contains("=> \"")).count();
    assert_eq!(codes, Kind::ALL.len());
}
