//! A GET whose target is too long for the portal, sent as the POST of a form.
//!
//! People build targets of 60 kB and more out of filters and batches; a portal's web server takes
//! some 8 KiB. For versions 1 and 2 a parameter means the same in a query and in a form; version 3
//! reads JSON and nothing else.

use crate::gateway::field::{RequestField, request_field};
use crate::gateway::head::{Field, Head, Verb};
use crate::gateway::outgoing::{Asked, Outgoing, write_fields};
use crate::gateway::query::{self, Carries};
use crate::gateway::route::{Api, Target};

impl Outgoing {
    /// Makes a GET whose target is too long for the portal the POST of a form with the same
    /// parameters, and says whether it has. What is signed stays as it is.
    pub(crate) fn post_if_too_long(
        &mut self,
        head: &Head<'_, '_>,
        target: &Target<'_>,
        asked: &Asked<'_>,
    ) -> bool {
        let line = self.target_end + b" HTTP/1.1".len();
        let may = target.api == Api::V1 && self.carries == Carries::Parameters;
        if line <= LINE_MAX || self.verb != Verb::Get || !may {
            return false;
        }
        let Some(query_at) = self.query_at.take() else { return false };
        let (line, fields) = self.bytes.split_at(self.target_end);
        let path = line.get(b"GET".len()..query_at - 1).unwrap_or_default();
        let host = memchr::memmem::find(fields, b"\r\nHost: ")
            .and_then(|at| Some(at + 2 + memchr::memchr(b'\n', fields.get(at + 2..)?)? + 1));
        let host = fields.get(..host.unwrap_or_default()).unwrap_or_default();
        let mut bytes = [b"POST", path, host].concat();
        bytes.extend_from_slice(b"Content-Type: application/x-www-form-urlencoded\r\n");
        let passing = asked.passing & !content_types(head);
        write_fields(head, asked, passing, &mut bytes);
        let mut form = Vec::with_capacity(target.query.len());
        query::keep(target.query, &mut form);
        self.method_at += b"POST".len() - b"GET".len();
        self.target_end = b"POST".len() + path.len();
        self.verb = Verb::Post;
        self.base = bytes.len();
        self.bytes = bytes;
        self.form = Some(form);
        true
    }

    /// Whether its query has become a form.
    pub(crate) fn is_form(&self) -> bool {
        self.form.is_some()
    }

    /// The body that takes the place of a query.
    pub(crate) fn take_form(&mut self) -> Option<Vec<u8>> {
        self.form.take()
    }
}

/// The bits of the fields that say what a body is.
fn content_types(head: &Head<'_, '_>) -> u128 {
    let bit = |(number, field): (usize, &Field<'_>)| {
        u128::from(request_field(field.name) == RequestField::ContentType) << number
    };
    head.fields.iter().enumerate().map(bit).fold(0, |bits, bit| bits | bit)
}

/// The longest request line that a portal is sent: nginx takes 8 KiB in one piece unless it is told
/// otherwise, and a token as a parameter needs room there, too.
const LINE_MAX: usize = 8_000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gateway::head::{self, FIELDS_MAX, Framing};
    use crate::portal::Slot;
    use crate::secret::Secret;

    fn sent(line: &str, query: &str, slot: Slot) -> (String, Option<String>) {
        let wire = format!(
            "{line}?{query} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             X-A: b\r\nContent-type: text/plain\r\nAccept-Encoding: gzip\r\n\r\n"
        );
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let head = head::read(wire.as_bytes(), &mut fields).unwrap();
        let target = Target::parse(head.target).unwrap();
        let asked = Asked::read(&head);
        let mut outgoing = Outgoing::prepare(&head, &target, &asked, "acme.bitrix24.com");
        let changed = outgoing.post_if_too_long(&head, &target, &asked);
        let form = outgoing.take_form();
        assert_eq!(changed, form.is_some());
        let length = form.as_ref().map_or(Framing::None, |form| Framing::Length(form.len() as u64));
        outgoing.delimit(length);
        outgoing.with(Slot::Bearer, &Secret::new("OLD"));
        let text = |bytes: &[u8]| std::str::from_utf8(bytes).unwrap().to_owned();
        (text(outgoing.with(slot, &Secret::new("T"))), form.map(|form| text(&form)))
    }

    #[test]
    fn a_target_that_is_too_long_becomes_a_form_without_credentials_and_without_escapes() {
        let long = "x".repeat(8_000);
        let query = format!("filter[>ID]=0&auth=old&q={long}");
        let (head, form) = sent("GET /rest/1/KEY/a.b.json", &query, Slot::Bearer);
        assert_eq!(form.unwrap(), format!("filter[>ID]=0&q={long}"));
        assert_eq!(
            head,
            "POST /rest/a.b.json HTTP/1.1\r\nHost: acme.bitrix24.com\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nX-A: b\r\n\
             Accept-Encoding: gzip\r\nContent-Length: 8016\r\nAuthorization: Bearer T\r\n\r\n"
        );
        let (head, _) = sent("GET /rest/a.b", &query, Slot::Parameter);
        assert_eq!(head.lines().next().unwrap(), "POST /rest/a.b?auth=T HTTP/1.1");
    }

    #[test]
    fn what_fits_or_is_signed_or_is_no_get_stays_what_it_is() {
        let around = |length: usize| {
            let rest = "GET /rest/a.b?q= HTTP/1.1".len();
            sent("GET /rest/a.b", &format!("q={}", "x".repeat(length - rest)), Slot::Bearer).1
        };
        assert_eq!((around(8_000).is_some(), around(8_001).is_some()), (false, true));
        let long = "x".repeat(9_000);
        let signed = format!("auth=A&token=disk&q={long}");
        for (line, query) in [
            ("GET /rest/a.b", &signed),
            ("HEAD /rest/a.b", &long),
            ("POST /rest/a.b", &long),
            ("GET /rest/api/a.b", &long),
        ] {
            let (head, form) = sent(line, query, Slot::Bearer);
            assert!(form.is_none() && head.starts_with(&format!("{line}?{query} ")), "{line}");
        }
    }

    #[test]
    fn credentials_do_not_make_a_target_too_long() {
        let query = format!("auth={}&a=1", "x".repeat(9_000));
        let (head, form) = sent("GET /rest/a.b", &query, Slot::Bearer);
        assert_eq!((head.lines().next(), form), (Some("GET /rest/a.b?a=1 HTTP/1.1"), None));
    }
}
