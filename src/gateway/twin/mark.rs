//! What makes two requests the same.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use sha2::{Digest as _, Sha256};

use crate::gateway::caller::Caller;
use crate::gateway::outgoing::Asked;

/// The hash of all that must be equal. A client that uses an id twice for different things gets
/// different answers, so an id need not be trusted.
pub(crate) type Identity = [u8; 32];

/// The id that a request carries, and what else of its head decides about its answer.
#[derive(Debug)]
pub(crate) struct Mark {
    id: Box<[u8]>,
    /// From `Idempotency-Key`, and not from the query.
    is_field: bool,
    accepts_gzip: bool,
}

/// What else makes two requests the same.
#[derive(Clone, Debug)]
pub(crate) struct Asking<'a> {
    pub(crate) caller: &'a Caller,
    pub(crate) portal: &'a str,
    /// Verb, path and query, without a credential.
    pub(crate) line: &'a [u8],
    pub(crate) content_type: Option<&'a [u8]>,
    pub(crate) body: [&'a [u8]; 2],
}

impl Mark {
    /// The id, if there is one: `Idempotency-Key`, or `bx24_request_id` of Bitrix24's SDKs.
    #[inline]
    pub(crate) fn of(asked: &Asked<'_>, query: &[u8]) -> Option<Self> {
        if asked.idempotency_key.is_none() && query.len() <= NAME.len() {
            return None;
        }
        let field = asked.idempotency_key.filter(|id| is_id(id));
        let id = field.or_else(|| in_query(query))?;
        let accepts_gzip = asked.accepts_gzip;
        Some(Self { id: id.into(), is_field: field.is_some(), accepts_gzip })
    }

    /// Of a request with this id. Fields of the request are not in it, but those that
    /// say how its answer and its body are packed: a repetition may have another `X-Request-Id`.
    pub(crate) fn identity(&self, asked: &Asking<'_>) -> Identity {
        let mut hash = Sha256::new();
        let Asking { caller, portal, line, content_type, body } = asked;
        let client = caller.client.as_deref();
        hash.update([
            u8::from(self.is_field),
            u8::from(self.accepts_gzip),
            u8::from(client.is_some()),
            u8::from(caller.uid.is_some()),
            u8::from(content_type.is_some()),
        ]);
        hash.update(caller.uid.unwrap_or_default().to_be_bytes());
        for part in [
            &self.id,
            client.map(|client| client.name.as_bytes()).unwrap_or_default(),
            portal.as_bytes(),
            line,
            content_type.unwrap_or_default(),
        ] {
            // With its length, so that no part can pass for the start of the next.
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        for part in body {
            hash.update(part);
        }
        hash.finalize().into()
    }
}

/// The value of `bx24_request_id`.
fn in_query(query: &[u8]) -> Option<&[u8]> {
    let at = FINDER.find_iter(query).find(|at| {
        let before = at.checked_sub(1).and_then(|before| query.get(before));
        before.is_none_or(|byte| *byte == b'&')
    })?;
    let value = query.get(at + NAME.len()..)?.split(|byte| *byte == b'&').next()?;
    is_id(value).then_some(value)
}

/// What is long, empty or cannot be printed is no id.
fn is_id(id: &[u8]) -> bool {
    (1..=ID_MAX).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic)
}

const NAME: &[u8] = b"bx24_request_id=";
static FINDER: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(NAME));
const ID_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;

    use super::*;
    use crate::client::{Client, Rules};

    #[test]
    fn an_id_is_found_where_php_would_find_it_and_nowhere_else() {
        let found = |query: &str| in_query(query.as_bytes()).map(<[u8]>::to_vec);
        let id = Some(b"a-1".to_vec());
        assert_eq!(found("bx24_request_id=a-1"), id);
        assert_eq!(found("bx24_request_id=a-1&bx24_sdk_ver=1"), id);
        assert_eq!(found("x=1&bx24_request_id=a-1"), id);
        assert_eq!(found("xbx24_request_id=b&bx24_request_id=a-1"), id);
        assert_eq!(found("xbx24_request_id=b"), None);
        assert_eq!(found("x=bx24_request_id=b"), None);
        assert_eq!(found("bx24_request_id"), None);
    }

    #[test]
    fn requests_are_the_same_only_if_everything_is() {
        let client = |name: &str| Caller {
            client: Some(Arc::new(Client {
                name: name.into(),
                portals: None,
                rules: Rules::default(),
                expires_at: None,
                weight: 1,
                max_wait: None,
                tally: Arc::default(),
            })),
            uid: None,
        };
        let (anonymous, first, second) = (Caller::default(), client("a"), client("b"));
        let (root, user) =
            (Caller { client: None, uid: Some(0) }, Caller { client: None, uid: Some(1) });
        let mark = |id: &str, is_field, accepts_gzip| Mark {
            id: id.as_bytes().into(),
            is_field,
            accepts_gzip,
        };
        let asking = Asking {
            caller: &anonymous,
            portal: "acme",
            line: b"POST /rest/crm.deal.add",
            content_type: None,
            body: [b"ab", b"c"],
        };
        let plain = mark("1", false, false);
        let mut all = vec![plain.identity(&asking)];
        for other in [mark("2", false, false), mark("1", true, false), mark("1", false, true)] {
            all.push(other.identity(&asking));
        }
        for caller in [&first, &second, &root, &user] {
            all.push(plain.identity(&Asking { caller, ..asking.clone() }));
        }
        for changed in [
            Asking { portal: "acm", ..asking.clone() },
            Asking { line: b"GET /rest/crm.deal.add", ..asking.clone() },
            Asking { portal: "acmeP", line: b"OST /rest/crm.deal.add", ..asking.clone() },
            Asking { content_type: Some(b""), ..asking.clone() },
            Asking { content_type: Some(b"text/plain"), ..asking.clone() },
            Asking { body: [b"ab", b""], ..asking.clone() },
        ] {
            all.push(plain.identity(&changed));
        }
        let different: HashSet<_> = all.iter().collect();
        assert_eq!(different.len(), all.len());
        // Where a body was cut on its way in says nothing.
        let cut = Asking { body: [b"a", b"bc"], ..asking.clone() };
        assert_eq!(all.first(), Some(&plain.identity(&cut)));
    }

    #[test]
    fn what_is_long_empty_or_cannot_be_printed_is_no_id() {
        assert!(is_id(&[b'a'; ID_MAX]));
        assert!(is_id(b"01890a5d-ac96-774b-bcce-b302099a8057"));
        for id in [&[b'a'; ID_MAX + 1][..], b"", b"a b", b"a\tb", b"\xd0\xb0"] {
            assert!(!is_id(id), "{id:?}");
        }
    }
}
