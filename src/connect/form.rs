//! Forms as Bitrix24 and its browsers post them: `application/x-www-form-urlencoded`, PHP's brackets
//! in names. Values are secrets until somebody says otherwise.

use crate::secret::Secret;

/// A form, its names as written (`auth[member_id]`), decoded.
#[derive(Debug, Default)]
pub struct Form {
    fields: Vec<(String, Secret)>,
}

impl Form {
    /// Reads a query or a body; at most `FIELDS_MAX` fields count. A name that is given twice is
    /// as good as missing: readers disagree about which one counts.
    pub fn parse(bytes: &[u8]) -> Self {
        let pairs = form_urlencoded::parse(bytes).take(FIELDS_MAX);
        let fields =
            pairs.map(|(name, value)| (name.into_owned(), Secret::new(value.into_owned())));
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

    /// The same, where a field that is given twice says that the whole form is not to be trusted.
    pub(super) fn once(&self, name: &str) -> Result<Option<&str>, &'static str> {
        match self.fields.iter().filter(|(known, _)| known == name).count() {
            0 | 1 => Ok(self.text(name)),
            _ => Err("a field is there twice"),
        }
    }
}

/// More than any form of Bitrix24 has.
const FIELDS_MAX: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_decoded_and_brackets_stay_in_names() {
        let form = Form::parse(b"auth%5Bmember_id%5D=a+b%21&data[FIELDS][ID]=7&empty=");
        assert_eq!(form.text("auth[member_id]"), Some("a b!"));
        assert_eq!(form.text("data[FIELDS][ID]"), Some("7"));
        assert_eq!((form.text("empty"), form.once("empty")), (None, Ok(None)));
        assert_eq!((form.text("none"), form.once("none")), (None, Ok(None)));
    }

    #[test]
    fn a_field_that_is_given_twice_is_as_good_as_missing_and_can_be_told_from_that() {
        for form in [
            Form::parse(b"DOMAIN=a&DOMAIN=b"),
            Form::parse(b"DOMAIN=a&DOMAIN="),
            Form::parse(b"DOMAIN=a").and(Form::parse(b"DOMAIN=a")),
        ] {
            assert_eq!(form.text("DOMAIN"), None);
            assert!(form.once("DOMAIN").is_err());
        }
    }

    #[test]
    fn no_more_fields_count_than_any_form_has() {
        let body = "a=1&".repeat(FIELDS_MAX) + "late=1";
        assert_eq!(Form::parse(body.as_bytes()).text("late"), None);
        assert_eq!(Form::parse(b"late=1").text("late"), Some("1"));
    }
}
