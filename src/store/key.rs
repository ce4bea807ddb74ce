//! The key that seals the tokens: where it comes from, and that none is made up while there are
//! credentials that only the lost one opens.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use zeroize::{Zeroize, Zeroizing};

use crate::config::KeySource;
use crate::store::directory::Missing;
use crate::store::{StateDirectory, StateError};

/// The key's file in the state directory.
const FILE: &str = "b24gate.key";

/// The next key, while the tokens are sealed anew.
const NEXT: &str = "b24gate.key.new";

/// Longest text taken for a key, bytes: a wrong path is not read to its end.
const TEXT_MAX: u16 = 4096;

/// 32 random bytes, wiped from memory when dropped.
pub struct Key(pub(super) [u8; 32]);

/// Whether the database already holds credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sealed {
    /// Nothing was sealed yet: any key will do, a new one too.
    Nothing,
    /// Only the key that sealed them is of use.
    Credentials,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The text is not a key.
    #[error(
        "{origin} does not hold a key: 32 bytes are needed as 64 hexadecimal digits or \
             base64; make one with: openssl rand -hex 32"
    )]
    Malformed {
        /// The file or setting.
        origin: String,
    },
    /// The key file is gone, the credentials it sealed are not.
    #[error("the database holds credentials, but the key file {} that opens them is missing; \
             restore it from a backup (a new key cannot open them)", path.display())]
    Missing {
        /// Where it should be.
        path: PathBuf,
    },
    /// Others could change or read it.
    #[error("{} is open to other users (mode {mode:04o}); chmod 600 {}",
            path.display(), path.display())]
    Open {
        /// The key file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is not the key that sealed the database.
    #[error(
        "the key from {origin} is not the one that sealed the credentials in this database; \
             restore the right key (nothing was changed)"
    )]
    Wrong {
        /// The file or setting.
        origin: String,
    },
    /// The key file in the state directory is not safe.
    #[error(transparent)]
    State(#[from] StateError),
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The key file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system has no random numbers.
    #[error("no random numbers from the system")]
    Random,
}

impl Key {
    /// Reads 64 hexadecimal digits or base64 (either alphabet) of 32 bytes, spaces around it aside.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let bytes = Zeroizing::new(hex(text).or_else(|| base64(text))?);
        bytes.as_slice().try_into().ok().map(Self)
    }

    /// A new key.
    pub fn generate() -> Result<Self, KeyError> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(|_no_detail| KeyError::Random)?;
        Ok(Self(bytes))
    }

    /// The text that [`Key::parse`] reads, with a line end.
    fn text(&self) -> Zeroizing<String> {
        use fmt::Write as _;
        let mut text = Zeroizing::new(String::with_capacity(65));
        for byte in self.0 {
            // Writing to a String cannot fail.
            write!(text, "{byte:02x}").unwrap_or_default();
        }
        text.push('\n');
        text
    }

    /// Finds the key, and makes it on first start.
    pub(super) fn load(
        state: &StateDirectory,
        source: &KeySource,
        sealed: Sealed,
    ) -> Result<Self, KeyError> {
        let text = match source {
            KeySource::StateDirectory => {
                let Some(file) = state.directory().file(FILE, Missing::Report)? else {
                    return Self::make(state, sealed);
                };
                read(file, &state.path().join(FILE))?
            }
            KeySource::File(path) => read(open_elsewhere(path)?, path)?,
            KeySource::Environment(secret) => Zeroizing::new(secret.expose().to_owned()),
        };
        Self::parse(&text).ok_or_else(|| KeyError::Malformed { origin: origin(state, source) })
    }

    /// Makes a key and writes it beside the one in use.
    pub(super) fn make_next(state: &StateDirectory) -> Result<Self, KeyError> {
        let key = Self::generate()?;
        state.directory().publish(NEXT, key.text().as_bytes())?;
        Ok(key)
    }

    /// What [`Key::make_next`] wrote, if it was not taken into use; a part of it is none.
    pub(super) fn next(state: &StateDirectory) -> Result<Option<Self>, KeyError> {
        let Some(file) = state.directory().file(NEXT, Missing::Report)? else {
            return Ok(None);
        };
        match read(file, &state.path().join(NEXT)) {
            Ok(text) => Ok(Self::parse(&text)),
            Err(KeyError::Malformed { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts the next key in the place of the one in use, durably.
    pub(super) fn take_next(state: &StateDirectory) -> Result<(), KeyError> {
        state.directory().rename(NEXT, FILE)?;
        Ok(state.directory().sync()?)
    }

    fn make(state: &StateDirectory, sealed: Sealed) -> Result<Self, KeyError> {
        if sealed == Sealed::Credentials {
            return Err(KeyError::Missing { path: state.path().join(FILE) });
        }
        let key = Self::generate()?;
        state.directory().publish(FILE, key.text().as_bytes())?;
        Ok(key)
    }
}

/// What to call a key's source in a message.
pub(super) fn origin(state: &StateDirectory, source: &KeySource) -> String {
    origin_in(state.path(), source)
}

/// As [`origin`], for a state directory that is not open.
pub(super) fn origin_in(state: &Path, source: &KeySource) -> String {
    match source {
        KeySource::StateDirectory => state.join(FILE).display().to_string(),
        KeySource::File(path) => path.display().to_string(),
        KeySource::Environment(_) => "the environment variable named by key_env".to_owned(),
    }
}

/// Opens a key file that the operator placed. Links are followed and the owner is not asked,
/// because Kubernetes and systemd lay secrets out as links and as root's; what counts is that
/// nobody else can write it or read it.
fn open_elsewhere(path: &Path) -> Result<File, KeyError> {
    let failed = |source| KeyError::Io { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let mode = metadata.mode() & 0o7777;
    if mode & 0o027 != 0 {
        return Err(KeyError::Open { path: path.to_owned(), mode });
    }
    Ok(file)
}

fn read(file: File, path: &Path) -> Result<Zeroizing<String>, KeyError> {
    // Room for all of it at once: a growing buffer would leave pieces of the key behind.
    let mut text = Zeroizing::new(String::with_capacity(TEXT_MAX.into()));
    match file.take(TEXT_MAX.into()).read_to_string(&mut text) {
        Ok(_) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(KeyError::Malformed { origin: path.display().to_string() })
        }
        Err(source) => Err(KeyError::Io { path: path.to_owned(), source }),
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digit =
        |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        return None;
    };
    let bytes = pairs.iter().map(|[high, low]| Some(digit(high)? << 4 | digit(low)?));
    bytes.collect()
}

fn base64(text: &str) -> Option<Vec<u8>> {
    let text = text.trim_end_matches('=');
    let (mut bytes, mut held, mut bits) = (Vec::with_capacity(text.len()), 0_u32, 0);
    for character in text.bytes() {
        let value = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        held = held << 6 | u32::from(value);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            bytes.push(u8::try_from(held >> bits).ok()?);
            held &= (1 << bits) - 1;
        }
    }
    Some(bytes)
}

impl Drop for Key {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key(***)")
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::credential::Secret;

    fn state() -> (tempfile::TempDir, StateDirectory) {
        let home = tempfile::tempdir().unwrap();
        let state = StateDirectory::open(&home.path().join("state")).unwrap();
        (home, state)
    }

    #[test]
    fn a_key_is_read_from_hexadecimal_and_from_both_kinds_of_base64() {
        let mut next = 162_u8;
        let bytes: [u8; 32] = std::array::from_fn(|_| {
            next = next.wrapping_add(89);
            next
        });
        let key = Key(bytes);
        assert_eq!(Key::parse(&key.text()).unwrap().0, bytes);
        assert_eq!(Key::parse(&key.text().to_uppercase()).unwrap().0, bytes);
        let standard = "+1StBl+4EWrDHHXOJ4DZMovkPZbvSKH6U6wFXrcQacI=";
        assert_eq!(Key::parse(standard).unwrap().0, bytes);
        let url = standard.replace('+', "-").replace('/', "_").replace('=', "");
        assert_eq!(Key::parse(&url).unwrap().0, bytes);
        for wrong in
            ["", "abc", &"0".repeat(63), &"g".repeat(64), &"A".repeat(44), "\u{43f}\u{430}"]
        {
            assert!(Key::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn the_first_start_makes_a_key_that_later_starts_read() {
        let (_home, state) = state();
        let made = Key::load(&state, &KeySource::StateDirectory, Sealed::Nothing).unwrap();
        let path = state.path().join(FILE);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        let read = Key::load(&state, &KeySource::StateDirectory, Sealed::Credentials).unwrap();
        assert_eq!(made.0, read.0);
        assert!(!state.path().join("b24gate.key.new").exists());
    }

    #[test]
    fn no_new_key_is_made_when_credentials_are_sealed_with_a_lost_one() {
        let (_home, state) = state();
        let error = Key::load(&state, &KeySource::StateDirectory, Sealed::Credentials).unwrap_err();
        assert!(error.to_string().contains("restore it"), "{error}");
        assert!(!state.path().join(FILE).exists());
    }

    #[test]
    fn a_text_that_is_no_key_is_answered_with_how_to_make_one() {
        let (home, state) = state();
        let source = KeySource::Environment(Secret::new("hunter2"));
        let error = Key::load(&state, &source, Sealed::Nothing).unwrap_err();
        assert!(error.to_string().contains("openssl rand -hex 32"), "{error}");
        assert!(!error.to_string().contains("hunter2"));
        let path = home.path().join("key");
        for garbage in [&b"short"[..], b"\xff\xfe"] {
            fs::write(&path, garbage).unwrap();
            fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
            let source = KeySource::File(path.clone());
            let error = Key::load(&state, &source, Sealed::Nothing).unwrap_err();
            assert!(error.to_string().contains("openssl rand -hex 32"), "{error}");
        }
    }

    #[test]
    fn a_key_file_that_others_can_read_is_refused() {
        let (home, state) = state();
        let path = home.path().join("key");
        fs::write(&path, "00".repeat(32)).unwrap();
        for (mode, good) in [(0o600, true), (0o440, true), (0o444, false), (0o660, false)] {
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let key = Key::load(&state, &KeySource::File(path.clone()), Sealed::Nothing);
            assert_eq!(key.is_ok(), good, "{mode:o}");
        }
    }
}
