//! What the portal gets: a request head made anew, from a list of what may go on.
//!
//! Framing, Host and the credential are the gateway's own; a client's field cannot remove or
//! override them, because they are written after its `Connection` list has been applied.

use crate::gateway::caller::Shown;
use crate::gateway::field::{RequestField, request_field};
use crate::gateway::head::{FIELDS_MAX, Framing, Head, Verb, elements};
use crate::gateway::query::{self, Carries};
use crate::gateway::route::{Api, Target};
use crate::gateway::wall::Provenance;
use crate::portal::Slot;
use crate::secret::Secret;

/// What the fields of a request ask of the gateway itself.
#[expect(clippy::struct_excessive_bools, reason = "independent facts, not states of one thing")]
#[derive(Debug, Default)]
pub(crate) struct Asked<'b> {
    pub(crate) provenance: Provenance<'b>,
    /// The client closes after this exchange.
    pub(crate) close: bool,
    /// An HTTP/1.0 client that goes on.
    pub(crate) keep_alive: bool,
    /// The client waits for `100 Continue`.
    pub(crate) expects_continue: bool,
    pub(crate) portal: Option<&'b str>,
    pub(crate) request_id: Option<&'b [u8]>,
    pub(crate) content_type: Option<&'b [u8]>,
    pub(crate) idempotency_key: Option<&'b [u8]>,
    /// What `Authorization: Bearer` shows.
    pub(crate) bearer: Option<Shown<'b>>,
    /// Two content types or a compressed body: readers would differ in what it says.
    pub(crate) unclear_body: bool,
    pub(crate) accepts_gzip: bool,
    listed: Vec<&'b [u8]>,
    /// One bit a field: whether it goes on to the portal. [`FIELDS_MAX`] is below 128.
    pub(super) passing: u128,
}

impl<'b> Asked<'b> {
    /// Reads the fields once.
    pub(crate) fn read(head: &Head<'b, '_>) -> Self {
        let mut asked = Self::default();
        for (number, field) in head.fields.iter().enumerate() {
            let kind = request_field(field.name);
            let passes = matches!(
                kind,
                RequestField::Pass
                    | RequestField::RequestId
                    | RequestField::IdempotencyKey
                    | RequestField::ContentType
                    | RequestField::ContentEncoding
            );
            asked.passing |= u128::from(passes) << number;
            match kind {
                RequestField::Pass | RequestField::Drop => {}
                RequestField::Connection => asked.note_connection(field.value),
                RequestField::Expect => {
                    asked.expects_continue |= field.value.eq_ignore_ascii_case(b"100-continue");
                }
                RequestField::AcceptEncoding => {
                    asked.accepts_gzip |= elements(field.value).any(accepts_gzip);
                }
                RequestField::RequestId => asked.request_id = Some(field.value),
                // Two of them say nothing.
                RequestField::IdempotencyKey => {
                    let known = asked.idempotency_key.is_some();
                    asked.idempotency_key = Some(if known { b"" } else { field.value });
                }
                RequestField::ContentType => {
                    asked.unclear_body |= asked.content_type.replace(field.value).is_some();
                }
                RequestField::ContentEncoding => asked.unclear_body = true,
                RequestField::Authorization => {
                    asked.bearer = asked.bearer.or_else(|| Shown::bearer(field.value));
                }
                RequestField::Portal => asked.portal = std::str::from_utf8(field.value).ok(),
                _ => asked.provenance.note(kind, field.value),
            }
        }
        asked
    }

    /// Asks for an answer that can be read without unpacking it.
    pub(crate) fn only_plain(&mut self) {
        self.accepts_gzip = false;
    }

    /// RFC 9110, section 7.6.1: what `Connection` lists goes no further.
    fn note_connection(&mut self, value: &'b [u8]) {
        for option in elements(value) {
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if self.listed.len() < LISTED_MAX {
                self.listed.push(option);
            }
        }
    }
}

/// A request head, complete but for its credential and its blank line.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(super) verb: Verb,
    pub(super) bytes: Vec<u8>,
    /// Where the method starts.
    pub(super) method_at: usize,
    /// Where the request line's ` HTTP/1.1` starts.
    pub(super) target_end: usize,
    /// Where the query starts, behind its `?`, if there is one.
    pub(super) query_at: Option<usize>,
    pub(super) base: usize,
    /// The query, where it is too long to stand in the request line.
    pub(super) form: Option<Vec<u8>>,
    pub(crate) carries: Carries,
}

impl Outgoing {
    /// Writes the head for the portal at `authority`.
    pub(crate) fn prepare(
        head: &Head<'_, '_>,
        target: &Target<'_>,
        asked: &Asked<'_>,
        authority: &str,
    ) -> Self {
        let mut bytes = Vec::with_capacity(CAPACITY + target.query.len());
        bytes.extend_from_slice(match head.verb {
            Verb::Get => b"GET /rest/",
            Verb::Head => b"HEAD /rest/",
            Verb::Post => b"POST /rest/",
            // Turned away long before.
            Verb::Options => b"OPTIONS /rest/",
        });
        if target.api == Api::V3 {
            bytes.extend_from_slice(b"api/");
        }
        let method_at = bytes.len();
        bytes.extend_from_slice(target.method);
        let mut carries = Carries::Parameters;
        let mut query_at = None;
        if !target.query.is_empty() {
            bytes.push(b'?');
            let start = bytes.len();
            carries = query::forward(target.query, &mut bytes);
            if bytes.len() == start {
                bytes.pop();
            } else {
                query_at = Some(start);
            }
        }
        let target_end = bytes.len();
        bytes.extend_from_slice(b" HTTP/1.1\r\nHost: ");
        bytes.extend_from_slice(authority.as_bytes());
        bytes.extend_from_slice(b"\r\n");
        write_fields(head, asked, asked.passing, &mut bytes);
        let base = bytes.len();
        let verb = head.verb;
        Self { verb, bytes, method_at, target_end, query_at, base, form: None, carries }
    }

    /// The method with its suffix.
    pub(crate) fn method(&self) -> &[u8] {
        let end = self.query_at.map_or(self.target_end, |query| query - 1);
        self.bytes.get(self.method_at..end).unwrap_or_default()
    }

    /// The query that goes on, as a query or as the form that it has become.
    pub(crate) fn query(&self) -> &[u8] {
        if let Some(form) = &self.form {
            return form;
        }
        let start = self.query_at.unwrap_or(self.target_end);
        self.bytes.get(start..self.target_end).unwrap_or_default()
    }

    /// Says how the body is delimited; once, when that is known.
    pub(crate) fn delimit(&mut self, framing: Framing) {
        write_framing(self.verb, framing, &mut self.bytes);
        self.base = self.bytes.len();
    }

    /// Verb, path and query, without a credential.
    pub(crate) fn line(&self) -> &[u8] {
        self.bytes.get(..self.target_end).unwrap_or_default()
    }

    /// The head with `token` in its slot.
    pub(crate) fn with(&mut self, slot: Slot, token: &Secret) -> &[u8] {
        self.bytes.truncate(self.base);
        match slot {
            Slot::Bearer | Slot::BearerUntried => {
                self.bytes.extend_from_slice(b"Authorization: Bearer ");
                self.bytes.extend_from_slice(token.expose().as_bytes());
                self.bytes.extend_from_slice(b"\r\n\r\n");
            }
            Slot::Parameter => return self.with_parameter(token),
        }
        &self.bytes
    }

    /// The head with a webhook in its path: `/rest/<user>/<secret>/<method>`. Few portals are opened
    /// so, and their calls may copy their heads.
    pub(crate) fn with_webhook(&mut self, user_id: u64, secret: &Secret) -> &[u8] {
        self.bytes.truncate(self.base);
        let (start, rest) = self.bytes.split_at(self.method_at);
        let user = user_id.to_string();
        let path = [user.as_bytes(), b"/", secret.expose().as_bytes(), b"/"].concat();
        let head = [start, &path, rest, b"\r\n"].concat();
        // Kept behind the base, so that the next attempt starts from the base again.
        self.bytes.extend_from_slice(&head);
        self.bytes.get(self.base..).unwrap_or_default()
    }

    /// The head as it is, for a link that carries its own credential.
    pub(crate) fn as_it_is(&mut self) -> &[u8] {
        self.bytes.truncate(self.base);
        self.bytes.extend_from_slice(b"\r\n");
        &self.bytes
    }

    /// Changes the Host field: the portal has moved.
    pub(crate) fn readdress(&mut self, authority: &str) {
        self.bytes.truncate(self.base);
        let start = self.target_end + b" HTTP/1.1\r\nHost: ".len();
        let length = self
            .bytes
            .get(start..)
            .and_then(|rest| memchr::memchr(b'\r', rest))
            .unwrap_or_default();
        self.bytes.splice(start..start + length, authority.bytes());
        self.base = self.bytes.len();
    }

    /// `auth` goes first: PHP drops variables beyond its thousandth, and a later duplicate cannot
    /// win because the client's own have been cut out. The rare mode may copy its head.
    fn with_parameter(&mut self, token: &Secret) -> &[u8] {
        let (line, rest) = self.bytes.split_at(self.query_at.unwrap_or(self.target_end));
        let mut head = Vec::with_capacity(self.bytes.len() + token.expose().len() + 16);
        head.extend_from_slice(line);
        head.extend_from_slice(if self.query_at.is_some() { b"auth=" } else { b"?auth=" });
        head.extend(
            form_urlencoded::byte_serialize(token.expose().as_bytes()).flat_map(str::bytes),
        );
        head.extend_from_slice(if self.query_at.is_some() { b"&" } else { b"" });
        head.extend_from_slice(rest);
        head.extend_from_slice(b"\r\n");
        // Kept behind the base, so that the next attempt starts from the base again.
        self.bytes.extend_from_slice(&head);
        self.bytes.get(self.base..).unwrap_or_default()
    }
}

pub(super) fn write_fields(
    head: &Head<'_, '_>,
    asked: &Asked<'_>,
    passing: u128,
    bytes: &mut Vec<u8>,
) {
    for (number, field) in head.fields.iter().enumerate() {
        let passes = passing >> number & 1 == 1;
        let listed =
            || asked.listed.iter().any(|name| name.eq_ignore_ascii_case(field.name.as_bytes()));
        if passes && !listed() {
            bytes.extend_from_slice(field.name.as_bytes());
            bytes.extend_from_slice(b": ");
            bytes.extend_from_slice(field.value);
            bytes.extend_from_slice(b"\r\n");
        }
    }
    // Only what the gateway can read is asked for, or it could not tell an expired token from
    // another refusal.
    if asked.accepts_gzip {
        bytes.extend_from_slice(b"Accept-Encoding: gzip\r\n");
    }
}

fn write_framing(verb: Verb, framing: Framing, bytes: &mut Vec<u8>) {
    match framing {
        Framing::Length(length) => {
            bytes.extend_from_slice(b"Content-Length: ");
            bytes.extend_from_slice(length.to_string().as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        Framing::Chunked => bytes.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
        Framing::None | Framing::Close if verb == Verb::Post => {
            bytes.extend_from_slice(b"Content-Length: 0\r\n");
        }
        Framing::None | Framing::Close => {}
    }
}

/// `gzip`, `x-gzip` or `*`, unless its weight is zero.
fn accepts_gzip(coding: &[u8]) -> bool {
    let mut parts = coding.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let name = parts.next().unwrap_or_default();
    let wanted = [&b"gzip"[..], b"x-gzip"].iter().any(|known| name.eq_ignore_ascii_case(known));
    let refused = parts.any(|part| {
        part.strip_prefix(b"q=").is_some_and(|weight| weight.iter().all(|b| b"0.".contains(b)))
    });
    wanted && !refused
}

const _: () = assert!(FIELDS_MAX < 128, "`Asked::passing` has a bit for every field");
/// Room for the head of an ordinary call.
const CAPACITY: usize = 768;
/// More options than this in `Connection` fields are not looked at.
const LISTED_MAX: usize = 32;

#[cfg(test)]
mod tests;
