//! Forms as Bitrix24 and its browsers post them: `application/x-www-form-urlencoded`, PHP's brackets
//! in names. Values are secrets until somebody says otherwise.

use crate::secret::Secret;

/// A form, its names as written (`auth[member_id]`), decoded.
#[derive(Debug, Default)]
pub struct Form {
    fields: Vec<(String, Secret)>,
}

impl Form {
    /// Reads a query or a body; at most [`FIELDS_MAX`] fields count. A name that is given twice is
    /// as good as missing: readers disagree about which one counts.
    pub fn parse(bytes: &[u8]) -> Self {
        let pairs = form_urlencoded::parse(bytes).take(FIELDS_MAX);
        let fields = pairs.map(|(name, value)| (name.into_owned(), Secret::new(value.as_ref())));
        Self { fields: fields.collect() }
    }

    /// Adds the fields of another part of the request.
    #[must_use]
    pub fn and(mut self, other: Self) -> Self {
        self.fields.extend(other.fields);
        self
    }

    /// The one value of a field that is not empty.
    pub fn secret(&self, name: &str) -> Option<&Secret> {
        let mut found = self.fields.iter().filter(|(known, _)| known == name);
        match (found.next(), found.next()) {
            (Some((_, value)), None) if !value.is_empty() => Some(value),
            _ => None,
        }
    }

    /// The same, of a field that is no secret.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.secret(name).map(Secret::expose)
    }
}

/// More than any form of Bitrix24 has.
pub const FIELDS_MAX: usize = 256;
