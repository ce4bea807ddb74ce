//! A client's own `auth` in the body: where the token travels as a parameter, and where it is a
//! client's key.
//!
//! For Bitrix24 a body parameter wins over the query, so with `inject = "parameter"` a client's
//! stale `auth` would replace the gateway's token. It is blanked in place, with spaces in JSON, with
//! `&` in a form, and in multipart by taking the part its name and its content: the length stays,
//! nothing is re-serialised, and PHP reads nothing there. The same holds for a webhook as the
//! credential, and for a key. (With Bearer the header wins over everything, and bodies are not looked
//! at, unless the portal refuses a token before it is known to read the header.)

mod form;
mod json;
#[cfg(test)]
mod tests;

use std::ops::Range;

pub(crate) use form::decoded;
use zeroize::Zeroizing;

use crate::gateway::body::Body;
use crate::gateway::inbound::{Inbound, Stop};
use crate::gateway::multipart::Multipart;
use crate::gateway::parameter::form::Form;
use crate::gateway::parameter::json::Json;
use crate::gateway::query::Meaning;
use crate::gateway::wire::ClientStream;

impl Body {
    /// Blanks what the portal would read as a credential; true if there was any.
    pub(crate) async fn hide_credentials<S: ClientStream>(
        &mut self,
        inbound: &mut Inbound<S>,
        content_type: Option<&[u8]>,
    ) -> Result<bool, Stop> {
        let Some(mut finder) = Finder::of(content_type) else {
            return Ok(false);
        };
        if let Self::Upload(upload) = self {
            upload.record_rest(inbound).await?;
            return upload.edit(finder).await;
        }
        let found = self.look(inbound, &mut finder);
        self.blank(inbound, &found, finder.filler());
        Ok(!found.is_empty())
    }

    /// The key that the body shows, which is gone from it then. An upload has to show it among its
    /// first `within` bytes, and is recorded to its end before anything of it goes on.
    pub(crate) async fn take_key<S: ClientStream>(
        &mut self,
        inbound: &mut Inbound<S>,
        content_type: Option<&[u8]>,
        within: usize,
    ) -> Result<Shown, Stop> {
        let Some(mut finder) = Finder::of(content_type) else {
            return Ok(Shown::Nothing);
        };
        if let Self::Upload(upload) = self {
            let seen_all = upload.look(inbound, &mut finder, within).await?;
            let key = key_of(finder.finish());
            return match key {
                Some(key) => {
                    self.hide_credentials(inbound, content_type).await?;
                    Ok(Shown::Key(key))
                }
                None if seen_all => Ok(Shown::Nothing),
                None => Ok(Shown::Unknown),
            };
        }
        let found = self.look(inbound, &mut finder);
        if !found.iter().any(Found::is_key) {
            return Ok(Shown::Nothing);
        }
        self.blank(inbound, &found, finder.filler());
        Ok(key_of(found).map_or(Shown::Nothing, Shown::Key))
    }

    fn look<S: ClientStream>(&self, inbound: &Inbound<S>, finder: &mut Finder) -> Vec<Found> {
        for slice in self.slices(inbound.bytes()) {
            finder.read(slice);
        }
        finder.finish()
    }

    fn blank<S: ClientStream>(&mut self, inbound: &mut Inbound<S>, found: &[Found], filler: u8) {
        let in_inbox = self.in_inbox();
        let inbox = inbound.bytes_mut().get_mut(..in_inbox).unwrap_or_default();
        let mut none = [];
        let rest = match self {
            Self::Memory { rest, .. } => rest.as_mut_slice(),
            _ => &mut none,
        };
        for range in found.iter().flat_map(|found| &found.ranges) {
            blank(inbox, range.clone(), 0, filler);
            blank(rest, range.clone(), in_inbox, filler);
        }
    }
}

/// What a body shows where a key is looked for.
#[derive(Debug)]
pub(crate) enum Shown {
    /// Nothing at all.
    Nothing,
    /// This, whatever it is.
    Key(Value),
    /// The body is too large to be looked through.
    Unknown,
}

/// Blanks the part of `found` that lies in `bytes`, which start at `offset` of the body.
fn blank(bytes: &mut [u8], found: Range<usize>, offset: usize, filler: u8) {
    let start = found.start.saturating_sub(offset).min(bytes.len());
    let end = found.end.saturating_sub(offset).min(bytes.len());
    if let Some(part) = bytes.get_mut(start..end) {
        part.fill(filler);
    }
}

/// A credential in a body.
#[derive(Debug)]
pub(crate) struct Found {
    /// What has to be overwritten.
    pub(crate) ranges: Vec<Range<usize>>,
    meaning: Meaning,
    value: Value,
}

impl Found {
    /// A credential of this meaning.
    pub(crate) fn new(ranges: Vec<Range<usize>>, meaning: Meaning, value: Value) -> Self {
        Self { ranges, meaning, value }
    }

    /// Whether something stands where a key is looked for.
    fn is_key(&self) -> bool {
        matches!(self.meaning, Meaning::Auth | Meaning::AccessToken)
            && !matches!(&self.value, Value::Text(text) if text.is_empty())
    }
}

/// The value of a credential, never printed.
pub(crate) enum Value {
    /// As the portal would read it.
    Text(Zeroizing<Vec<u8>>),
    /// No text, or more of it than any key has.
    Strange,
}

impl Value {
    /// What may be somebody's key.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text,
            Self::Strange => &[],
        }
    }
}

impl std::fmt::Debug for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// `auth` comes before `access_token`; of several the last one counts, as it does for PHP.
fn key_of(found: Vec<Found>) -> Option<Value> {
    let keys: Vec<_> = found.into_iter().filter(Found::is_key).collect();
    let auth = keys.iter().rposition(|key| key.meaning == Meaning::Auth);
    let at = auth.or_else(|| keys.len().checked_sub(1))?;
    keys.into_iter().nth(at).map(|key| key.value)
}

/// The bytes of a value as they stand in the body, as far as they are needed.
#[derive(Default)]
pub(crate) struct Raw {
    bytes: Zeroizing<Vec<u8>>,
    too_long: bool,
}

impl Raw {
    pub(crate) fn push(&mut self, byte: u8) {
        // Room from the start: a buffer that grows would leave copies of a key behind.
        if self.bytes.capacity() == 0 {
            self.bytes.reserve_exact(VALUE_MAX);
        }
        if self.bytes.len() < VALUE_MAX {
            self.bytes.push(byte);
        } else {
            self.too_long = true;
        }
    }

    /// What `read` makes of it; the next one starts empty.
    pub(crate) fn take(&mut self, read: impl FnOnce(&[u8]) -> Option<Vec<u8>>) -> Value {
        let Self { bytes, too_long } = std::mem::take(self);
        match read(&bytes).filter(|_| !too_long) {
            Some(text) => Value::Text(Zeroizing::new(text)),
            None => Value::Strange,
        }
    }
}

impl std::fmt::Debug for Raw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("***")
    }
}

/// Finds the stretches of a body that the portal would read as a credential, in one pass.
#[derive(Debug)]
pub(crate) struct Finder {
    at: usize,
    found: Vec<Found>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Form(Form),
    Json(Json),
    Multipart(Multipart),
}

impl Finder {
    /// For a body of this type; `None` where nobody can tell parameters from content.
    pub(crate) fn of(content_type: Option<&[u8]>) -> Option<Self> {
        let kind = content_type.unwrap_or_default().to_ascii_lowercase();
        let kind =
            if kind.starts_with(b"application/json") || kind.windows(5).any(|w| w == b"+json") {
                Kind::Json(Json::default())
            } else if kind.starts_with(b"multipart/") {
                Kind::Multipart(Multipart::of(content_type.unwrap_or_default())?)
            } else {
                // Anything else PHP reads as a form, or Bitrix24 does where PHP does not.
                Kind::Form(Form::default())
            };
        Some(Self { at: 0, found: Vec::new(), kind })
    }

    /// What a blanked byte becomes.
    pub(crate) fn filler(&self) -> u8 {
        match self.kind {
            Kind::Form(_) => b'&',
            Kind::Json(_) => b' ',
            Kind::Multipart(_) => b'X',
        }
    }

    /// Reads on.
    pub(crate) fn read(&mut self, bytes: &[u8]) {
        for byte in bytes {
            let found = match &mut self.kind {
                Kind::Form(form) => form.step(*byte, self.at),
                Kind::Multipart(parts) => parts.step(*byte),
                Kind::Json(json) => json.step(*byte, self.at),
            };
            self.found.extend(found);
            self.at += 1;
        }
    }

    /// All that was found.
    pub(crate) fn finish(&mut self) -> Vec<Found> {
        let last = match &mut self.kind {
            Kind::Form(form) => form.finish(self.at),
            Kind::Multipart(parts) => parts.finish(),
            Kind::Json(json) => json.finish(self.at),
        };
        self.found.extend(last);
        std::mem::take(&mut self.found)
    }
}

/// The longest spelling of a credential's name, every letter escaped, is 72 bytes.
const NAME_MAX: usize = 256;
/// A token of Bitrix24, every letter escaped.
const VALUE_MAX: usize = 1024;
