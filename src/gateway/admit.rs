//! From the bytes of a head to a call that may be forwarded, or to the reason why not.

use std::sync::Arc;

use crate::config;
use crate::error::{Kind, Refusal};
use crate::gateway::Gateway;
use crate::gateway::answer::Manner;
use crate::gateway::caller::Caller;
use crate::gateway::head::{self, FIELDS_MAX, Framing, Head, Verb, Version};
use crate::gateway::outgoing::{Asked, Outgoing};
use crate::gateway::record::Note;
use crate::gateway::route::{Api, Target};
use crate::gateway::wall::Wall;
use crate::portal::{Holder, Portal, Site};

/// A request that is let through, with nothing borrowed from the bytes it came in.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) caller: Caller,
    pub(crate) portal: Arc<Portal>,
    pub(crate) site: Arc<Site>,
    pub(crate) head: Outgoing,
    pub(crate) api: Api,
    pub(crate) framing: Framing,
    pub(crate) manner: Manner,
    pub(crate) expects_continue: bool,
    /// `/rest/download` answers files of any type.
    pub(crate) is_download: bool,
    pub(crate) content_type: Option<Vec<u8>>,
    pub(crate) request_id: Option<Vec<u8>>,
}

/// A request that is turned away.
#[derive(Debug)]
pub(crate) struct Turned {
    pub(crate) refusal: Refusal,
    pub(crate) manner: Manner,
    pub(crate) request_id: Option<Vec<u8>>,
}

impl Turned {
    /// Of a request that could not even be read: the connection cannot be trusted any further.
    pub(crate) fn unread(refusal: Refusal) -> Self {
        let manner = Manner { xml: false, head_only: false, http10: false, close: true };
        Self { refusal, manner, request_id: None }
    }
}

impl Gateway {
    /// Lets a request in or turns it away.
    pub(crate) fn admit(
        &self,
        bytes: &[u8],
        settings: &config::Gateway,
        local_socket: bool,
        note: &mut Note,
    ) -> Result<Call, Turned> {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let head = head::read(bytes, &mut fields).map_err(Turned::unread)?;
        let framing = head::framing(head.version, head.fields).map_err(Turned::unread)?;
        let mut asked = Asked::read(&head);
        let mut manner = manner_of(&head, &asked);
        let means = (&mut manner, settings, local_socket, note);
        self.call(&head, &mut asked, framing, means).map_err(|refusal| {
            // An unread body stands between this answer and the next request; so does doubt.
            manner.close |= framing != Framing::None || refusal.kind == Kind::Malformed;
            let request_id = asked.request_id.map(<[u8]>::to_vec);
            Turned { refusal, manner, request_id }
        })
    }

    fn call(
        &self,
        head: &Head<'_, '_>,
        asked: &mut Asked<'_>,
        framing: Framing,
        (manner, settings, local_socket, note): (&mut Manner, &config::Gateway, bool, &mut Note),
    ) -> Result<Call, Refusal> {
        let target = Target::parse(head.target);
        if let Ok(target) = &target {
            note.names(target.method);
        }
        let authority = target.as_ref().ok().and_then(|target| target.authority);
        let wall = Wall { settings, portals: &self.portals, local_socket };
        let host = asked.provenance.admit(head, authority, &wall)?;
        let target = target?;
        manner.xml = target.wants_xml();
        let portal = target.choose(&self.portals, asked.portal, &host)?;
        note.reaches(&portal);
        if matches!(portal.holder, Holder::IncomingWebhook(_)) {
            // What repeats the path of such a call has to be found in its answer.
            asked.only_plain();
        }
        let site = Arc::clone(&portal.site());
        let outgoing = Outgoing::prepare(head, &target, asked, &site.authority);
        Ok(Call {
            caller: Caller::default(),
            head: outgoing,
            api: target.api,
            framing,
            manner: *manner,
            expects_continue: asked.expects_continue && head.version == Version::Http11,
            is_download: is_download(target.method),
            content_type: asked.content_type.map(<[u8]>::to_vec),
            request_id: asked.request_id.map(<[u8]>::to_vec),
            portal,
            site,
        })
    }
}

fn manner_of(head: &Head<'_, '_>, asked: &Asked<'_>) -> Manner {
    let http10 = head.version == Version::Http10;
    Manner {
        xml: false,
        head_only: head.verb == Verb::Head,
        http10,
        close: asked.close || (http10 && !asked.keep_alive),
    }
}

/// Files come from `download` and from methods whose name ends in it, with or without a suffix.
fn is_download(method: &[u8]) -> bool {
    let suffix = [&b".json"[..], b".xml"].into_iter().find_map(|end| method.strip_suffix(end));
    let method = suffix.unwrap_or(method);
    let start = method.len().saturating_sub(b"download".len());
    method.get(start..).is_some_and(|end| end.eq_ignore_ascii_case(b"download"))
}
