//! From the bytes of a head to a call that may be forwarded, or to the reason why not.

use std::sync::Arc;

use crate::client::Client;
use crate::config;
use crate::error::{Kind, Refusal};
use crate::gateway::Gateway;
use crate::gateway::answer::Manner;
use crate::gateway::caller::{Ask, Caller, Recognised};
use crate::gateway::cors;
use crate::gateway::head::{self, FIELDS_FEW, FIELDS_MAX, Framing, Head, Verb, Version};
use crate::gateway::outgoing::{Asked, Outgoing};
use crate::gateway::peer;
use crate::gateway::query::Carries;
use crate::gateway::record::Note;
use crate::gateway::route::{Api, Target};
use crate::gateway::twin::Mark;
use crate::gateway::wall::Wall;
use crate::portal::{Holder, Portal, Site};

/// A request that is let through, with nothing borrowed from the bytes it came in.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) caller: Caller,
    pub(crate) ask: Ask,
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
    pub(crate) unclear_body: bool,
    pub(crate) request_id: Option<Vec<u8>>,
    /// Of the page that sends it, where the operator allows that.
    pub(crate) origin: Option<Box<str>>,
    /// The id by which a repetition of it is known.
    pub(crate) mark: Option<Mark>,
}

/// A request that is turned away.
#[derive(Debug)]
pub(crate) struct Turned {
    pub(crate) refusal: Refusal,
    pub(crate) manner: Manner,
    /// Who sends it, where that was found out.
    pub(crate) client: Option<Arc<Client>>,
    pub(crate) request_id: Option<Vec<u8>>,
    /// Of the page that sends it, where the operator allows that.
    pub(crate) origin: Option<Box<str>>,
    /// It is the preflight of such a page: the fields that it may send, said instead of the refusal.
    pub(crate) preflight: Option<String>,
}

impl Turned {
    /// Of a request that could not even be read: the connection cannot be trusted any further.
    pub(crate) fn unread(refusal: Refusal) -> Self {
        let manner = Manner { xml: false, head_only: false, http10: false, close: true };
        Self { refusal, manner, client: None, request_id: None, origin: None, preflight: None }
    }
}

/// What is known of a request besides its head.
#[derive(Debug)]
pub(crate) struct Arrival<'a> {
    pub(crate) settings: &'a config::Gateway,
    pub(crate) local_socket: bool,
    pub(crate) peer: Option<peer::Asked>,
    pub(crate) note: &'a mut Note,
}

impl Gateway {
    /// Lets a request in or turns it away.
    pub(crate) fn admit(&self, bytes: &[u8], arrival: Arrival<'_>) -> Result<Call, Box<Turned>> {
        let unread = |refusal| Box::new(Turned::unread(refusal));
        let mut few = [httparse::EMPTY_HEADER; FIELDS_FEW];
        let mut many;
        let head = match head::read(bytes, &mut few) {
            Err(refusal) if refusal.kind == Kind::HeadTooLarge => {
                many = [httparse::EMPTY_HEADER; FIELDS_MAX];
                head::read(bytes, &mut many)
            }
            head => head,
        };
        let head = head.map_err(unread)?;
        let framing = head::framing(head.version, head.fields).map_err(unread)?;
        let mut asked = Asked::read(&head);
        let mut manner = manner_of(&head, &asked);
        let settings = arrival.settings;
        let mut client = None;
        let means = (&mut manner, &mut client);
        let admitted = self.call((&head, framing), &mut asked, means, arrival);
        admitted.map_err(|refusal| {
            // An unread body stands between this answer and the next request; so does doubt. Whose
            // program may not connect gets no further request.
            manner.close |= framing != Framing::None
                || matches!(refusal.kind, Kind::Malformed | Kind::PeerNotAllowed);
            let request_id = asked.request_id.map(<[u8]>::to_vec);
            let page = &asked.provenance;
            let origin = page.allowed_origin(settings).map(Box::from);
            let asks = refusal.kind == Kind::VerbRefused && page.is_preflight;
            let fields = page.page_headers.unwrap_or_default();
            let preflight = (asks && origin.is_some()).then(|| cors::permitted(fields));
            Box::new(Turned { refusal, manner, client, request_id, origin, preflight })
        })
    }

    fn call(
        &self,
        (head, framing): (&Head<'_, '_>, Framing),
        asked: &mut Asked<'_>,
        (manner, known): (&mut Manner, &mut Option<Arc<Client>>),
        arrival: Arrival<'_>,
    ) -> Result<Call, Refusal> {
        let Arrival { settings, local_socket, peer, note } = arrival;
        note.comes_from(peer.and_then(peer::Asked::uid));
        let uid = peer::admit(peer, settings)?;
        let target = Target::parse(head.target);
        if let Ok(target) = &target {
            note.names(target.method);
        }
        let authority = target.as_ref().ok().and_then(|target| target.authority);
        let wall = Wall { settings, portals: &self.portals, doors: &self.doors, local_socket };
        let host = asked.provenance.admit(head, authority, &wall)?;
        if head.verb == Verb::Options {
            return Err(head::verb_refused());
        }
        let target = target?;
        manner.xml = target.wants_xml();
        let keys_matter = settings.require_key || !self.clients.is_open();
        let Recognised { client, in_body } = if keys_matter {
            self.recognise(&target, asked, framing, settings)?
        } else {
            Recognised::default()
        };
        let caller = Caller { client, uid };
        note.called_by(&caller);
        known.clone_from(&caller.client);
        let named = target.named(&self.portals, asked.portal, &host)?;
        let portal_is_named = named.is_some();
        let portal = if in_body {
            self.portal_until_known(named)?
        } else {
            self.portal_for(named, caller.client.as_deref())?
        };
        let may_change = in_body && !portal_is_named;
        if !may_change {
            note.reaches(&portal);
        }
        if may_change || matches!(portal.holder, Holder::IncomingWebhook(_)) {
            // What repeats the path of such a call has to be found in its answer.
            asked.only_plain();
        }
        let ask = if in_body { Ask::Key { portal_is_named } } else { Ask::Nothing };
        let means = (&target, *manner, settings);
        let mut call = prepare((head, framing), asked, means, (caller, portal, ask));
        if call.caller.client.is_some() {
            call.permit()?;
        }
        Ok(call)
    }
}

/// What the portal gets of a request, and what has to be known of it on its way.
#[inline]
fn prepare(
    (head, framing): (&Head<'_, '_>, Framing),
    asked: &mut Asked<'_>,
    (target, manner, settings): (&Target<'_>, Manner, &config::Gateway),
    (caller, portal, ask): (Caller, Arc<Portal>, Ask),
) -> Call {
    let site = Arc::clone(&portal.site());
    let mut outgoing = Outgoing::prepare(head, target, asked, &site.authority);
    let is_download = is_download(target.method);
    let may_join = !is_download && !manner.head_only && outgoing.carries == Carries::Parameters;
    let mark = if may_join { Mark::of(asked, target.query) } else { None };
    if framing == Framing::None && !is_download && outgoing.post_if_too_long(head, target, asked) {
        asked.content_type = None;
    }
    Call {
        caller,
        ask,
        head: outgoing,
        api: target.api,
        framing,
        manner,
        expects_continue: asked.expects_continue && head.version == Version::Http11,
        is_download,
        content_type: asked.content_type.map(<[u8]>::to_vec),
        unclear_body: asked.unclear_body,
        request_id: asked.request_id.map(<[u8]>::to_vec),
        origin: asked.provenance.allowed_origin(settings).map(Box::from),
        mark,
        portal,
        site,
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
