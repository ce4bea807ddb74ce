//! Answers of the gateway's own.

use std::io::IoSlice;
use std::time::Duration;

use crate::error::Refusal;
use crate::gateway::Then;
use crate::gateway::admit::Turned;
use crate::gateway::answer::{self, Manner};
use crate::gateway::counts::About;
use crate::gateway::guard::{Reached, UnderWay};
use crate::gateway::inbound::Inbound;
use crate::gateway::wire::{ClientStream, write_all};

/// Sends an answer of the gateway's own to a request, which was a call if it got so far.
pub(super) async fn respond<S: ClientStream>(
    inbound: &mut Inbound<S>,
    refusal: &Refusal,
    manner: Manner,
    about: About<'_>,
) -> Then {
    inbound.count_refusal(refusal, about);
    inbound.note.refused(refusal);
    if let Some(lead) = inbound.under_way.twin.take() {
        lead.refused(refusal);
    }
    let id = answer::request_id(inbound.under_way.request_id.take().as_deref());
    inbound.under_way.reached = Reached::Client;
    tracing::debug!(code = refusal.kind.code(), request_id = id, "refused");
    let UnderWay { origin, replayed, .. } = &inbound.under_way;
    let bytes = answer::refuse(refusal, manner, &id, (origin.as_deref(), *replayed));
    say(inbound, &bytes, manner).await
}

/// Answers a request that was not let in.
pub(super) async fn turn_away<S: ClientStream>(inbound: &mut Inbound<S>, turned: Turned) -> Then {
    inbound.under_way.request_id = turned.request_id;
    inbound.under_way.origin = turned.origin;
    if let Some(fields) = turned.preflight {
        return permit(inbound, &fields, turned.manner).await;
    }
    let about = About::client(turned.client.as_deref());
    respond(inbound, &turned.refusal, turned.manner, about).await
}

/// Lets a page of an allowed origin send what its browser has asked about.
async fn permit<S: ClientStream>(inbound: &mut Inbound<S>, fields: &str, manner: Manner) -> Then {
    inbound.under_way.reached = Reached::Client;
    let bytes = answer::permit(fields, manner, inbound.under_way.origin.as_deref());
    say(inbound, &bytes, manner).await
}

async fn say<S: ClientStream>(inbound: &mut Inbound<S>, bytes: &[u8], manner: Manner) -> Then {
    let mut slices = [IoSlice::new(bytes)];
    let writing = write_all(&mut inbound.stream, &mut slices);
    match inbound.deadline.limit(RESPOND_MAX, writing).await {
        Ok(Ok(())) if manner.close => Then::CloseGently,
        Ok(Ok(())) => Then::Next,
        _ => Then::Close,
    }
}

/// What a client gets whose request ended in a panic: words, or where it is too late for them a
/// transfer that is plainly broken.
pub(super) async fn apologise<S: ClientStream>(inbound: &mut Inbound<S>) -> Then {
    let UnderWay { manner, reached, .. } = inbound.under_way;
    let Some(refusal) = inbound.under_way.apology() else {
        tracing::error!("answer cut off by a panic");
        inbound.stream.reset_on_close();
        return Then::Close;
    };
    if reached == Reached::Nothing && inbound.bytes().is_empty() {
        return Then::Close; // nobody has asked for anything
    }
    let request_id = answer::request_id(inbound.under_way.request_id.take().as_deref());
    tracing::error!(request_id, executed = refusal.executed.as_str(), "call ended by a panic");
    inbound.under_way.request_id = Some(request_id.into_bytes());
    respond(inbound, &refusal, Manner { close: true, ..manner }, About::Nobody).await
}

const RESPOND_MAX: Duration = Duration::from_secs(10);
