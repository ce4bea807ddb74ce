//! What a web page gets whose origin the operator allows: the right to read its answers, which no
//! other page gets, and an answer to its browser's preflight, which never reaches the portal.

use crate::gateway::answer::Manner;
use crate::gateway::head::elements;

/// Adds to a head that the page at `origin`, if it is one, may read the answer.
pub(crate) fn open_to(head: &mut Vec<u8>, origin: Option<&str>) {
    let Some(origin) = origin else { return };
    head.extend_from_slice(b"Access-Control-Allow-Origin: ");
    head.extend_from_slice(origin.as_bytes());
    head.extend_from_slice(
        b"\r\nVary: Origin\r\nAccess-Control-Expose-Headers: X-B24-Replayed, Server-Timing, \
          Retry-After, X-Request-Id, Proxy-Status\r\n",
    );
}

/// Of the fields that a page wants to send, those that it may: a list of our own words, with nothing
/// of the page's in it.
pub(crate) fn permitted(asked: &[u8]) -> String {
    let may = |name: &[u8]| PAGE_FIELDS.iter().find(|it| it.as_bytes().eq_ignore_ascii_case(name));
    let mut list: Vec<&str> = elements(asked).filter_map(may).copied().collect();
    list.sort_unstable();
    list.dedup();
    list.join(", ")
}

/// The answer to a preflight, up to the fields that every answer has.
pub(crate) fn permit(fields: &str, manner: Manner) -> Vec<u8> {
    let mut answer =
        b"HTTP/1.1 204 No Content\r\nAccess-Control-Allow-Methods: GET, POST, HEAD\r\n\
          Access-Control-Max-Age: 600\r\n"
            .to_vec();
    if !fields.is_empty() {
        answer.extend_from_slice(format!("Access-Control-Allow-Headers: {fields}\r\n").as_bytes());
    }
    if manner.close {
        answer.extend_from_slice(b"Connection: close\r\n");
    }
    answer
}

/// What the gateway itself reads of a page's request, and what the portal's version 3 does.
const PAGE_FIELDS: [&str; 5] =
    ["authorization", "content-type", "idempotency-key", "x-b24-portal", "x-request-id"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_may_send_what_is_on_the_list_however_it_is_written() {
        for (asked, list) in [
            ("", ""),
            ("content-type", "content-type"),
            ("X-B24-Portal,Content-Type , cookie,x-forwarded-for", "content-type, x-b24-portal"),
            ("*, authorization\t,authorization", "authorization"),
            ("x-request-id;, idempotency-key, x-request-id", "idempotency-key, x-request-id"),
        ] {
            assert_eq!(permitted(asked.as_bytes()), list, "{asked}");
        }
    }
}
