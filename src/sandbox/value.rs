//! A value as PHP holds it. The portal is PHP: its lists are ordered maps, an empty map is written
//! as `[]`, and the order of parameters matters to positional methods and to `batch` (Bitrix24 REST
//! docs, "data encoding" and "batch"). `serde_json::Value` forgets that order, this type does not.

use std::collections::HashMap;
use std::fmt;
use std::io;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::ser::{CharEscape, Formatter};

/// A scalar, or the one ordered map that serves PHP as list and dictionary.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// `null`
    Null,
    /// `true`, `false`
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A string; everything that comes from a query or a form is one.
    Text(String),
    /// An ordered map with unique keys; a list when the keys are `0`, `1`, ...
    Array(Vec<(String, Value)>),
}

impl Value {
    /// An array without elements.
    pub(super) const EMPTY: Self = Self::Array(Vec::new());

    /// An object.
    pub(super) fn map<const N: usize>(entries: [(&str, Value); N]) -> Self {
        Self::Array(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
    }

    /// A list.
    pub(super) fn list(items: impl IntoIterator<Item = Value>) -> Self {
        let numbered = items.into_iter().enumerate();
        Self::Array(numbered.map(|(index, item)| (index.to_string(), item)).collect())
    }

    /// The entries of an array; none for a scalar.
    pub(super) fn entries(&self) -> &[(String, Value)] {
        match self {
            Self::Array(entries) => entries,
            _ => &[],
        }
    }

    /// The element of that key.
    pub(super) fn get(&self, key: &str) -> Option<&Value> {
        self.entries().iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The element of that key, whatever its case.
    pub(super) fn get_any_case(&self, key: &str) -> Option<&Value> {
        let mut entries = self.entries().iter();
        entries.find(|(name, _)| name.eq_ignore_ascii_case(key)).map(|(_, value)| value)
    }

    /// Puts an element in; an existing key keeps its place, as in PHP.
    pub(super) fn set(&mut self, key: &str, value: Value) {
        if !matches!(self, Self::Array(_)) {
            *self = Self::EMPTY;
        }
        if let Self::Array(entries) = self {
            match entries.iter_mut().find(|(name, _)| name == key) {
                Some((_, slot)) => *slot = value,
                None => entries.push((key.to_owned(), value)),
            }
        }
    }

    /// Takes an element out.
    pub(super) fn remove(&mut self, key: &str) -> Option<Value> {
        let Self::Array(entries) = self else {
            return None;
        };
        let index = entries.iter().position(|(name, _)| name == key)?;
        Some(entries.remove(index).1)
    }

    /// The key that `[]` would append under.
    pub(super) fn next_index(&self) -> String {
        let numbers = self.entries().iter().filter_map(|(key, _)| key.parse::<u64>().ok());
        numbers.max().map_or(0, |highest| highest + 1).to_string()
    }

    /// The scalar as a string; `None` for arrays and `null`.
    pub(super) fn text(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Int(number) => Some(number.to_string()),
            Self::Float(number) => Some(number.to_string()),
            Self::Bool(true) => Some("1".to_owned()),
            Self::Bool(false) => Some(String::new()),
            Self::Null | Self::Array(_) => None,
        }
    }

    /// The scalar as a whole number.
    pub(super) fn int(&self) -> Option<i64> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Text(text) => text.trim().parse().ok(),
            Self::Bool(truth) => Some(i64::from(*truth)),
            _ => None,
        }
    }

    /// Whether the keys are `0`, `1`, ... in order, which is when PHP writes a JSON list.
    pub(super) fn is_list(&self) -> bool {
        let mut index = 0;
        self.entries().iter().all(|(key, _)| {
            index += 1;
            key.parse() == Ok(index - 1) && (index == 1 || !key.starts_with('0'))
        })
    }

    /// JSON as PHP's `json_encode` writes it by default: `\/` and `\uXXXX`.
    pub(super) fn to_json(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut writer = serde_json::Serializer::with_formatter(&mut bytes, PhpSpelling);
        let written = self.serialize(&mut writer);
        debug_assert!(written.is_ok(), "a value can always be written");
        bytes
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        i64::try_from(number).map_or_else(|_wide| Self::Text(number.to_string()), Self::Int)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Float(number)
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Self::Bool(truth)
    }
}

impl From<serde_json::Value> for Value {
    fn from(json: serde_json::Value) -> Self {
        serde_json::from_value(json).unwrap_or(Self::Null)
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Null => serializer.serialize_unit(),
            Self::Bool(truth) => serializer.serialize_bool(*truth),
            Self::Int(number) => serializer.serialize_i64(*number),
            Self::Float(number) => serializer.serialize_f64(*number),
            Self::Text(text) => serializer.serialize_str(text),
            Self::Array(entries) if self.is_list() => {
                serializer.collect_seq(entries.iter().map(|(_, value)| value))
            }
            Self::Array(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, truth: bool) -> Result<Value, E> {
        Ok(Value::Bool(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Int(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(Value::from(number))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Value::Float(number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::from(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(item) = items.next_element()? {
            entries.push((entries.len().to_string(), item));
        }
        Ok(Value::Array(entries))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut entries: Vec<(String, Value)> = Vec::new();
        let mut places = HashMap::new();
        while let Some((key, value)) = map.next_entry::<String, Value>()? {
            let place = places.get(&key);
            if let Some((_, slot)) = place.and_then(|place: &usize| entries.get_mut(*place)) {
                *slot = value;
            } else {
                places.insert(key.clone(), entries.len());
                entries.push((key, value));
            }
        }
        Ok(Value::Array(entries))
    }
}

/// Writes strings as PHP does, so that a reader who searches bodies for URLs meets `\/`.
struct PhpSpelling;

impl Formatter for PhpSpelling {
    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        for character in fragment.chars() {
            match character {
                '/' => writer.write_all(b"\\/")?,
                ascii if ascii.is_ascii() => writer.write_all(&[ascii as u8])?,
                wide => {
                    for unit in wide.encode_utf16(&mut [0; 2]) {
                        write!(writer, "\\u{unit:04x}")?;
                    }
                }
            }
        }
        Ok(())
    }

    fn write_char_escape<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        escape: CharEscape,
    ) -> io::Result<()> {
        match escape {
            CharEscape::Quote => writer.write_all(b"\\\""),
            CharEscape::ReverseSolidus => writer.write_all(b"\\\\"),
            CharEscape::Solidus => writer.write_all(b"\\/"),
            CharEscape::Backspace => writer.write_all(b"\\b"),
            CharEscape::FormFeed => writer.write_all(b"\\f"),
            CharEscape::LineFeed => writer.write_all(b"\\n"),
            CharEscape::CarriageReturn => writer.write_all(b"\\r"),
            CharEscape::Tab => writer.write_all(b"\\t"),
            CharEscape::AsciiControl(byte) => write!(writer, "\\u{byte:04x}"),
        }
    }
}

/// The answer as XML: root `<response>`, numeric keys become `<item>`, no prolog (rest module,
/// rest.php).
pub(super) fn to_xml(value: &Value) -> Vec<u8> {
    let mut text = String::from("<response>");
    write_xml(value, &mut text);
    text.push_str("</response>");
    text.into_bytes()
}

fn write_xml(value: &Value, text: &mut String) {
    let Value::Array(entries) = value else {
        for character in value.text().unwrap_or_default().chars() {
            match character {
                '&' => text.push_str("&amp;"),
                '<' => text.push_str("&lt;"),
                '>' => text.push_str("&gt;"),
                '"' => text.push_str("&quot;"),
                other => text.push(other),
            }
        }
        return;
    };
    for (key, item) in entries {
        let name = if key.bytes().all(|byte| byte.is_ascii_digit()) { "item" } else { key };
        text.push('<');
        text.push_str(name);
        text.push('>');
        write_xml(item, text);
        text.push_str("</");
        text.push_str(name);
        text.push('>');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Value {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn json_keeps_the_order_of_its_keys_and_empty_maps_become_lists() {
        let json = r#"{"z":1,"a":{},"m":[1,{"0":"x"}],"z":2.5}"#;
        assert_eq!(read(json).to_json(), br#"{"z":2.5,"a":[],"m":[1,["x"]]}"#);
    }

    #[test]
    fn strings_are_escaped_as_php_escapes_them() {
        assert_eq!(Value::from("a/b \u{416}\n").to_json(), br#""a\/b \u0416\n""#);
    }

    #[test]
    fn xml_names_list_elements_item() {
        let xml = to_xml(&read(r#"{"result":["a<b",{"ID":1}]}"#));
        let expected =
            "<response><result><item>a&lt;b</item><item><ID>1</ID></item></result></response>";
        assert_eq!(String::from_utf8(xml).unwrap(), expected);
    }
}
