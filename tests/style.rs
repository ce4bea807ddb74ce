//! What every file of the program keeps to, beyond what the compiler and clippy hold.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a test fails loudly"
)]

use std::fs;
use std::path::{Path, PathBuf};

const FILE_LINES_MAX: usize = 400;
const FUNCTION_LINES_MAX: usize = 70;

#[test]
fn no_file_is_longer_than_a_reader_keeps_in_mind() {
    for (file, text) in files() {
        let lines = text.lines().count();
        assert!(lines <= FILE_LINES_MAX, "{}: {lines} lines", file.display());
    }
}

#[test]
fn no_function_is_longer_than_a_screen() {
    let mut seen = 0;
    for (file, text) in files() {
        for (line, length) in functions(&text) {
            seen += 1;
            let place = format!("{}:{line}", file.display());
            assert!(length <= FUNCTION_LINES_MAX, "{place}: a function of {length} lines");
        }
    }
    assert!(seen > 500, "the count of functions has broken: {seen}");
}

#[test]
fn sources_are_ascii() {
    for (file, text) in files() {
        let strange = text.lines().position(|line| !line.is_ascii());
        let line = strange.map_or(0, |index| index + 1);
        assert!(strange.is_none(), "{}:{line}: write \\u{{...}}", file.display());
    }
}

#[test]
fn nothing_is_left_for_later() {
    for (file, text) in files() {
        for mark in [concat!("TO", "DO"), concat!("FIX", "ME")] {
            assert!(!text.contains(mark), "{}: {mark}", file.display());
        }
    }
}

#[test]
fn the_program_does_not_unwrap() {
    for (file, text) in files() {
        let is_test = file.iter().any(|part| part == "tests" || part == "tests.rs");
        if is_test || !file.starts_with("src") {
            continue;
        }
        let program = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        for (index, line) in program.lines().enumerate() {
            let unwraps = line.contains(concat!(".unwrap", "()"));
            assert!(
                !unwraps || line.trim_start().starts_with("//"),
                "{}:{}: {}",
                file.display(),
                index + 1,
                line.trim()
            );
        }
    }
}

#[test]
fn functions_are_measured_from_their_first_line_to_their_last() {
    let text = "impl A {\n    pub(crate) async fn a(\n        b: u8,\n    ) {\n        if b {\n        }\n    \
                }\n    fn c();\n    fn d() {}\n}\nconst fn e() {\n}\n";
    assert_eq!(functions(text), [(2, 6), (9, 1), (11, 2)]);
}

/// The first line of every function with a body, and its length. The formatter puts the closing
/// brace where the function begins, so nothing has to be parsed.
fn functions(text: &str) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let is_start = code.split(' ').take(6).any(|word| word == "fn")
            && code.split("fn ").next().unwrap().split(' ').all(|word| {
                ["", "const", "async", "unsafe", "extern"].contains(&word)
                    || word.starts_with("pub")
                    || word.starts_with("super)")
            });
        if !is_start {
            continue;
        }
        if line.ends_with("{}") || (line.contains('{') && line.ends_with('}')) {
            found.push((start + 1, 1));
            continue;
        }
        let indent = &line[..line.len() - code.len()];
        // A semicolon at this depth ends a declaration without a body.
        let is_end = |line: &&str| {
            let rest = line.strip_prefix(indent).filter(|rest| !rest.starts_with(' '));
            rest.is_some_and(|rest| rest == "}" || rest.ends_with(';'))
        };
        let end = lines[start..].iter().position(is_end).unwrap();
        if lines[start + end].ends_with('}') {
            found.push((start + 1, end + 1));
        }
    }
    found
}

/// Every Rust file of the repository, with its text.
fn files() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<_> = ["src", "tests", "benches"].map(|name| root.join(name)).into();
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root).unwrap().to_owned(), text));
            }
        }
    }
    assert!(found.len() > 50, "the sources are not where they were");
    found
}
