//! One portal's chain through a fault: what is lost when it breaks, and the proof that it has not.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use b24gate::config::Config;
use b24gate::credential::Grant;
use b24gate::sandbox::{Sandbox, Seed};
use b24gate::store::{Seat, SqliteStore, StateDirectory, Store as _};
use serde_json::{Value, json};

use super::calls::{portal, profile, request, switch, token_requests};
use super::http::{Answer, Client};
use super::{Gate, Setup};

/// How the OAuth server treats a refresh token that comes twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Server {
    /// Refuses it, and every access token but the newest.
    Strict,
    /// Gives another pair.
    Lenient,
    /// As [`Server::Strict`], and the gateway has a spare chain.
    StrictWithSpare,
}

/// A portal, and the state directory of a gateway that is connected to it.
#[derive(Debug)]
pub struct Chain {
    pub portal: Sandbox,
    pub server: Server,
    pub seed: Seed,
    pub setup: Setup,
    /// Where answers go that the state directory does not take, on another file system.
    spool: Arc<tempfile::TempDir>,
}

impl Chain {
    pub async fn new(server: Server) -> Self {
        let portal = portal().await;
        let rotation = if server == Server::Lenient { "lenient" } else { "strict" };
        switch(&portal, json!({"rotation": rotation, "old_access_dies": true}));
        let seed = portal.seed();
        let spool = tempfile::tempdir_in("/dev/shm").unwrap();
        // Said, so that finding it out does not write to the store at some moment.
        let setup = Setup::of(&seed).portal("inject = \"bearer\"");
        let setup = setup.env("XDG_RUNTIME_DIR", spool.path().to_str().unwrap());
        setup.write();
        setup.import(&seed);
        let chain = Self { portal, server, seed, setup, spool: Arc::new(spool) };
        if server == Server::StrictWithSpare {
            chain.add_spare();
        }
        chain
    }

    /// The gateway, which has served once.
    pub async fn start(&self) -> Gate {
        self.start_with(self.setup.clone()).await
    }

    /// As [`Chain::start`], with a failpoint.
    pub async fn start_armed(&self, failpoint: &str) -> Gate {
        self.start_with(self.setup.clone().env("B24GATE_FAILPOINT", failpoint)).await
    }

    async fn start_with(&self, setup: Setup) -> Gate {
        let gate = setup.start();
        assert_eq!(profile(&gate).await.status, 200);
        assert_eq!(self.portal.control().exchanges(), 0);
        gate
    }

    /// The access token expires, and somebody calls; `None` when the connection ends without an
    /// answer.
    pub async fn call_expired(&self, gate: &Gate) -> Option<Answer> {
        self.portal.control().expire();
        let mut client = Client::connect(gate.address).await;
        client.send(request("/rest/profile")).await;
        client.answer().await
    }

    pub fn exchanges(&self) -> u64 {
        self.portal.control().exchanges()
    }

    /// Requests to the token endpoint, whatever came of them.
    pub fn asked(&self) -> usize {
        token_requests(&self.portal).len()
    }

    /// Files in the spool.
    pub fn spooled(&self) -> Vec<PathBuf> {
        let files = std::fs::read_dir(self.spool.path().join("b24gate"));
        files.map(|files| files.map(|it| it.unwrap().path()).collect()).unwrap_or_default()
    }

    pub fn spool(&self) -> &Path {
        self.spool.path()
    }

    /// Three more expiries, each of which costs one exchange and no caller anything.
    pub async fn assert_alive(&self, gate: &Gate) {
        for _ in 0..3 {
            let before = self.exchanges();
            let answer = self.call_expired(gate).await.expect("an answer");
            assert_eq!(answer.status, 200, "{}", answer.text());
            assert_eq!(self.exchanges(), before + 1);
        }
    }

    /// Every refresh token that was presented was the newest of its chain; `again` of them had been
    /// presented before, because nobody knew what had come of it.
    pub fn assert_history(&self, again: usize) {
        let state = self.portal.control().state();
        let events: Vec<_> = state["refresh_tokens"].as_array().unwrap().clone();
        let (mut newest, mut presented, mut twice) = (Value::Null, Vec::new(), 0);
        for event in events.iter().filter(|it| it["chain"] == json!(1)) {
            if event["outcome"] != "seeded" {
                if presented.last() == Some(&event["presented"]) {
                    twice += 1;
                } else {
                    assert_eq!(event["presented"], newest, "an old one was presented: {events:#?}");
                }
                presented.push(event["presented"].clone());
            }
            if !event["issued"].is_null() {
                newest = event["issued"].clone();
            }
        }
        assert_eq!(twice, again, "{events:#?}");
    }

    fn add_spare(&self) {
        let config = Config::parse(&self.setup.text(), &self.setup.config()).unwrap();
        let state = StateDirectory::open(&self.setup.state()).unwrap();
        let mut response = self.portal.seed().token_response;
        // Like one that has waited for a while.
        response["expires"] = json!(1_700_000_000);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let grant = Grant::parse(response.to_string().as_bytes(), now).unwrap();
        let adding = async {
            let store = SqliteStore::open(&state, &config.store).await.unwrap();
            store.add("acme", &grant, Seat::Spare).await.unwrap();
            store.close().await;
        };
        tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(adding));
    }
}
