//! The file as sections of spanned values: who asks for a key gets its value or its default, and
//! whatever nobody may ask for is reported with its line and what was probably meant.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{self, Key, Section, Support};
use super::problem::{Fault, Problem};
use super::values::echo;

/// Collects what is wrong while the sections are read.
#[derive(Debug)]
pub(super) struct Findings<'a> {
    file: Option<&'a Path>,
    text: &'a str,
    problems: Vec<Problem>,
    /// The key of a secret that stands in the file itself, so that its permissions matter.
    pub(super) holds_secret: Option<&'static str>,
    /// The keys by which secrets came from the environment, with their sections.
    pub(super) environment: Vec<String>,
}

/// Where something stands in the file.
#[derive(Clone, Debug, Default)]
pub(super) struct Place {
    section: Option<String>,
    key: Option<&'static str>,
    /// Bytes from the start of the file.
    offset: Option<usize>,
}

/// What is wrong with one value: usually one thing, several in a list.
#[derive(Debug)]
pub(super) struct Flaws(Vec<Flaw>);

#[derive(Debug)]
struct Flaw {
    text: String,
    fault: Fault,
    /// Where, when it is not where the value begins.
    offset: Option<usize>,
}

/// The problem is in the findings already; nothing more can be made of this value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reported;

/// One section of the file: `[gateway]`, `[portals.acme]`.
#[derive(Debug)]
pub(super) struct Table<'i> {
    kind: &'static Section,
    title: String,
    offset: Option<usize>,
    /// Where each key stands.
    offsets: BTreeMap<String, usize>,
    values: DeTable<'i>,
}

// === impl Findings ===

impl<'a> Findings<'a> {
    pub(super) fn new(file: Option<&'a Path>, text: &'a str) -> Self {
        Self { file, text, problems: Vec::new(), holds_secret: None, environment: Vec::new() }
    }

    pub(super) fn report(&mut self, place: &Place, text: impl Into<String>) {
        self.push(place, Fault::Invalid, text.into());
    }

    /// What relative paths are relative to: the folder of the file they stand in.
    pub(super) fn base(&self) -> PathBuf {
        self.file.and_then(Path::parent).map(Path::to_owned).unwrap_or_default()
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    pub(super) fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    fn push(&mut self, place: &Place, fault: Fault, text: String) {
        self.problems.push(Problem {
            file: self.file.map(Path::to_owned),
            line: place.offset.map(|offset| line(self.text, offset)),
            section: place.section.clone(),
            key: place.key.map(str::to_owned),
            fault,
            text,
        });
    }
}

// === impl Place ===

impl Place {
    pub(super) fn section(title: &str, offset: usize) -> Self {
        Self { section: Some(title.to_owned()), key: None, offset: Some(offset) }
    }

    pub(super) fn root(offset: Option<usize>) -> Self {
        Self { section: None, key: None, offset }
    }
}

// === impl Flaws ===

impl Flaws {
    /// A file of secrets that others can read.
    pub(super) fn unsafe_file(text: String) -> Self {
        Self(vec![Flaw { text, fault: Fault::UnsafeFile, offset: None }])
    }

    /// The same flaws, told where the element of a list begins.
    pub(super) fn at(mut self, offset: usize) -> Self {
        for flaw in &mut self.0 {
            flaw.offset.get_or_insert(offset);
        }
        self
    }

    pub(super) fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    pub(super) fn none() -> Self {
        Self(Vec::new())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<String> for Flaws {
    fn from(text: String) -> Self {
        Self(vec![Flaw { text, fault: Fault::Invalid, offset: None }])
    }
}

impl From<&str> for Flaws {
    fn from(text: &str) -> Self {
        Self::from(text.to_owned())
    }
}

// === impl Table ===

impl<'i> Table<'i> {
    pub(super) fn new(
        kind: &'static Section,
        title: String,
        offset: Option<usize>,
        values: DeTable<'i>,
    ) -> Self {
        let offsets =
            values.iter().map(|(key, _)| (key.get_ref().to_string(), key.span().start)).collect();
        Self { kind, title, offset, offsets, values }
    }

    /// The value of a key that has one, given or by default.
    pub(super) fn required<T>(
        &mut self,
        findings: &mut Findings<'_>,
        name: &'static str,
        read: impl FnOnce(&Spanned<DeValue<'_>>) -> Result<T, Flaws>,
    ) -> Result<T, Reported> {
        if let Some(value) = self.optional(findings, name, read)? {
            return Ok(value);
        }
        let place = Place { section: Some(self.title.clone()), key: None, offset: self.offset };
        findings.report(&Place { key: Some(name), ..place }, format!("{name} is missing"));
        Err(Reported)
    }

    /// The value of a key, its default, or nothing.
    pub(super) fn optional<T>(
        &mut self,
        findings: &mut Findings<'_>,
        name: &'static str,
        read: impl FnOnce(&Spanned<DeValue<'_>>) -> Result<T, Flaws>,
    ) -> Result<Option<T>, Reported> {
        let outcome = if let Some(value) = self.values.remove(name) {
            read(&value).map_err(|flaws| (flaws, Some(value.span().start)))
        } else {
            let Some(default) = self.kind.key(name).and_then(|key| key.default) else {
                return Ok(None);
            };
            let value = DeValue::parse(default).map_err(|error| Flaws::from(error.message()));
            value.and_then(|value| read(&value)).map_err(|flaws| (flaws, None))
        };
        outcome.map(Some).map_err(|(flaws, start)| {
            for flaw in flaws.0 {
                let offset = start.map(|start| flaw.offset.unwrap_or(start)).or(self.offset);
                let place = Place { section: Some(self.title.clone()), key: Some(name), offset };
                findings.push(&place, flaw.fault, format!("{name}: {}", flaw.text));
            }
            Reported
        })
    }

    /// Where a key stands, or its section when it was left out.
    pub(super) fn place(&self, key: &'static str) -> Place {
        let offset = self.offsets.get(key).copied().or(self.offset);
        Place { section: Some(self.title.clone()), key: Some(key), offset }
    }

    /// A key with its section, for people: `apps.main: client_secret_env`.
    pub(super) fn name_of(&self, key: &str) -> String {
        format!("{}: {key}", self.title)
    }

    /// Whether the file gives this key.
    pub(super) fn gives(&self, key: &str) -> bool {
        self.offsets.contains_key(key)
    }

    /// Reports every key that nobody asked for.
    pub(super) fn finish(self, findings: &mut Findings<'_>) {
        for (name, value) in &self.values {
            let name_text: &str = name.get_ref();
            let text = match self.kind.key(name_text) {
                Some(Key { support: Support::DefaultOnly, default: Some(default), .. }) => {
                    refuse_unless_default(name_text, value.get_ref(), default)
                }
                _ => Some(unknown_key(self.kind, name_text)),
            };
            if let Some(text) = text {
                let key = self.kind.key(name_text).map(|key| key.name);
                let offset = Some(name.span().start);
                findings.report(&Place { section: Some(self.title.clone()), key, offset }, text);
            }
        }
    }
}

/// Whether `value` is the only one that this version knows.
fn refuse_unless_default(name: &str, value: &DeValue<'_>, default: &str) -> Option<String> {
    let same = match value {
        DeValue::Boolean(given) => given.to_string() == default,
        DeValue::String(given) => given.as_ref() == default.trim_matches('"'),
        _ => false,
    };
    (!same).then(|| {
        format!("{name} other than {default} is not supported by this version; leave it out")
    })
}

/// What to say about a key that the section does not have.
fn unknown_key(section: &Section, name: &str) -> String {
    let unknown = format!("unknown key {}", echo(name));
    let homes = homes(name);
    if !homes.is_empty() && section.key(name).is_none() {
        return format!("{unknown}; it belongs in {homes}");
    }
    if let Some(near) = nearest(name, section.usable().map(|key| key.name)) {
        return format!("{unknown}; did you mean {near:?}?");
    }
    let all: Vec<_> = section.usable().map(|key| key.name).collect();
    format!("{unknown}; the keys of {} are {}", section.header(), all.join(", "))
}

/// The sections that have a key of this name, for people.
pub(super) fn homes(name: &str) -> String {
    let has = |section: &&&Section| section.usable().any(|key| key.name == name);
    let headers: Vec<_> =
        keys::SECTIONS.iter().filter(has).map(|section| section.header()).collect();
    headers.join(" or ")
}

/// The candidate that was probably meant, if any is near enough to suggest.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let word: Cow<'_, str> = word.to_ascii_lowercase().replace('-', "_").into();
    candidates
        .map(|candidate| {
            let likeness = strsim::normalized_damerau_levenshtein(&word, candidate);
            // `secret` is far from `client_secret` by edits, and yet plainly meant.
            let part = word.len() >= 4 && candidate.contains(word.as_ref());
            (if part { likeness.max(LIKENESS_MIN) } else { likeness }, candidate)
        })
        .filter(|(likeness, _)| *likeness >= LIKENESS_MIN)
        .max_by(|(a, _), (b, _)| a.total_cmp(b))
        .map(|(_, candidate)| candidate)
}

/// The line of a byte, from 1.
pub(super) fn line(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

/// Half of the letters right is a typing error; less is another word.
const LIKENESS_MIN: f64 = 0.5;
