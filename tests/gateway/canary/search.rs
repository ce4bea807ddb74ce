//! Finds a secret in any bytes, also when something has encoded or turned it on the way.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use super::Run;

/// One secret in all its disguises.
#[derive(Debug)]
pub(super) struct Needle {
    /// What the secret is, for the report.
    pub(super) what: String,
    forms: Vec<(&'static str, Vec<u8>)>,
}

impl Needle {
    pub(super) fn of(what: impl Into<String>, secret: &str) -> Self {
        let each = |write| each_byte(secret, write);
        let url: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        let mut forms = vec![
            ("raw", secret.to_owned()),
            ("url-encoded", url),
            ("url-encoded, every byte", each(|text, byte| write!(text, "%{byte:02X}").unwrap())),
            ("hex", each(|text, byte| write!(text, "{byte:02x}").unwrap())),
            ("JSON escapes", each(|text, byte| write!(text, "\\u{byte:04x}").unwrap())),
            ("reversed", secret.chars().rev().collect()),
        ];
        // What stands before a secret decides where its first bit falls among the six.
        for before in 0..3 {
            forms.push(("base64", base64_core(secret.as_bytes(), before)));
        }
        let forms = forms.into_iter().map(|(name, text)| (name, text.to_lowercase().into_bytes()));
        Self { what: what.into(), forms: forms.collect() }
    }

    /// In which disguise it is in `hay`, whatever the case of letters.
    pub(super) fn found_in(&self, hay: &Hay) -> Option<&'static str> {
        let found = |(name, form): &&(&'static str, Vec<u8>)| {
            let bytes = if *name == "base64" { &hay.base64 } else { &hay.lower };
            memchr::memmem::find(bytes, form).is_some()
        };
        self.forms.iter().find(found).map(|(name, _)| *name)
    }
}

/// Bytes to be searched, and where they come from.
#[derive(Debug)]
pub(super) struct Hay {
    pub(super) from: String,
    lower: Vec<u8>,
    base64: Vec<u8>,
}

impl Hay {
    pub(super) fn new(from: impl Into<String>, bytes: &[u8]) -> Self {
        let lower = bytes.to_ascii_lowercase();
        // The alphabet for URLs is searched as the common one.
        let common = |byte: &u8| match byte {
            b'_' => b'/',
            b'-' => b'+',
            other => *other,
        };
        let base64 = lower.iter().map(common).collect();
        Self { from: from.into(), lower, base64 }
    }
}

fn each_byte(secret: &str, write: fn(&mut String, u8)) -> String {
    let mut text = String::new();
    secret.bytes().for_each(|byte| write(&mut text, byte));
    text
}

/// The characters of the base64 of `secret`, behind `before` other bytes, that depend on nothing
/// but the secret.
fn base64_core(secret: &[u8], before: usize) -> String {
    let padded = [&vec![0; before], secret].concat();
    let first = (before * 8).div_ceil(6);
    let last = padded.len() * 8 / 6;
    base64(&padded).get(first..last).unwrap().to_owned()
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |number: u32| char::from(ALPHABET[(number & 63) as usize]);
    let mut text = String::new();
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        text.extend([bits >> 18, bits >> 12, bits >> 6, bits].map(digit));
    }
    text
}

#[test]
fn a_planted_secret_is_found_in_every_disguise_and_at_every_place() {
    for secret in ["S-canary+/=&~secret", "0123456789abcdef0123456789abcdef"] {
        let needle = Needle::of("it", secret);
        let reversed: String = secret.chars().rev().collect();
        let hex = each_byte(secret, |text, byte| write!(text, "{byte:02X}").unwrap());
        let bytes = each_byte(secret, |text, byte| write!(text, "%{byte:02x}").unwrap());
        let escaped = each_byte(secret, |text, byte| write!(text, "\\u{byte:04X}").unwrap());
        let url: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        for before in 0..8 {
            let noise = "x".repeat(before);
            let packed = base64(format!("{noise}{secret}{noise}").as_bytes());
            let for_urls = packed.replace('+', "-").replace('/', "_");
            for planted in [secret, &reversed, &hex, &bytes, &escaped, &url, &packed, &for_urls]
                .map(String::from)
            {
                let hay = Hay::new("", format!("{noise}{planted}{noise}").as_bytes());
                assert!(needle.found_in(&hay).is_some(), "{secret} as {planted}");
            }
        }
        let harmless = format!("{} {}", secret.get(1..).unwrap(), "0123456789abcdee".repeat(4));
        assert_eq!(needle.found_in(&Hay::new("", harmless.as_bytes())), None);
    }
}

/// Fails if any output of the run holds any of its secrets.
pub(super) fn report(run: &Run) {
    let mut leaks = BTreeSet::new();
    for needle in run.needles() {
        for hay in &run.outputs {
            if let Some(form) = needle.found_in(hay) {
                leaks.insert(format!("{} ({form}) in {}", needle.what, hay.from));
            }
        }
    }
    assert!(leaks.is_empty(), "{leaks:#?}");
    assert!(run.kept > 200, "{} outputs", run.kept);
}
