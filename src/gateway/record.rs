//! What is noted of a request, from its head to its end. Each way in which a request can end comes
//! by here once: answered, refused, or left by its client.

use std::sync::Arc;

use tokio::time::Instant;

use crate::audit::{Executed, Line, Pen};
use crate::error::{self, Kind, Refusal};
use crate::gateway::caller::Caller;
use crate::gateway::verdict::Finding;
use crate::metrics::Replay;
use crate::portal::Portal;

/// The request under way on a connection. While nobody wants to know, it stays empty.
#[derive(Debug)]
pub(crate) struct Note {
    pen: Arc<Pen>,
    /// When its head was there; `None` when there is nothing to be noted.
    begun: Option<Instant>,
    /// Keeps its room from one request to the next.
    method: Vec<u8>,
    portal: Option<Arc<str>>,
    client: Option<Arc<str>>,
    uid: Option<u32>,
    pub(crate) replayed: Option<Replay>,
    /// As far as it has come.
    executed: Executed,
}

impl Note {
    pub(crate) fn new(pen: Arc<Pen>) -> Self {
        Self {
            pen,
            begun: None,
            method: Vec::new(),
            portal: None,
            client: None,
            uid: None,
            replayed: None,
            executed: Executed::No,
        }
    }

    /// A request has come.
    pub(crate) fn begin(&mut self, now: Instant) {
        self.begun = self.pen.writes().then_some(now);
        self.executed = Executed::No;
    }

    /// Its path names this method: text of the method grammar, so neither a key nor a token.
    pub(crate) fn names(&mut self, method: &[u8]) {
        if self.begun.is_some() {
            self.method.extend_from_slice(method);
        }
    }

    /// It is for this portal.
    pub(crate) fn reaches(&mut self, portal: &Portal) {
        if self.begun.is_some() {
            self.portal = Some(portal.label.clone());
        }
    }

    /// A program of this user sends it.
    pub(crate) fn comes_from(&mut self, uid: Option<u32>) {
        self.uid = uid;
    }

    /// This is who sends it, as far as that is known.
    pub(crate) fn called_by(&mut self, caller: &Caller) {
        if self.begun.is_some() {
            self.client = caller.client.as_ref().map(|client| client.name.clone());
            self.uid = caller.uid;
        }
    }

    /// Bytes of it may leave for the portal now.
    pub(crate) fn sent(&mut self) {
        self.executed = Executed::Unknown;
    }

    /// The portal's answer says this.
    pub(crate) fn judged(&mut self, finding: Finding) {
        self.executed = match finding {
            Finding::Ordinary => Executed::Yes,
            Finding::NotApi => Executed::Unknown,
            Finding::Expired
            | Finding::MaybeExpired
            | Finding::Unauthorized
            | Finding::BadWebhook(_)
            | Finding::QueryLimit
            | Finding::OperationTime
            | Finding::ConnectionError
            | Finding::Redirect => Executed::No,
        };
    }

    /// The portal's answer went on to the client, as far as the client took it.
    pub(crate) fn answered(&mut self, status: u16, ended: Instant) {
        self.end(Some(status), None, ended);
    }

    /// The gateway answers by itself. A head that could not be read has no beginning.
    pub(crate) fn refused(&mut self, refusal: &Refusal) {
        if self.begun.is_none() && !self.pen.writes() {
            return;
        }
        let now = Instant::now();
        self.begun.get_or_insert(now);
        self.executed = match refusal.executed {
            error::Executed::No => Executed::No,
            error::Executed::Unknown => Executed::Unknown,
        };
        self.end(Some(refusal.kind.status().0), Some(refusal.kind), now);
    }

    /// There is nobody to answer.
    pub(crate) fn left(&mut self) {
        if self.begun.is_some() {
            self.end(None, None, Instant::now());
        }
    }

    fn end(&mut self, status: Option<u16>, refused: Option<Kind>, ended: Instant) {
        let Some(begun) = self.begun.take() else { return };
        let line = Line {
            begun,
            ended,
            client: self.client.take(),
            uid: self.uid.take(),
            portal: self.portal.take(),
            status,
            replayed: self.replayed.take(),
            executed: self.executed,
            refused,
        };
        self.pen.write(line, &self.method);
        self.method.clear();
    }
}

impl Drop for Note {
    /// What is cut off by a panic or at the end of the process has been called all the same.
    fn drop(&mut self) {
        self.left();
    }
}
