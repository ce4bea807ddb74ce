//! Panics in the handling of a request: a defect of ours that one client is told of and that
//! nobody else notices.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::time::Instant;

use crate::error::{Kind, Refusal};
use crate::gateway::answer::Manner;
use crate::gateway::twin::Lead;
use crate::metrics::Replay;

/// What has to be known of a request when nothing is left of it but its connection.
#[derive(Debug)]
pub(crate) struct UnderWay {
    pub(crate) manner: Manner,
    pub(crate) request_id: Option<Vec<u8>>,
    /// Of the page that sent it, where the operator allows that.
    pub(crate) origin: Option<Box<str>>,
    pub(crate) reached: Reached,
    /// When its head was there.
    pub(crate) begun: Option<Instant>,
    /// When its body was there, where that was waited for.
    pub(crate) gathered: Option<Instant>,
    /// The duty towards those who repeat it.
    pub(crate) twin: Option<Box<Lead>>,
    /// Its answer is another request's: it has not run itself.
    pub(crate) replayed: Option<Replay>,
}

/// How far a request has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    /// There is none, or not all of its head.
    Nothing,
    /// It is being looked at, and nobody has heard of it.
    Gateway,
    /// Bytes of it may have left for the portal.
    Portal,
    /// Bytes of an answer may have left for the client.
    Client,
}

impl UnderWay {
    /// Before the head has been read nothing is known, so the connection cannot go on either.
    pub(crate) fn nothing() -> Self {
        let manner = Manner { xml: false, head_only: false, http10: false, close: true };
        Self {
            manner,
            request_id: None,
            origin: None,
            reached: Reached::Nothing,
            begun: None,
            gathered: None,
            twin: None,
            replayed: None,
        }
    }

    /// It is about to be sent.
    pub(crate) fn leaves(&mut self) {
        self.reached = Reached::Portal;
        if let Some(lead) = &mut self.twin {
            lead.sent();
        }
    }

    /// The portal has answered that it did not run it.
    pub(crate) fn rejected(&mut self) {
        if let Some(lead) = self.twin.take() {
            lead.rejected();
        }
    }

    /// What the client is told; nothing when an answer to it has begun already.
    pub(crate) fn apology(&self) -> Option<Refusal> {
        let text = "the gateway failed at this call by a defect of its own";
        match self.reached {
            Reached::Nothing | Reached::Gateway => {
                let text = format!("{text}; the call has not run");
                Some(Refusal::new(Kind::Internal, text).not_executed())
            }
            Reached::Portal => {
                let text = format!(
                    "{text} after it was sent; whether the call has run is not known, so check \
                     before you repeat a write"
                );
                Some(Refusal::new(Kind::Internal, text))
            }
            Reached::Client => None,
        }
    }
}

/// Work that is polled to its end or to its first panic. It is not polled again after that, and
/// what it had borrowed must be taken for half done.
#[derive(Debug)]
pub(crate) struct Guarded<'w, F>(pub(crate) Pin<&'w mut F>);

/// The work ended in a panic, of which the log has the message and the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Panicked;

impl<F: Future> Future for Guarded<'_, F> {
    type Output = Result<F::Output, Panicked>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let work = &mut self.get_mut().0;
        match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(cx))) {
            Ok(poll) => poll.map(Ok),
            Err(_message) => Poll::Ready(Err(Panicked)),
        }
    }
}
