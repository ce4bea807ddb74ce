//! Parameters of a call: query and body, read by PHP's rules and merged by the portal's.
//!
//! The body counts only for the verb POST, and body beats query for equal names (rest module,
//! `rest_util.php`, `getRequestData`).

use super::value::Value;
use super::wire::{Head, Request};

/// The query as PHP reads it.
pub(super) fn from_query(head: &Head) -> Value {
    parse_str(head.query())
}

/// Query and body merged: what the portal works with.
pub(super) fn from_request(request: &Request) -> Value {
    let mut params = from_query(&request.head);
    for (key, value) in from_body(request).entries() {
        params.set(key, value.clone());
    }
    params
}

/// The body alone: JSON, form, multipart, or any other body read as a urlencoded string.
///
/// JSON that is broken or is not an object or array is ignored without a word, as the portal
/// does: a call whose token was in there then fails with `NO_AUTH_FOUND`.
pub(super) fn from_body(request: &Request) -> Value {
    let Some(body) = request.body.kept.as_deref().filter(|_| request.head.method == "POST") else {
        return Value::EMPTY;
    };
    let content_type = request.head.header("content-type").unwrap_or_default();
    let media = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if media == "application/json" || media.contains("+json") {
        return match serde_json::from_slice(body) {
            Ok(array @ Value::Array(_)) => array,
            _ => Value::EMPTY,
        };
    }
    if media == "multipart/form-data" {
        return multipart(content_type, body).unwrap_or(Value::EMPTY);
    }
    parse_str(body)
}

/// PHP's `parse_str`: `a[b][]=1&c=2` becomes nested arrays.
pub(super) fn parse_str(text: &[u8]) -> Value {
    let mut root = Value::EMPTY;
    let pairs = text.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty());
    for pair in pairs.take(INPUT_VARS_MAX) {
        let mut halves = pair.splitn(2, |byte| *byte == b'=');
        let name = decode(halves.next().unwrap_or_default());
        let value = decode(halves.next().unwrap_or_default());
        assign(&mut root, &name, Value::Text(value));
    }
    root
}

/// Percent-decoding with `+` as space; a stray `%` stays as it is.
pub(super) fn decode(text: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        let pair = tail.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        match (first, pair.and_then(|pair| u8::from_str_radix(pair, 16).ok())) {
            (b'%', Some(byte)) if !tail.starts_with(b"+") => {
                bytes.push(byte);
                rest = tail.get(2..).unwrap_or_default();
            }
            (b'+', _) => bytes.push(b' '),
            (byte, _) => bytes.push(*byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Percent-encodes everything but unreserved characters, as PHP's `rawurlencode`.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push('%');
            encoded.push_str(&super::text::hex(&[byte]).to_ascii_uppercase());
        }
    }
    encoded
}

/// PHP's `http_build_query`: brackets in names, everything percent-encoded, spaces as `+`; empty
/// arrays and nulls leave nothing behind.
pub(super) fn build_query(value: &Value) -> String {
    fn add(name: &str, value: &Value, pairs: &mut Vec<String>) {
        let spell = |text: &str| encode(text).replace("%20", "+").replace('~', "%7E");
        match value {
            Value::Array(entries) => {
                for (key, item) in entries {
                    let inner =
                        if name.is_empty() { key.clone() } else { format!("{name}[{key}]") };
                    add(&inner, item, pairs);
                }
            }
            Value::Bool(false) => pairs.push(format!("{}=0", spell(name))),
            scalar => {
                if let Some(text) = scalar.text() {
                    pairs.push(format!("{}={}", spell(name), spell(&text)));
                }
            }
        }
    }
    let mut pairs = Vec::new();
    add("", value, &mut pairs);
    pairs.join("&")
}

/// Puts `value` where the bracketed name says. PHP's rules for names: leading spaces go, a NUL ends
/// the name, `.` and space become `_` before the first bracket, an unmatched `[` becomes `_`.
fn assign(root: &mut Value, name: &str, value: Value) {
    let name = name.trim_start_matches(' ');
    let name = name.split('\0').next().unwrap_or_default();
    let open = name.char_indices().position(|(at, letter)| at > 0 && letter == '[');
    let open = open.and_then(|nth| name.char_indices().nth(nth)).map(|(at, _)| at);
    let (base, mut rest) = open.map_or((name, ""), |at| name.split_at(at));
    let clean = |text: &str| text.replace(['.', ' ', '['], "_");
    if base.is_empty() {
        return;
    }
    if !rest.contains(']') {
        root.set(&clean(name), value);
        return;
    }
    let mut slot = child(root, &clean(base));
    let mut depth = 0;
    while let Some((key, tail)) = rest.strip_prefix('[').and_then(|inner| inner.split_once(']')) {
        depth += 1;
        if depth > DEPTH_MAX {
            return;
        }
        let key = if key.is_empty() { slot.next_index() } else { key.to_owned() };
        slot = child(slot, &key);
        rest = tail;
    }
    *slot = value;
}

/// The element of that key, made if it is not there.
fn child<'a>(parent: &'a mut Value, key: &str) -> &'a mut Value {
    if !matches!(parent, Value::Array(_)) {
        *parent = Value::EMPTY;
    }
    let Value::Array(entries) = parent else {
        return parent;
    };
    let index = entries.iter().position(|(name, _)| name == key).unwrap_or(entries.len());
    if index == entries.len() {
        entries.push((key.to_owned(), Value::EMPTY));
    }
    #[expect(clippy::indexing_slicing, reason = "the index was found or made one line above")]
    &mut entries[index].1
}

/// The fields of a multipart form (RFC 7578); a file becomes `{name, size, sha256}`.
fn multipart(content_type: &str, body: &[u8]) -> Option<Value> {
    let boundary = content_type.split("boundary=").nth(1)?.split(';').next()?.trim_matches('"');
    let delimiter = format!("\r\n--{boundary}").into_bytes();
    let mut padded = b"\r\n".to_vec();
    padded.extend_from_slice(body);
    let mut params = Value::EMPTY;
    let mut places = memchr::memmem::find_iter(&padded, &delimiter).peekable();
    while let Some(place) = places.next() {
        let end = *places.peek().unwrap_or(&padded.len());
        let part = padded.get(place + delimiter.len()..end)?;
        let Some(blank) = memchr::memmem::find(part, b"\r\n\r\n") else {
            continue;
        };
        let (head, content) = (part.get(..blank)?, part.get(blank + 4..)?);
        let head = String::from_utf8_lossy(head);
        let Some(name) = quoted(&head, "; name=") else {
            continue;
        };
        let value = match quoted(&head, "; filename=") {
            Some(file) => {
                use sha2::Digest;
                let digest = super::text::hex(&sha2::Sha256::digest(content));
                let size = Value::from(content.len() as u64);
                Value::map([("name", file.into()), ("size", size), ("sha256", digest.into())])
            }
            None => Value::Text(String::from_utf8_lossy(content).into_owned()),
        };
        assign(&mut params, &name, value);
    }
    Some(params)
}

/// The value of a parameter of `Content-Disposition`.
fn quoted(head: &str, name: &str) -> Option<String> {
    let value = head.split(name).nth(1)?.strip_prefix('"')?;
    Some(value.split('"').next()?.to_owned())
}

/// `max_input_vars` as the system check of Bitrix24 demands it.
const INPUT_VARS_MAX: usize = 10_000;
/// PHP's `max_input_nesting_level`.
const DEPTH_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    fn check(query: &str, json: &str) {
        assert_eq!(
            String::from_utf8(parse_str(query.as_bytes()).to_json()).unwrap(),
            json,
            "{query}"
        );
    }

    #[test]
    fn names_are_read_by_the_rules_of_php() {
        check("a=1&b=2&a=3", r#"{"a":"3","b":"2"}"#);
        check("filter[>ID]=5&filter%5B%3C%5D=6", r#"{"filter":{">ID":"5","<":"6"}}"#);
        check("a[]=x&a[]=y&a[k][]=z", r#"{"a":{"0":"x","1":"y","k":["z"]}}"#);
        check("a.b c=1&d[x.y]=2", r#"{"a_b_c":"1","d":{"x.y":"2"}}"#);
        check("a[b=1&%20c=+%2B", r#"{"a_b":"1","c":" +"}"#);
        check("x[a]junk[b]=1&=2&y", r#"{"x":{"a":"1"},"y":""}"#);
        check("100%=1&p=%zz", r#"{"100%":"1","p":"%zz"}"#);
    }

    #[test]
    fn a_query_is_built_as_php_builds_it() {
        let read = |json| serde_json::from_str::<Value>(json).unwrap();
        let query =
            build_query(&read(r#"{"a":{"b c":[1,true]},"n":null,"e":{},"f":false,"t":"~ &"}"#));
        assert_eq!(query, "a%5Bb+c%5D%5B0%5D=1&a%5Bb+c%5D%5B1%5D=1&f=0&t=%7E+%26");
    }

    #[test]
    fn positional_parameters_keep_their_order() {
        check("1[T]=x&0=5", r#"{"1":{"T":"x"},"0":"5"}"#);
    }

    #[test]
    fn a_multipart_form_gives_fields_and_files() {
        let body = b"--B\r\nContent-Disposition: form-data; name=\"a[b]\"\r\n\r\n1\r\n--B\r\n\
            Content-Disposition: form-data; name=\"f\"; filename=\"x.bin\"\r\n\r\nabc\r\n--B--\r\n";
        let form = multipart("multipart/form-data; boundary=B", body).unwrap();
        assert_eq!(form.get("a").unwrap().get("b").unwrap().text().unwrap(), "1");
        assert_eq!(form.get("f").unwrap().get("size").unwrap().int(), Some(3));
    }
}
