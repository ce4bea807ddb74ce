//! One target: a task that brings it what it has not heard, and remembers what it has. Whatever a
//! target does, the other one and everything else go on.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch::Receiver;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::field::display;

use crate::config;
use crate::credential::Custody;
use crate::metrics::Delivery;
use crate::transport::Connector;

use super::outbox::{Facts, Heard, Outbox, Step};
use super::subject::{Condition, Subject};
use super::watch::Change;
use super::{command, message, webhook};

/// What is alerted, and with what it starts.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) kind: Kind,
    pub(super) heard: Heard,
    pub(super) facts: Receiver<Arc<Facts>>,
    pub(super) settings: Receiver<Arc<config::Alerts>>,
    pub(super) custody: Arc<Custody>,
    pub(super) admin_url: String,
}

/// How alerts reach people.
#[derive(Debug)]
pub(super) enum Kind {
    /// Posted, over connections from here.
    Webhook(Connector),
    /// Given to a program.
    Command,
}

/// A delivery that the store does not know of yet.
#[derive(Debug)]
struct Unwritten {
    subject: Subject,
    condition: Condition,
}

impl Kind {
    /// The first word of what is remembered for it.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Webhook(_) => "webhook",
            Self::Command => "command",
        }
    }

    /// What may be shown of the target; nothing when there is none.
    fn place(&self, settings: &config::Alerts) -> Option<String> {
        match self {
            Self::Webhook(_) => settings.webhook.as_ref().map(|it| it.server.authority()),
            Self::Command => settings.command.as_ref().map(|it| name(&it.program)),
        }
    }

    async fn deliver(&self, settings: &config::Alerts, text: String) -> Result<(), String> {
        match (self, &settings.webhook, &settings.command) {
            (Self::Webhook(connector), Some(webhook), _) => {
                webhook::post(connector, webhook, text).await
            }
            (Self::Command, _, Some(command)) => command::run(command, &text).await,
            // Nothing is due where there is no target.
            (Self::Webhook(_) | Self::Command, ..) => Ok(()),
        }
    }
}

impl Target {
    /// Serves until the facts end.
    pub(super) async fn run(mut self) {
        let mut unwritten = Vec::new();
        self.serve(&mut unwritten).await;
        // The last chance for what the store did not take.
        self.remember(None, &mut unwritten).await;
    }

    async fn serve(&mut self, unwritten: &mut Vec<Unwritten>) {
        let mut outbox = Outbox::new(std::mem::take(&mut self.heard));
        loop {
            let settings = self.settings.borrow_and_update().clone();
            let facts = self.facts.borrow_and_update().clone();
            if self.facts.has_changed().is_err() {
                return;
            }
            let mut wake = None;
            if let Some(place) = self.kind.place(&settings) {
                match outbox.step(Instant::now(), &facts) {
                    Step::Send(change) => {
                        let told = self.tell(&settings, &place, &change, &mut outbox).await;
                        self.remember(told, unwritten).await;
                        continue;
                    }
                    Step::Wait(until) => wake = Some(until),
                    Step::Idle => {}
                }
            }
            let retry = (!unwritten.is_empty()).then(|| Instant::now() + WRITE_AGAIN);
            let wake = wake.into_iter().chain(retry).min();
            tokio::select! {
                changed = self.facts.changed() => if changed.is_err() { return },
                changed = self.settings.changed() => {
                    if changed.is_err() { return }
                    outbox.start_anew();
                }
                () = until(wake) => self.remember(None, unwritten).await,
            }
        }
    }

    /// One attempt; says what people have heard by it.
    async fn tell(
        &mut self,
        settings: &config::Alerts,
        place: &str,
        change: &Change,
        outbox: &mut Outbox,
    ) -> Option<Unwritten> {
        let text = message::json(change, &self.admin_url);
        let (subject, condition) = (&change.subject, change.fact.condition);
        let outcome = tokio::select! {
            outcome = self.kind.deliver(settings, text) => outcome,
            Ok(()) = self.settings.changed() => {
                // The new target gets it, whatever became of the old one.
                outbox.start_anew();
                return None;
            }
        };
        let (target, word) = (self.kind.word(), condition.word());
        let (about, portal) = (subject.word(), subject.portal().map(display));
        match outcome {
            Ok(()) => {
                outbox.delivered(subject, condition);
                self.custody.metrics().alerted(target, Delivery::Delivered);
                tracing::info!(%target, %place, subject = %about, portal, condition = %word, "alert delivered");
                Some(Unwritten { subject: subject.clone(), condition })
            }
            Err(reason) => {
                let pause = outbox.failed(subject, Instant::now());
                self.custody.metrics().alerted(target, Delivery::Failed);
                tracing::warn!(
                    %target, %place, subject = %about, portal, condition = %word, %reason,
                    next_try_in = %format_args!("{:.0}s", pause.as_secs_f64()),
                    "alert NOT delivered"
                );
                None
            }
        }
    }

    /// Writes down what was told. A store that fails is one thing that people are told about, so
    /// what it does not take now is kept for later.
    async fn remember(&self, told: Option<Unwritten>, unwritten: &mut Vec<Unwritten>) {
        if let Some(told) = told {
            unwritten.retain(|older| older.subject != told.subject);
            unwritten.push(told);
        }
        while let Some(Unwritten { subject, condition }) = unwritten.first() {
            let key = subject.key(self.kind.word());
            let writing = self.custody.store().remember_alert(&key, condition.word());
            let written = match timeout(WRITE_MAX, writing).await {
                Ok(outcome) => outcome.map_err(|error| error.to_string()),
                Err(_elapsed) => Err("the store does not answer".to_owned()),
            };
            if let Err(reason) = written {
                tracing::debug!(%key, %reason, "alert not remembered yet");
                return;
            }
            unwritten.remove(0);
        }
    }
}

/// Never, when there is nothing to wake up for.
async fn until(wake: Option<Instant>) {
    match wake {
        Some(wake) => sleep_until(wake).await,
        None => std::future::pending().await,
    }
}

/// The last part of a path: what people call the program.
fn name(program: &Path) -> String {
    program.file_name().unwrap_or(program.as_os_str()).to_string_lossy().into_owned()
}

/// How long a note to the store may take before the next alert goes first.
const WRITE_MAX: Duration = Duration::from_secs(5);
/// How long until it is tried again.
const WRITE_AGAIN: Duration = Duration::from_secs(10);
