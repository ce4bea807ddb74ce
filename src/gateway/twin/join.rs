//! A request that carries an id, before it runs.

use std::io::IoSlice;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::error::{Kind, Refusal};
use crate::gateway::admit::Call;
use crate::gateway::answer::{self, Timing};
use crate::gateway::body::Body;
use crate::gateway::cors;
use crate::gateway::guard::Reached;
use crate::gateway::inbound::{Inbound, Stop};
use crate::gateway::relay::Pace;
use crate::gateway::twin::mark::{Asking, Identity};
use crate::gateway::twin::{Answer, Joined, Kept, Mark, Outcome};
use crate::gateway::wire::ClientStream;
use crate::gateway::{Gateway, Then};
use crate::metrics::Replay;

impl Gateway {
    /// Answers a request that repeats another. `None` when it is to run, the first of its kind.
    pub(in crate::gateway) async fn join<S: ClientStream>(
        &self,
        inbound: &mut Inbound<S>,
        (call, mark): (&Call, &Mark),
        body: &Body,
        wait: Duration,
    ) -> Result<Option<Then>, Stop> {
        if matches!(body, Body::Upload(_)) {
            return Ok(None);
        }
        let asked = Asking {
            caller: &call.caller,
            portal: &call.portal.name,
            line: call.head.line(),
            content_type: call.content_type.as_deref(),
            body: body.slices(inbound.bytes()),
        };
        let identity = mark.identity(&asked);
        let first = self.first(inbound, identity, wait).await;
        let Some(first) = first.transpose() else { return Ok(None) };
        inbound.consume(body.in_inbox());
        let kept = first?;
        inbound.under_way.replayed = Some(Replay::RequestId);
        inbound.note.replayed = Some(Replay::RequestId);
        inbound.tally.replayed(Replay::RequestId);
        match &*kept {
            Kept::Answer(answer) => give(inbound, call, answer, wait).await.map(Some),
            Kept::Refusal(refusal) => Err(Stop::Refuse(refusal.clone())),
        }
    }

    /// How the first one ended, waited for; nothing when this is the first, or as good as that.
    async fn first<S: ClientStream>(
        &self,
        inbound: &mut Inbound<S>,
        identity: Identity,
        wait: Duration,
    ) -> Result<Option<Arc<Kept>>, Stop> {
        let until = Instant::now() + wait;
        loop {
            let mut told = match self.twins.join(identity) {
                Joined::First(lead) => {
                    inbound.under_way.twin = Some(lead);
                    return Ok(None);
                }
                Joined::Unnoted => return Ok(None),
                Joined::Ended(kept) => return Ok(Some(kept)),
                Joined::Crowded => return Err(running("too many wait for it already").into()),
                Joined::Wait(told) => told,
            };
            tracing::debug!("waiting for the answer to the same request");
            let ended = async {
                let ended = told.wait_for(|outcome| !matches!(outcome, Outcome::Pending)).await;
                ended.map_or(Outcome::NotRun, |outcome| outcome.clone())
            };
            let left = until.saturating_duration_since(Instant::now());
            match inbound.deadline.limit(left, ended).await {
                Ok(Outcome::Ended(kept)) => return Ok(Some(kept)),
                Ok(Outcome::NotRun | Outcome::Pending) => {}
                Err(_elapsed) => return Err(running("the portal has not answered it yet").into()),
            }
        }
    }
}

/// Gives an answer that another request got.
async fn give<S: ClientStream>(
    inbound: &mut Inbound<S>,
    call: &Call,
    answer: &Answer,
    silence_max: Duration,
) -> Result<Then, Stop> {
    let mut head = answer.fields.clone();
    cors::open_to(&mut head, inbound.under_way.origin.as_deref());
    let replayed = Some(Replay::RequestId);
    answer::finish(&mut head, call.manner, answer.stated, &Timing::default(), replayed);
    inbound.under_way.reached = Reached::Client;
    let pace = Pace { deadline: &inbound.deadline, portal: silence_max };
    let mut slices = [IoSlice::new(&head), IoSlice::new(&answer.body)];
    let written = pace.write(&mut inbound.stream, &mut slices).await;
    call.count_answer(answer.status);
    let ended = Instant::now();
    inbound.count_duration(ended);
    inbound.note.called_by(&call.caller);
    inbound.note.answered(answer.status, ended);
    Ok(if written.is_err() || call.manner.close { Then::Close } else { Then::Next })
}

/// The same request runs, and its end cannot be waited for.
fn running(why: &str) -> Refusal {
    Refusal::new(
        Kind::PortalTimeout,
        format!("the same request is running, and {why}; whether it has run is not known"),
    )
}
