mod arrivals;
mod faults;
mod lost;
mod spares;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::runtime::Handle;

use super::*;
use crate::config::{self, Endpoint, Inject, KeySource};
use crate::credential::hold::Pace;
use crate::credential::oauth::tests::{Line, Server, client, pair};
use crate::credential::{Admitted, ChainId, Custody, Grant, Link, RawAnswer, Replace, Secret};
use crate::store::{Added, LedgerEntry, Pending, Record, Seat, SqliteStore, StateDirectory, Store};

/// The real store, which can be told to fail.
#[derive(Debug)]
struct Faulty {
    inner: SqliteStore,
    no_intent: AtomicBool,
    no_receive: AtomicBool,
    no_commit: AtomicBool,
    no_seat: AtomicBool,
    /// Gives a seat, and says that it failed.
    seat_unheard: AtomicBool,
    panic: AtomicBool,
    /// The order of what reached the store.
    steps: Mutex<Vec<String>>,
    commits_refused: AtomicUsize,
}

fn full_disk<T>() -> Result<T, StoreError> {
    Err(StoreError::Unavailable("database or disk is full".into()))
}

impl Faulty {
    fn step(&self, text: impl Into<String>) {
        self.steps.lock().unwrap().push(text.into());
    }
}

impl Store for Faulty {
    fn load(&self) -> Pending<'_, Vec<Record>> {
        self.inner.load()
    }

    fn intend<'a>(&'a self, link: Link<'a>) -> Pending<'a, ()> {
        if self.no_intent.load(Ordering::SeqCst) {
            return Box::pin(async { full_disk() });
        }
        self.step(format!("intend {}", link.generation));
        self.inner.intend(link)
    }

    fn receive<'a>(&'a self, link: Link<'a>, answer: &'a RawAnswer) -> Pending<'a, ()> {
        if self.no_receive.load(Ordering::SeqCst) {
            return Box::pin(async { full_disk() });
        }
        self.step(format!("receive {}", link.generation));
        let received = self.inner.receive(link, answer);
        let panic = self.panic.load(Ordering::SeqCst);
        Box::pin(async move {
            received.await?;
            assert!(!panic, "on purpose");
            Ok(())
        })
    }

    fn commit<'a>(&'a self, link: Link<'a>, grant: &'a Grant) -> Pending<'a, Generation> {
        if self.no_commit.load(Ordering::SeqCst) {
            self.commits_refused.fetch_add(1, Ordering::SeqCst);
            return Box::pin(async { full_disk() });
        }
        self.step(format!("commit {}", link.generation));
        self.inner.commit(link, grant)
    }

    fn recover<'a>(&'a self, link: Link<'a>, grant: &'a Grant) -> Pending<'a, Generation> {
        if self.no_commit.load(Ordering::SeqCst) {
            self.commits_refused.fetch_add(1, Ordering::SeqCst);
            return Box::pin(async { full_disk() });
        }
        self.step(format!("recover {}", link.generation));
        self.inner.recover(link, grant)
    }

    fn fail<'a>(&'a self, link: Link<'a>, state: &'a State) -> Pending<'a, ()> {
        self.step(format!("fail {}: {}", link.generation, state.word()));
        self.inner.fail(link, state)
    }

    fn add<'a>(&'a self, portal: &'a str, grant: &'a Grant, seat: Seat) -> Pending<'a, Added> {
        self.inner.add(portal, grant, seat)
    }

    fn promote<'a>(
        &'a self,
        portal: &'a str,
        spare: ChainId,
    ) -> Pending<'a, Option<StoredCredential>> {
        self.step(format!("promote {spare}"));
        self.inner.promote(portal, spare)
    }

    fn take_seat<'a>(&'a self, link: Link<'a>, seat: Seat) -> Pending<'a, Added> {
        if self.no_seat.load(Ordering::SeqCst) {
            return Box::pin(async { full_disk() });
        }
        self.step(format!("seat {}", link.chain));
        let seated = self.inner.take_seat(link, seat);
        let unheard = self.seat_unheard.swap(false, Ordering::SeqCst);
        Box::pin(async move {
            let added = seated.await?;
            if unheard { full_disk() } else { Ok(added) }
        })
    }

    fn turn_away<'a>(&'a self, link: Link<'a>) -> Pending<'a, ()> {
        if self.no_seat.load(Ordering::SeqCst) {
            return Box::pin(async { full_disk() });
        }
        self.step(format!("turn away {}", link.chain));
        self.inner.turn_away(link)
    }

    fn forget_answers<'a>(&'a self, portal: &'a str) -> Pending<'a, ()> {
        self.inner.forget_answers(portal)
    }

    fn ledger<'a>(&'a self, portal: &'a str, limit: u32) -> Pending<'a, Vec<LedgerEntry>> {
        self.inner.ledger(portal, limit)
    }

    fn seen<'a>(
        &'a self,
        portal: &'a str,
        refresh: &'a Secret,
    ) -> Pending<'a, Option<LedgerEntry>> {
        self.inner.seen(portal, refresh)
    }

    fn alerted(&self) -> Pending<'_, Vec<(String, String)>> {
        self.inner.alerted()
    }

    fn remember_alert<'a>(&'a self, subject: &'a str, condition: &'a str) -> Pending<'a, ()> {
        self.inner.remember_alert(subject, condition)
    }

    fn remember_inject<'a>(&'a self, portal: &'a str, inject: Inject) -> Pending<'a, ()> {
        self.inner.remember_inject(portal, inject)
    }

    fn remember_endpoint<'a>(
        &'a self,
        portal: &'a str,
        endpoint: Option<&'a Endpoint>,
    ) -> Pending<'a, ()> {
        self.inner.remember_endpoint(portal, endpoint)
    }
}

async fn open(home: &tempfile::TempDir) -> (StateDirectory, SqliteStore) {
    let state = StateDirectory::open(&home.path().join("state")).unwrap();
    let url = "sqlite:b24gate.db".to_owned();
    let settings = config::Store { url, key: KeySource::StateDirectory };
    let store = SqliteStore::open(&state, &settings).await.unwrap();
    (state, store)
}

/// A portal with a stored pair, a store and an OAuth server.
struct Scene {
    server: Server,
    store: Arc<Faulty>,
    custody: Arc<Custody>,
    credential: Arc<Credential>,
    state: StateDirectory,
    home: tempfile::TempDir,
}

impl Scene {
    async fn new(script: impl IntoIterator<Item = Line>) -> Self {
        let home = tempfile::tempdir().unwrap();
        {
            let (_state, store) = open(&home).await;
            let grant = Grant::parse(pair(1).as_bytes(), unix_now()).unwrap();
            store.add("acme", &grant, Seat::Active { keep_old: false }).await.unwrap();
            store.close().await;
        }
        Self::over(Server::start(script).await, home).await
    }

    /// A process that finds what is in `home`.
    async fn over(server: Server, home: tempfile::TempDir) -> Self {
        let (state, inner) = open(&home).await;
        let store = Arc::new(Faulty {
            inner,
            no_intent: AtomicBool::default(),
            no_receive: AtomicBool::default(),
            no_commit: AtomicBool::default(),
            no_seat: AtomicBool::default(),
            seat_unheard: AtomicBool::default(),
            panic: AtomicBool::default(),
            steps: Mutex::default(),
            commits_refused: AtomicUsize::default(),
        });
        let mut custody = Custody::new(
            Arc::clone(&store) as Arc<dyn Store>,
            client(Duration::from_secs(2)),
            Handle::current(),
        );
        // Short, because time is not paused where real sockets are.
        custody.pace = Pace {
            backoff_min: PAUSE,
            backoff_max: PAUSE,
            save_min: Duration::from_millis(20),
            ..Pace::default()
        };
        let custody = Arc::new(custody);
        let credential = Self::load(&server, &store, &custody).await;
        Self { server, store, custody, credential, state, home }
    }

    async fn load(server: &Server, store: &Faulty, custody: &Arc<Custody>) -> Arc<Credential> {
        let record = store.load().await.unwrap().pop().unwrap();
        let app = Arc::new(server.app());
        Credential::open("acme".to_owned(), app, Arc::clone(custody), Some(record)).await
    }

    /// What a restart would find.
    async fn restarted(&self) -> Arc<Credential> {
        Self::load(&self.server, &self.store, &self.custody).await
    }

    fn exchanges(&self) -> usize {
        self.server.seen().len()
    }

    async fn pause(&self) {
        tokio::time::sleep(PAUSE + PAUSE / 2).await; // the jitter is up to a quarter
    }
}

/// Long enough that a loaded machine gets from one step of a test to the next within it.
const PAUSE: Duration = Duration::from_millis(1500);

fn access(credential: &Credential) -> String {
    credential.current().as_ref().unwrap().access.expose().to_owned()
}

#[tokio::test]
async fn a_renewed_pair_is_intended_exchanged_stored_and_then_lent() {
    let scene = Scene::new([Line::Answer(200, pair(2))]).await;
    assert_eq!(access(&scene.credential), "A-canary-1");
    let token = scene.credential.renew(Generation(1)).await.unwrap();
    assert_eq!(token.generation, Generation(2));
    assert_eq!(access(&scene.credential), "A-canary-2");
    assert!(scene.server.seen()[0].body.contains("refresh_token=R-canary-1"));
    assert_eq!(*scene.store.steps.lock().unwrap(), ["intend 1", "receive 1", "commit 1"]);
    let status = scene.credential.state();
    assert_eq!((status.word(), status.generation), ("connected", Some(Generation(2))));
    assert!(status.refreshed_at.is_some() && status.last_error.is_none());
    assert_eq!(access(scene.restarted().await.as_ref()), "A-canary-2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_callers_make_one_exchange_and_get_the_same_token() {
    let scene = Scene::new([Line::Late(Duration::from_millis(100), 200, pair(2))]).await;
    let callers: Vec<_> = (0..1000)
        .map(|_| {
            let credential = Arc::clone(&scene.credential);
            tokio::spawn(async move { credential.renew(Generation(1)).await })
        })
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap().unwrap().generation, Generation(2));
    }
    assert_eq!(scene.exchanges(), 1);
}

#[tokio::test]
async fn a_late_401_of_an_old_generation_does_not_refresh_again() {
    let scene = Scene::new([Line::Answer(200, pair(2))]).await;
    scene.credential.renew(Generation(1)).await.unwrap();
    for _ in 0..10 {
        let token = scene.credential.renew(Generation(1)).await.unwrap();
        assert_eq!(token.generation, Generation(2));
    }
    assert_eq!(scene.exchanges(), 1);
}

#[tokio::test]
async fn a_token_renewed_moments_ago_that_was_never_accepted_is_not_renewed_again() {
    let scene = Scene::new([Line::Answer(200, pair(2)), Line::Answer(200, pair(3))]).await;
    let token = scene.credential.renew(Generation(1)).await.unwrap();
    let refused = scene.credential.renew(Generation(2)).await.unwrap_err();
    let Unavailable::Later { retry_after, reason } = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(retry_after, Duration::from_mins(1));
    assert_eq!(reason, "the portal refuses a token that was renewed moments ago");
    assert_eq!(scene.exchanges(), 1);
    token.mark_accepted();
    let token = scene.credential.renew(Generation(2)).await.unwrap();
    assert_eq!(token.generation, Generation(3));
}

#[tokio::test]
async fn a_renewed_token_that_is_already_past_its_expiry_is_renewed_again() {
    let short = pair(2).replace("3600", "30");
    let scene = Scene::new([Line::Answer(200, short), Line::Answer(200, pair(3))]).await;
    let token = scene.credential.renew(Generation(1)).await.unwrap();
    assert!(!token.is_past_expiry());
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(30)).await;
    tokio::time::resume();
    assert!(token.is_past_expiry());
    scene.credential.renew(Generation(2)).await.unwrap();
    assert_eq!(scene.exchanges(), 2);
}

#[tokio::test]
async fn a_renewed_pair_that_claims_to_be_over_already_is_not_renewed_in_a_circle() {
    // What a server says whose clock is two hours behind, or ours two hours ahead.
    let behind = pair(2).replace("\"expires_in\":3600", "\"expires\":1600000000");
    for over in [behind, pair(2).replace("3600", "0")] {
        let scene = Scene::new([Line::Answer(200, over), Line::Answer(200, pair(3))]).await;
        let token = scene.credential.renew(Generation(1)).await.unwrap();
        assert!(!token.is_past_expiry());
        scene.credential.renew(Generation(2)).await.unwrap_err();
        assert_eq!(scene.exchanges(), 1);
    }
}

#[tokio::test]
async fn what_is_stored_of_a_renewed_pair_is_a_time_of_this_machines_clock() {
    // The server's clock is years ahead.
    let answer = pair(2).replace("\"expires_in\"", "\"expires\":3000000000,\"expires_in\"");
    let scene = Scene::new([Line::Answer(200, answer)]).await;
    let before = unix_now();
    scene.credential.renew(Generation(1)).await.unwrap();
    let bounds = before + 3_600..=unix_now() + 3_600;
    assert!(bounds.contains(&scene.credential.state().expires_at.unwrap()));
    assert!(bounds.contains(&scene.restarted().await.state().expires_at.unwrap()));
}

#[tokio::test]
async fn a_caller_that_leaves_does_not_take_the_pair_with_it() {
    let scene = Scene::new([Line::Late(Duration::from_millis(200), 200, pair(2))]).await;
    let left =
        tokio::time::timeout(Duration::from_millis(50), scene.credential.renew(Generation(1)));
    left.await.unwrap_err();
    assert_eq!(scene.credential.state().word(), "refreshing");
    assert!(scene.custody.flights().wait_idle(Duration::from_secs(5)).await);
    assert_eq!(access(scene.restarted().await.as_ref()), "A-canary-2");
    scene.credential.renew(Generation(1)).await.unwrap();
    assert_eq!(scene.exchanges(), 1);
}

#[tokio::test]
async fn an_import_waits_for_the_refresh_under_way_and_wins() {
    let scene = Scene::new([Line::Late(Duration::from_millis(100), 200, pair(2))]).await;
    let refresh = scene.credential.renew(Generation(1));
    let import = async {
        tokio::time::sleep(Duration::from_millis(30)).await;
        let grant = Grant::parse(pair(9).as_bytes(), unix_now()).unwrap();
        scene.credential.adopt(grant, Replace::Yes).await.unwrap()
    };
    let (renewed, imported) = tokio::join!(refresh, import);
    assert_eq!(renewed.unwrap().generation, Generation(2));
    assert_eq!(imported, Admitted::Active { generation: 3, old_kept: true });
    assert_eq!(access(&scene.credential), "A-canary-9");
    assert_eq!(access(scene.restarted().await.as_ref()), "A-canary-9");
}

#[tokio::test]
async fn an_import_connects_a_portal_that_had_no_credential() {
    let scene = Scene::new([Line::Silent]).await;
    let app = Arc::new(scene.server.app());
    let credential =
        Credential::open("bare".to_owned(), app, Arc::clone(&scene.custody), None).await;
    assert!(credential.current().is_none());
    let nothing = credential.renew(Generation(0)).await.unwrap_err();
    assert!(matches!(nothing, Unavailable::NotConnected(State::NotConnected)));
    assert_eq!(scene.exchanges(), 0);
    let grant = Grant::parse(pair(1).as_bytes(), unix_now()).unwrap();
    let adopted = credential.adopt(grant, Replace::No).await.unwrap();
    assert_eq!(adopted, Admitted::Active { generation: 1, old_kept: false });
    assert_eq!(access(&credential), "A-canary-1");
    assert_eq!(credential.state().word(), "connected");
}
