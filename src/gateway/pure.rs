//! The pure steps of the request path, for the benches: bytes in, a number out.
//!
//! Nothing else uses these; they keep the steps themselves private.

use crate::gateway::answer::{self, Manner, Timing};
use crate::gateway::chunked::Chunked;
use crate::gateway::head::{self, FIELDS_MAX, Scan};
use crate::gateway::outgoing::{Asked, Outgoing};
use crate::gateway::query;
use crate::gateway::reply::{self, Parsed};
use crate::gateway::route::{Api, Target};
use crate::gateway::verdict;
use crate::portal::Slot;

/// A request head as received, to the head that the portal gets; its length, or zero if refused.
pub fn request_head(bytes: &[u8], token: &crate::credential::Secret) -> usize {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let Ok(Some(_)) = Scan::default().end_of_head(bytes) else { return 0 };
    let Ok(head) = head::read(bytes, &mut fields) else { return 0 };
    let Ok(framing) = head::framing(head.version, head.fields) else { return 0 };
    let Ok(target) = Target::parse(head.target) else { return 0 };
    let asked = Asked::read(&head);
    let mut outgoing = Outgoing::prepare(&head, &target, &asked, "acme.bitrix24.com");
    outgoing.delimit(framing);
    outgoing.with(Slot::Bearer, token).len()
}

/// An answer head as received, to the head that the client gets; its length, or zero if refused.
pub fn answer_head(bytes: &[u8]) -> usize {
    let Ok(Parsed::Final(_, mut reply)) = reply::parse(bytes, false) else { return 0 };
    let manner = Manner { xml: false, head_only: false, http10: false, close: false };
    answer::finish(&mut reply.head, manner, reply.framing, &Timing::default(), None);
    reply.head.len()
}

/// A query without credentials; its length.
pub fn query(bytes: &[u8]) -> usize {
    let mut out = Vec::with_capacity(bytes.len());
    query::forward(bytes, &mut out);
    out.len()
}

/// Whether an error answer (head and body) says that the token has expired.
pub fn says_expired(bytes: &[u8]) -> bool {
    let Ok(Parsed::Final(length, reply)) = reply::parse(bytes, false) else { return false };
    let body = bytes.get(length..).unwrap_or_default();
    verdict::judge(&reply, Api::V1, body) == verdict::Finding::Expired
}

/// The payload of a chunked body; its length.
pub fn chunks(bytes: &[u8]) -> usize {
    let (mut chunked, mut at, mut payload) = (Chunked::new(), 0, 0);
    while let Ok(piece) = chunked.next(bytes.get(at..).unwrap_or_default()) {
        at += piece.skip + piece.data;
        payload += piece.data;
        if piece.data == 0 {
            break;
        }
    }
    payload
}
