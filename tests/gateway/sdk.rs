//! Libraries and tools as people install them, pinned: only the address and the key are the
//! gateway's.
//!
//! Each is driven by a small program under `tests/clients` and goes through the same: undisturbed,
//! through what it must not notice, and into what it has to be told. Where a test fails because
//! something is not installed, `scripts/test` installs it.

mod ends;
mod pasted;
mod refused;
mod shapes;
mod unnoticed;
mod world;

/// A library or tool, and how it is driven.
#[derive(Clone, Copy, Debug)]
struct Library {
    /// As its program knows it.
    name: &'static str,
    program: Program,
    /// Takes https alone.
    secure: bool,
    /// What it is asked to do, and what comes of it.
    steps: &'static [(&'static str, &'static str)],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Program {
    /// `tests/clients/python_calls.py`
    Python,
    /// The same, with a clock that goes ten times as fast: the library would pause for 17 s in all
    /// before it gives up.
    HurriedPython,
    /// `tests/clients/js/calls.mjs`
    Node,
    /// `tests/clients/php_calls.php`
    Php,
}

const FAST_BITRIX24: Library = Library {
    name: "fast_bitrix24",
    program: Program::HurriedPython,
    secure: false,
    steps: &[CALL, LIST, BATCH],
};

/// With a function that gives tokens, as its OAuth users have it.
const FAST_BITRIX24_TOKEN_FUNC: Library = Library {
    name: "fast_bitrix24 token_func",
    steps: &[CALL, LIST, BATCH, ("tokens", "1")],
    ..FAST_BITRIX24
};

const B24PYSDK: Library = Library {
    name: "b24pysdk",
    program: Program::Python,
    secure: true,
    steps: &[CALL, LIST, BATCH],
};

const B24PYSDK_OAUTH: Library = Library { name: "b24pysdk OAuth", ..B24PYSDK };

const BITRIX24_REST: Library = Library {
    name: "bitrix24-rest",
    program: Program::Python,
    secure: false,
    steps: &[CALL, LIST],
};

const B24API: Library = Library {
    name: "b24api",
    program: Program::Python,
    secure: false,
    steps: &[CALL, LIST, BATCH],
};

/// It does not page.
const PYBITRIX24: Library = Library {
    name: "pybitrix24",
    program: Program::Python,
    secure: true,
    steps: &[CALL, ("list", "50"), BATCH],
};

const B24JSSDK_HOOK: Library = Library {
    name: "b24jssdk B24Hook",
    program: Program::Node,
    secure: true,
    steps: &[CALL, LIST, BATCH],
};

const B24JSSDK_OAUTH: Library = Library {
    name: "b24jssdk B24OAuth",
    program: Program::Node,
    secure: false,
    steps: &[CALL, LIST, BATCH, ("renewals", "0")],
};

const BITRIX_2BAD: Library = Library {
    name: "@2bad/bitrix",
    program: Program::Node,
    secure: false,
    steps: &[CALL, LIST, BATCH],
};

const CREST_WEBHOOK: Library = Library {
    name: "CRest webhook",
    program: Program::Php,
    secure: false,
    steps: &[CALL, LIST, BATCH, ("multipart", r#""a & b""#), ("renewals", "0")],
};

const CREST_OAUTH: Library = Library {
    name: "CRest OAuth",
    steps: &[CALL, LIST, BATCH, ("renewals", "0")],
    ..CREST_WEBHOOK
};

const REST_COMMAND: Library = Library { name: "restCommand", ..CREST_OAUTH };

const CALL: (&str, &str) = ("call", r#""Ada""#);
/// All of them, over pages of 50.
const LIST: (&str, &str) = ("list", "120");
const BATCH: (&str, &str) = ("batch", r#"["Ada",50]"#);
