//! The commands of a batch in a multipart form, which is read as strictly as it can be written: what
//! PHP, a proxy and this reader could take differently is refused.

use crate::gateway::batch::{Commands, Fault, is_cmd};
use crate::gateway::query::php_name;

/// Reads a body.
pub(super) fn read(
    content_type: &[u8],
    body: &[u8],
    commands: &mut Commands<'_>,
) -> Result<(), Fault> {
    let boundary = boundary(content_type).ok_or(UNSOUND)?;
    let delimiter = [b"--", boundary].concat();
    let mut rest = body.strip_prefix(&*delimiter).ok_or(UNSOUND)?;
    // PHP ends a part where the delimiter follows a bare line feed, too.
    let inner = [b"\n", &*delimiter].concat();
    loop {
        if let Some(end) = rest.strip_prefix(b"--") {
            return if matches!(end, b"" | b"\r\n") { Ok(()) } else { Err(UNSOUND) };
        }
        let part = rest.strip_prefix(b"\r\n").ok_or(UNSOUND)?;
        let end = memchr::memmem::find(part, &inner).ok_or(UNSOUND)?;
        let (part, after) = part.split_at(end);
        rest = after.get(inner.len()..).unwrap_or_default();
        let part = part.strip_suffix(b"\r").ok_or(UNSOUND)?;
        let head_end = memchr::memmem::find(part, b"\r\n\r\n").ok_or(UNSOUND)?;
        let (head, content) = part.split_at(head_end);
        let content = content.get(4..).unwrap_or_default();
        if is_cmd(&php_name(name(head)?)) {
            commands.command(content)?;
        }
    }
}

/// The name of a part: its one `Content-Disposition`, in the one form that browsers and libraries
/// write.
fn name(head: &[u8]) -> Result<&[u8], Fault> {
    let mut found = None;
    for line in head.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let at = memchr::memchr(b':', line).ok_or(UNSOUND)?;
        let (field, value) = line.split_at(at);
        let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'-';
        let is_text = |byte: &u8| *byte >= b' ' && *byte != 0x7f;
        if field.is_empty() || !field.iter().all(is_word) || !value.iter().all(is_text) {
            return Err(UNSOUND);
        }
        if field.eq_ignore_ascii_case(b"Content-Disposition")
            && found.replace(value.get(1..).unwrap_or_default().trim_ascii()).is_some()
        {
            return Err(UNSOUND);
        }
    }
    let value = found.ok_or(UNSOUND)?.strip_prefix(b"form-data; name=\"").ok_or(UNSOUND)?;
    let (name, after) = quoted(value)?;
    if after.is_empty() {
        return Ok(name);
    }
    let file = after.strip_prefix(b"; filename=\"").ok_or(UNSOUND)?;
    match quoted(file)? {
        (_, b"") => Ok(name),
        _ => Err(UNSOUND),
    }
}

/// Up to the closing quote, and what follows it. Readers differ in what a backslash means.
fn quoted(text: &[u8]) -> Result<(&[u8], &[u8]), Fault> {
    let at = memchr::memchr(b'"', text).ok_or(UNSOUND)?;
    let (inside, after) = text.split_at(at);
    if inside.contains(&b'\\') {
        return Err(UNSOUND);
    }
    Ok((inside, after.get(1..).unwrap_or_default()))
}

/// The boundary of `multipart/form-data; boundary=...`, where that is all there is.
fn boundary(content_type: &[u8]) -> Option<&[u8]> {
    let (_, parameters) = content_type.split_at_checked(b"multipart/form-data".len())?;
    let boundary = parameters.trim_ascii_start().strip_prefix(b";")?.trim_ascii();
    let (name, value) = boundary.split_at_checked(b"boundary=".len())?;
    let plain = match value.strip_prefix(b"\"") {
        Some(quoted) => quoted.strip_suffix(b"\"")?,
        None => value,
    };
    let is_sound = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.+/:='()".contains(byte);
    (name.eq_ignore_ascii_case(b"boundary=")
        && (1..=70).contains(&plain.len())
        && plain.iter().all(is_sound))
    .then_some(plain)
}

const UNSOUND: Fault = Fault::Unreadable("its multipart form is not plainly one");
