//! What is counted of a request when it ends, and of one that is turned away.

use tokio::time::Instant;

use crate::client::Client;
use crate::error::{Kind, Refusal, Sign};
use crate::gateway::admit::Call;
use crate::gateway::answer::Timing;
use crate::gateway::inbound::Inbound;
use crate::metrics::Guard;

/// Whom a refusal is counted with.
#[derive(Clone, Copy, Debug)]
pub(crate) enum About<'a> {
    /// A call of somebody to a portal.
    Call(&'a Call),
    /// A client, before there was a portal.
    Client(&'a Client),
    /// Nobody whom the gateway knows.
    Nobody,
}

impl<'a> About<'a> {
    /// A call, unless its portal is still a guess.
    pub(crate) fn call(call: &'a Call) -> Self {
        if call.settled().is_some() { Self::Call(call) } else { Self::Nobody }
    }

    /// A client, if there is one.
    pub(crate) fn client(client: Option<&'a Client>) -> Self {
        client.map_or(Self::Nobody, Self::Client)
    }
}

impl<S> Inbound<S> {
    /// What the gateway itself has added before the portal's answer can go on: neither the portal,
    /// nor a renewal, nor being held back, nor waiting for the client's body.
    pub(crate) fn count_overhead(&self, judged: Option<Instant>, timing: &Timing) {
        let from = self.under_way.gathered.or(self.under_way.begun);
        if let (Some(from), Some(judged)) = (from, judged) {
            let elsewhere = timing.portal + timing.refresh + timing.queue;
            self.tally.spent((judged - from).saturating_sub(elsewhere));
        }
    }

    /// How long a request took, once.
    pub(crate) fn count_duration(&mut self, ended: Instant) {
        if let Some(begun) = self.under_way.begun.take() {
            self.tally.took(ended - begun);
        }
    }

    /// A request that the gateway answers by itself.
    pub(crate) fn count_refusal(&mut self, refusal: &Refusal, about: About<'_>) {
        let (status, _) = refusal.kind.status();
        match about {
            About::Call(call) => call.count_answer(status),
            About::Client(client) => client.tally.unrouted(status),
            About::Nobody => self.tally.answered(status),
        }
        if let Some(guard) = guard(refusal) {
            self.tally.rejected(guard);
        }
        self.count_duration(Instant::now());
    }
}

impl Call {
    /// It was answered: a client's answers are counted with the client.
    pub(crate) fn count_answer(&self, status: u16) {
        match &self.caller.client {
            None => self.portal.tally.answered(status),
            Some(client) => client.tally.answered(&self.portal.tally, &self.portal.name, status),
        }
    }

    /// Whoever called has left before there was an answer.
    pub(crate) fn count_left(&self) {
        match &self.caller.client {
            None => self.portal.tally.left(),
            Some(client) => client.tally.left(&self.portal.tally, &self.portal.name),
        }
    }
}

/// What turned the request away, unless it failed on its way.
fn guard(refusal: &Refusal) -> Option<Guard> {
    Some(match refusal.kind {
        Kind::BrowserRefused => match refusal.sign {
            Some(Sign::Host) | None => Guard::Host,
            Some(Sign::Origin) => Guard::Origin,
            Some(Sign::SecFetch) => Guard::SecFetch,
            Some(Sign::Forwarded) => Guard::Forwarded,
        },
        Kind::VerbRefused => Guard::Verb,
        Kind::Malformed | Kind::ClientTimeout => Guard::Malformed,
        Kind::TargetTooLong | Kind::HeadTooLarge => Guard::HeadTooLarge,
        Kind::BodyTooLarge => Guard::BodyTooLarge,
        Kind::NotAMethod => Guard::NotAMethod,
        Kind::KeyRefused => Guard::Key,
        Kind::MethodForbidden => Guard::Method,
        Kind::PeerNotAllowed => Guard::Peer,
        Kind::PortalUnknown => Guard::PortalUnknown,
        Kind::NotConnected => Guard::NotConnected,
        Kind::QueryLimit
        | Kind::OperationTime
        | Kind::RefreshUnavailable
        | Kind::LinkExpired
        | Kind::PortalUnreachable
        | Kind::PortalTls
        | Kind::PortalBroken
        | Kind::PortalTimeout
        | Kind::PortalRedirect
        | Kind::Internal => return None,
    })
}
