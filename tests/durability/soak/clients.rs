//! Clients that write and read all the time, and what they were told of each write.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::dice::Dice;
use crate::support::http::{Answer, Client};

/// Where the gateway is at the moment.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Gateway {
    At(SocketAddr),
    Down,
    /// The run is over.
    Gone,
}

/// What a client knows of a write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fate {
    /// Answered with a success.
    Ran,
    /// Refused with `executed` `no`.
    NotRun,
    /// No answer, a broken one, or one with `executed` `unknown`.
    Unknown,
}

/// What clients have seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Every mark that was sent.
    pub(super) writes: BTreeMap<String, Fate>,
    pub(super) answered: u64,
}

impl Seen {
    pub(super) fn count(&self, fate: Fate) -> usize {
        self.writes.values().filter(|known| **known == fate).count()
    }
}

/// Starts a client; it ends when the gateway is gone for good.
pub(super) fn start(number: u64, seed: u64, gateway: watch::Receiver<Gateway>) -> JoinHandle<Seen> {
    let dice = Dice::new(seed ^ (number + 1));
    tokio::spawn(async move {
        let mut visitor = Visitor { number, dice, gateway, seen: Seen::default() };
        visitor.run().await;
        visitor.seen
    })
}

struct Visitor {
    number: u64,
    dice: Dice,
    gateway: watch::Receiver<Gateway>,
    seen: Seen,
}

impl Visitor {
    async fn run(&mut self) {
        loop {
            let now = *self.gateway.borrow_and_update();
            match now {
                Gateway::Gone => return,
                Gateway::Down => drop(self.gateway.changed().await),
                Gateway::At(address) => match Client::try_connect(address).await {
                    Ok(client) => self.visit(client, now).await,
                    // Killed, and the killer has not said so yet.
                    Err(_) => sleep(PAUSE).await,
                },
            }
        }
    }

    /// Calls one after the other, until the connection ends or the gateway is another one.
    async fn visit(&mut self, mut client: Client, gateway: Gateway) {
        while *self.gateway.borrow() == gateway {
            let goes_on = if self.dice.below(3) == 0 {
                let sent = "GET /rest/profile HTTP/1.1\r\nHost: localhost\r\n\r\n";
                let answer = call(&mut client, sent).await;
                self.seen.answered += u64::from(answer.is_some());
                answer.is_some()
            } else {
                self.write(&mut client).await
            };
            if !goes_on {
                return;
            }
            sleep(Duration::from_millis(self.dice.below(8))).await;
        }
    }

    async fn write(&mut self, client: &mut Client) -> bool {
        let mark = format!("c{}w{}", self.number, self.seen.writes.len());
        let body = format!("fields[TITLE]={mark}");
        let answer = call(
            client,
            &format!(
                "POST /rest/crm.deal.add?id={mark} HTTP/1.1\r\nHost: localhost\r\n\
                 Content-Type: application/x-www-form-urlencoded\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                body.len()
            ),
        )
        .await;
        let fate = answer.as_ref().map_or(Fate::Unknown, fate);
        let goes_on = answer.is_some();
        self.seen.answered += u64::from(goes_on);
        assert!(self.seen.writes.insert(mark, fate).is_none(), "a mark is sent once");
        goes_on
    }
}

/// A whole answer.
async fn call(client: &mut Client, request: &str) -> Option<Answer> {
    if !client.try_send(request).await {
        return None;
    }
    client.answer().await.filter(|answer| answer.whole)
}

fn fate(answer: &Answer) -> Fate {
    if answer.status == 200 {
        return Fate::Ran;
    }
    match answer.executed().as_str() {
        "no" => Fate::NotRun,
        "unknown" => Fate::Unknown,
        // No portal and no gateway here has a reason to say anything else.
        _ => panic!("{} {}", answer.head, answer.text()),
    }
}

const PAUSE: Duration = Duration::from_millis(2);
