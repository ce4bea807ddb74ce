//! Who is calling: the client whose key a request shows, and the user who runs the program.
//!
//! A key is looked for in the path, in `Authorization: Bearer`, in `auth` and in `access_token` of
//! the query, and only then in the body. The first that is shown decides; what is shown and is no
//! key of a client is refused, because a key that was revoked must not pass as nobody's.

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use zeroize::Zeroizing;

use crate::client::Client;
use crate::config;
use crate::error::{Kind, Refusal};
use crate::gateway::admit::Call;
use crate::gateway::body::Body;
use crate::gateway::head::Framing;
use crate::gateway::inbound::{Inbound, Stop};
use crate::gateway::outgoing::Asked;
use crate::gateway::parameter::decoded;
use crate::gateway::parameter::{self, Finder};
use crate::gateway::query::{Link, Meaning, meaning, php_name};
use crate::gateway::route::{self, Api, Target};
use crate::gateway::wire::ClientStream;
use crate::gateway::{Gateway, batch};
use crate::portal::Portal;

/// Who is calling.
#[derive(Clone, Debug, Default)]
pub(crate) struct Caller {
    /// The client; `None` is anonymous.
    pub(crate) client: Option<Arc<Client>>,
    /// The user of this machine who runs the calling program, where that was asked.
    pub(crate) uid: Option<u32>,
}

/// What is still to be asked of a call when its body is there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Ask {
    /// Nothing: the body passes unread.
    #[default]
    Nothing,
    /// Whose key is in it; until then the portal is a guess, unless the request names it.
    Key { portal_is_named: bool },
    /// Whether the client may call every command in it.
    Batch,
}

/// What a head shows where a key is looked for; never printed.
#[derive(Clone, Copy)]
pub(crate) struct Shown<'b>(&'b [u8]);

impl<'b> Shown<'b> {
    /// Nothing is shown by an empty place.
    pub(crate) fn new(text: &'b [u8]) -> Option<Self> {
        (!text.is_empty()).then_some(Self(text))
    }

    /// From the value of an `Authorization` field; other schemes than `Bearer` show nothing.
    pub(crate) fn bearer(value: &'b [u8]) -> Option<Self> {
        let (scheme, rest) = value.split_at_checked(b"Bearer".len())?;
        let is_it = scheme.eq_ignore_ascii_case(b"Bearer")
            && rest.first().is_some_and(u8::is_ascii_whitespace);
        Self::new(rest.trim_ascii()).filter(|_| is_it)
    }
}

impl fmt::Debug for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// What a head tells of who is calling.
#[derive(Debug, Default)]
pub(crate) struct Recognised {
    pub(crate) client: Option<Arc<Client>>,
    /// The body has to be looked at.
    pub(crate) in_body: bool,
}

impl Gateway {
    /// Who is calling, as far as the head tells.
    #[inline(never)]
    pub(crate) fn recognise(
        &self,
        target: &Target<'_>,
        asked: &Asked<'_>,
        framing: Framing,
        settings: &config::Gateway,
    ) -> Result<Recognised, Refusal> {
        let known = |client| Recognised { client: Some(client), in_body: false };
        if let Some(Shown(key)) = target.key.or(asked.bearer) {
            return self.client(key).map(known);
        }
        let (in_query, is_link) = shown_in(target.query);
        if let Some(key) = in_query {
            return self.client(&key).map(known);
        }
        // A link carries what opens the portal, and large files go to links.
        let readable = !is_link && !asked.unclear_body && Finder::of(asked.content_type).is_some();
        if framing != Framing::None && readable {
            return Ok(Recognised { client: None, in_body: true });
        }
        if settings.require_key { Err(key_needed()) } else { Ok(Recognised::default()) }
    }

    fn client(&self, shown: &[u8]) -> Result<Arc<Client>, Refusal> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        self.clients.by_key(shown, now).ok_or_else(|| {
            Refusal::new(
                Kind::KeyRefused,
                "the key that this call shows belongs to no client of this gateway, or no longer; \
                 `b24gate client add NAME` and `b24gate client rotate NAME` print one",
            )
        })
    }

    /// The portal of a call: the one it names, the client's only one, or the default.
    pub(crate) fn portal_for(
        &self,
        named: Option<Arc<Portal>>,
        client: Option<&Client>,
    ) -> Result<Arc<Portal>, Refusal> {
        let portal = named.or_else(|| match client.and_then(Client::only_portal) {
            Some(name) => self.portals.by_name(name),
            None => self.portals.default_portal(),
        });
        portal.ok_or_else(|| route::unknown(&self.portals))
    }

    /// Some portal for a call whose body has to be read before anybody knows which.
    pub(crate) fn portal_until_known(
        &self,
        named: Option<Arc<Portal>>,
    ) -> Result<Arc<Portal>, Refusal> {
        let portal = named.or_else(|| self.portals.default_portal());
        let any = || self.portals.names().iter().find_map(|name| self.portals.by_name(name));
        portal.or_else(any).ok_or_else(|| route::unknown(&self.portals))
    }

    /// Asks the body what the head has left open.
    pub(crate) async fn ask<S: ClientStream>(
        &self,
        inbound: &mut Inbound<S>,
        call: &mut Call,
        body: &mut Body,
        settings: &config::Gateway,
    ) -> Result<(), Stop> {
        let asked = self.look(inbound, call, body, settings).await;
        inbound.note.called_by(&call.caller);
        // A call that is refused here was for this portal, too, once it is known whose it is.
        if let Some(portal) = call.settled() {
            inbound.note.reaches(portal);
        }
        asked
    }

    async fn look<S: ClientStream>(
        &self,
        inbound: &mut Inbound<S>,
        call: &mut Call,
        body: &mut Body,
        settings: &config::Gateway,
    ) -> Result<(), Stop> {
        if let Ask::Key { portal_is_named } = call.ask {
            let content_type = call.content_type.as_deref();
            let shown = body.take_key(inbound, content_type, settings.replay_memory).await?;
            let client = match shown {
                parameter::Shown::Key(key) => Some(self.client(key.as_bytes())?),
                parameter::Shown::Unknown => return Err(key_elsewhere().into()),
                parameter::Shown::Nothing if settings.require_key => {
                    return Err(key_needed().into());
                }
                parameter::Shown::Nothing => None,
            };
            let named = portal_is_named.then(|| call.portal.clone());
            call.go_to(self.portal_for(named, client.as_deref())?);
            call.caller.client = client;
            call.permit()?;
            if let Some(closed) = call.portal.standing.closed() {
                return Err(self.closed(&call.portal, closed).into());
            }
        }
        if call.ask == Ask::Batch
            && let Some(client) = &call.caller.client
        {
            if matches!(body, Body::Upload(_)) {
                return Err(batch::too_large(client).into());
            }
            let [first, second] = body.slices(inbound.bytes());
            batch::check(client, call, &[first, second].concat())?;
        }
        Ok(())
    }
}

impl Call {
    /// Whether the client may call this portal and this method; a batch is asked about later.
    #[inline(never)]
    pub(crate) fn permit(&mut self) -> Result<(), Refusal> {
        self.ask = Ask::Nothing;
        let Some(client) = &self.caller.client else { return Ok(()) };
        if !client.may_call(&self.portal.name) {
            let text =
                format!("client {:?} may not call portal {:?}", client.name, self.portal.name);
            return Err(Refusal::new(Kind::MethodForbidden, text));
        }
        if client.rules.allow_all() {
            return Ok(());
        }
        let method = self.method();
        let is_batch = method.eq_ignore_ascii_case(b"batch");
        if !(if is_batch { client.rules.permit_batch() } else { client.rules.permit(method) }) {
            return Err(forbidden(client, method, ""));
        }
        if self.may_be_another_method() {
            let text = format!(
                "client {:?} has rules, and this call could be read as another method: version 3 \
                 takes its parameters as JSON, and `method` is none of them",
                client.name
            );
            return Err(Refusal::new(Kind::MethodForbidden, text));
        }
        if is_batch {
            self.ask = Ask::Batch;
        }
        Ok(())
    }

    /// The method without `.json` and `.xml`, which version 3 does not know.
    fn method(&self) -> &[u8] {
        match self.api {
            Api::V1 => crate::client::Rules::bare(self.head.method()),
            Api::V3 => self.head.method(),
        }
    }

    /// A portal that has no version 3 finds no method in such a path, and takes it from a parameter
    /// of that name, which PHP reads from queries and forms.
    fn may_be_another_method(&self) -> bool {
        let mut pairs = self.head.query().split(|byte| *byte == b'&');
        let names_one = pairs.any(|pair| {
            let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default();
            php_name(name).trim_ascii().eq_ignore_ascii_case(b"method")
        });
        let is_form = self.framing != Framing::None
            && (self.unclear_body || !batch::is_json(self.content_type.as_deref()));
        names_one || (self.api == Api::V3 && is_form)
    }

    /// Sends the call to this portal.
    fn go_to(&mut self, portal: Arc<Portal>) {
        if !Arc::ptr_eq(&portal, &self.portal) {
            self.site = Arc::clone(&portal.site());
            self.head.readdress(&self.site.authority);
            self.portal = portal;
        }
    }

    /// The portal that the call counts for; none while it is a guess.
    pub(crate) fn settled(&self) -> Option<&Portal> {
        (self.ask != Ask::Key { portal_is_named: false }).then_some(&*self.portal)
    }
}

/// A method that the client may not call; `place` says where it stands. It has passed the grammar
/// of methods, so it may be repeated.
pub(crate) fn forbidden(client: &Client, method: &[u8], place: &str) -> Refusal {
    let (name, method) = (&client.name, String::from_utf8_lossy(method));
    Refusal::new(
        Kind::MethodForbidden,
        format!(
            "client {name:?} may not call {method}{place}: its rules are `methods` and `read_only`"
        ),
    )
}

/// `auth` before `access_token`, the last of several as for PHP; and whether it is a signed link,
/// whose `auth` is none of ours.
fn shown_in(query: &[u8]) -> (Option<Zeroizing<Vec<u8>>>, bool) {
    let (mut auth, mut access_token, mut link) = (None, None, Link::default());
    for pair in query.split(|byte| *byte == b'&') {
        let value = || {
            let at = memchr::memchr(b'=', pair).map_or(pair.len(), |at| at + 1);
            Some(Zeroizing::new(decoded(pair.get(at..).unwrap_or_default())))
        };
        match meaning(pair) {
            kind @ Meaning::Auth => {
                link.note(kind, pair);
                auth = value();
            }
            Meaning::AccessToken => access_token = value(),
            kind @ Meaning::Token => link.note(kind, pair),
            Meaning::Credential | Meaning::Parameter => {}
        }
    }
    let is_link = link.is_signed();
    let shown = |text: &Zeroizing<Vec<u8>>| !text.is_empty();
    let auth = auth.filter(|auth| shown(auth) && !is_link);
    (auth.or_else(|| access_token.filter(shown)), is_link)
}

fn key_needed() -> Refusal {
    Refusal::new(
        Kind::KeyRefused,
        "this gateway asks for a client's key: call /rest/1/KEY/<method>, or send the field \
         `Authorization: Bearer KEY` or the parameter auth=KEY",
    )
}

fn key_elsewhere() -> Refusal {
    Refusal::new(
        Kind::KeyRefused,
        "the body is too large to be searched for a client's key: send the key in the path, \
         /rest/1/KEY/<method>, or in the field `Authorization: Bearer KEY`",
    )
}
