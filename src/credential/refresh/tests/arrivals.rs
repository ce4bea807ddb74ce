//! Pairs of which somebody may have a copy: exchanged before they are used.

use super::*;
use crate::credential::{IntakeError, Refused};

fn grant(number: u32) -> Grant {
    Grant::parse(pair(number).as_bytes(), unix_now()).unwrap()
}

fn refusal(code: &str) -> Line {
    Line::Answer(400, format!(r#"{{"error":"{code}"}}"#))
}

impl Scene {
    /// A portal that has nothing yet.
    async fn bare(script: impl IntoIterator<Item = Line>) -> Self {
        let home = tempfile::tempdir().unwrap();
        let (state, store) = open(&home).await;
        store.remember_inject("acme", Inject::Auto).await.unwrap();
        store.close().await;
        drop((state, store));
        Self::over(Server::start(script).await, home).await
    }

    async fn arrive(&self, number: u32) -> Result<Admitted, IntakeError> {
        self.credential.adopt_exchanged(grant(number), Replace::No).await
    }

    async fn tend(&self) {
        self.credential.tend(None);
        assert!(self.custody.flights().wait_idle(Duration::from_secs(5)).await);
    }

    /// Ends the pause of everything that arrives.
    async fn hurry(&self) {
        let mut chains = self.credential.chains.lock().await;
        chains.arriving.iter_mut().for_each(|it| it.chain.not_before = None);
    }

    async fn waiting(&self) -> usize {
        self.credential.chains.lock().await.arriving.len()
    }

    async fn record(&self) -> Record {
        self.store.load().await.unwrap().pop().unwrap()
    }

    async fn stored_refresh(&self) -> [Vec<String>; 3] {
        let Record { credential, spares, arriving, .. } = self.record().await;
        let text =
            |it: Result<StoredCredential, StoreError>| it.unwrap().refresh.expose().to_owned();
        [
            credential.into_iter().map(text).collect(),
            spares.into_iter().map(text).collect(),
            arriving.into_iter().map(text).collect(),
        ]
    }

    fn exchanged(&self) -> Vec<String> {
        let of = |body: &str| body.split("refresh_token=").nth(1).unwrap().to_owned();
        self.server.seen().iter().map(|seen| of(&seen.body)).collect()
    }
}

fn owned<const N: usize>(lists: [&[&str]; N]) -> [Vec<String>; N] {
    lists.map(|list| list.iter().map(|it| (*it).to_owned()).collect())
}

fn passing(outcome: &Result<Admitted, IntakeError>) -> bool {
    matches!(outcome, Err(IntakeError::Exchange(failure)) if failure.is_passing())
}

#[tokio::test]
async fn an_arriving_pair_is_stored_exchanged_and_seated_with_the_pair_that_came_of_it() {
    let scene = Scene::bare([Line::Answer(200, pair(10))]).await;
    let admitted = scene.arrive(9).await.unwrap();
    assert_eq!(admitted, Admitted::Active { generation: 3, old_kept: false });
    assert_eq!(access(&scene.credential), "A-canary-10");
    assert_eq!(scene.exchanged(), ["R-canary-9"]);
    assert_eq!(scene.stored_refresh().await, owned([&["R-canary-10"], &[], &[]]));
    let steps = scene.store.steps.lock().unwrap().clone();
    assert_eq!(steps, ["intend 1", "receive 1", "commit 1", "seat 1"]);
    let status = scene.credential.state();
    assert_eq!((status.word(), status.generation), ("connected", Some(Generation(3))));
    assert!(status.refreshed_at.is_some());
    assert_eq!(scene.waiting().await, 0);
    assert_eq!(access(scene.restarted().await.as_ref()), "A-canary-10");
}

#[tokio::test]
async fn an_arriving_pair_of_the_same_user_waits_as_a_spare_and_takes_over_when_it_may() {
    let scene = Scene::new([Line::Answer(200, pair(10)), Line::Answer(200, pair(20))]).await;
    let admitted = scene.arrive(9).await.unwrap();
    assert!(matches!(admitted, Admitted::Spare { dropped: None, .. }), "{admitted:?}");
    assert_eq!(access(&scene.credential), "A-canary-1");
    assert_eq!(scene.credential.state().spares, 1);
    assert_eq!(scene.stored_refresh().await, owned([&["R-canary-1"], &["R-canary-10"], &[]]));
    let replaced = scene.credential.adopt_exchanged(grant(19), Replace::Yes).await.unwrap();
    assert!(matches!(replaced, Admitted::Active { old_kept: true, .. }), "{replaced:?}");
    assert_eq!(access(&scene.credential), "A-canary-20");
    assert_eq!(scene.credential.state().spares, 2);
    let [active, mut spares, _] = scene.stored_refresh().await;
    spares.sort();
    assert_eq!(active, ["R-canary-20"]);
    assert_eq!(spares, ["R-canary-1", "R-canary-10"]);
    assert_eq!(scene.exchanged(), ["R-canary-9", "R-canary-19"]);
}

#[tokio::test]
async fn a_dead_arriving_pair_is_turned_away_and_nothing_has_changed() {
    let scene = Scene::new([refusal("invalid_grant"), Line::Answer(200, pair(2))]).await;
    let refused = scene.arrive(9).await.unwrap_err();
    let IntakeError::Exchange(failure) = refused else { panic!("{refused:?}") };
    assert_eq!(failure.kind, FailureKind::Dead);
    assert_eq!(scene.waiting().await, 0);
    assert_eq!(scene.stored_refresh().await, owned([&["R-canary-1"], &[], &[]]));
    let status = scene.credential.state();
    assert_eq!(
        (status.word(), status.spares, status.last_error.as_deref()),
        ("connected", 0, None)
    );
    // Nor is it exchanged again when it comes again.
    let refused = scene.arrive(9).await.unwrap_err();
    assert!(matches!(refused, IntakeError::Refused(Refused::Dead { .. })), "{refused:?}");
    assert_eq!(scene.exchanges(), 1);
    assert_eq!(scene.credential.renew(Generation(1)).await.unwrap().generation, Generation(2));
}

#[tokio::test]
async fn what_is_refused_is_refused_before_anything_is_written_or_sent() {
    let scene = Scene::new([Line::Answer(200, pair(2))]).await;
    scene.credential.renew(Generation(1)).await.unwrap();
    scene.store.steps.lock().unwrap().clear();
    let foreign = Grant { member_id: Some("f".repeat(32)), ..grant(9) };
    for brought in [grant(1), Grant { user_id: Some(8), ..grant(9) }, foreign] {
        let refused = scene.credential.adopt_exchanged(brought, Replace::No).await.unwrap_err();
        assert!(matches!(refused, IntakeError::Refused(_)), "{refused:?}");
    }
    let known = scene.arrive(2).await.unwrap();
    assert!(matches!(known, Admitted::Known { active: true, .. }), "{known:?}");
    assert_eq!(scene.exchanges(), 1);
    assert!(scene.store.steps.lock().unwrap().is_empty());
    assert_eq!(scene.stored_refresh().await, owned([&["R-canary-2"], &[], &[]]));
}

#[tokio::test]
async fn a_passing_failure_keeps_the_pair_and_it_is_tried_again_by_itself() {
    for line in [Line::Answer(503, String::new()), Line::Raw(String::new()), refusal("odd")] {
        let scene = Scene::new([line.clone(), Line::Answer(200, pair(10))]).await;
        let outcome = scene.arrive(9).await;
        assert!(passing(&outcome), "{outcome:?}");
        assert_eq!(scene.stored_refresh().await, owned([&["R-canary-1"], &[], &["R-canary-9"]]));
        assert_eq!(scene.credential.state().word(), "connected");
        scene.tend().await;
        let again = scene.arrive(9).await;
        assert!(passing(&again), "{again:?}");
        assert_eq!(scene.exchanges(), 1, "the pause counts, {line:?}");
        scene.hurry().await;
        scene.tend().await;
        assert_eq!(scene.stored_refresh().await, owned([&["R-canary-1"], &["R-canary-10"], &[]]));
        assert_eq!((scene.waiting().await, scene.credential.state().spares), (0, 1));
        assert_eq!(scene.exchanged(), ["R-canary-9", "R-canary-9"]);
    }
}

#[tokio::test]
async fn a_pair_that_waits_is_found_by_the_next_process_and_by_whoever_brings_it_again() {
    let scene = Scene::bare([Line::Answer(503, String::new()), Line::Answer(200, pair(10))]).await;
    assert!(passing(&scene.arrive(9).await));
    assert_eq!(scene.credential.state().last_error.as_deref(), Some("http_503"));
    let restarted = scene.restarted().await;
    let admitted = restarted.adopt_exchanged(grant(9), Replace::No).await.unwrap();
    assert!(matches!(admitted, Admitted::Active { .. }), "{admitted:?}");
    assert_eq!(access(&restarted), "A-canary-10");
    assert_eq!(scene.stored_refresh().await, owned([&["R-canary-10"], &[], &[]]));

    let scene = Scene::bare([Line::Answer(503, String::new()), Line::Answer(200, pair(10))]).await;
    assert!(passing(&scene.arrive(9).await));
    let restarted = scene.restarted().await;
    restarted.tend(None);
    assert!(scene.custody.flights().wait_idle(Duration::from_secs(5)).await);
    assert_eq!(access(&restarted), "A-canary-10");
}

#[tokio::test]
async fn an_arriving_pair_that_nobody_could_store_is_seated_when_the_store_works_again() {
    let scene = Scene::new([Line::Answer(200, pair(10)), Line::Silent]).await;
    scene.store.no_commit.store(true, Ordering::SeqCst);
    assert!(passing(&scene.arrive(9).await));
    let status = scene.credential.state();
    assert!(status.unsaved && !status.memory_only);
    // The pair that was exchanged for it is neither known to whoever brought it, nor exchanged again.
    scene.store.no_commit.store(false, Ordering::SeqCst);
    assert!(scene.custody.flights().wait_idle(Duration::from_secs(5)).await);
    assert_eq!(scene.stored_refresh().await, owned([&["R-canary-1"], &[], &["R-canary-10"]]));
    let again = scene.arrive(9).await.unwrap_err();
    assert!(matches!(again, IntakeError::Refused(Refused::UsedUp { .. })), "{again:?}");
    scene.hurry().await;
    scene.tend().await;
    assert_eq!(scene.stored_refresh().await, owned([&["R-canary-1"], &["R-canary-10"], &[]]));
    assert_eq!(scene.exchanges(), 1);
}

#[tokio::test]
async fn a_seat_that_could_not_be_given_is_given_later_without_another_exchange() {
    let scene = Scene::bare([Line::Answer(200, pair(10)), Line::Silent]).await;
    scene.store.no_seat.store(true, Ordering::SeqCst);
    assert!(passing(&scene.arrive(9).await));
    assert!(scene.custody.is_store_failing());
    assert!(scene.credential.current().is_none());
    scene.hurry().await;
    scene.tend().await;
    assert!(scene.credential.current().is_none());
    scene.store.no_seat.store(false, Ordering::SeqCst);
    scene.hurry().await;
    scene.tend().await;
    assert_eq!(access(&scene.credential), "A-canary-10");
    assert!(!scene.custody.is_store_failing());
    assert_eq!(scene.exchanges(), 1);
}

#[tokio::test]
async fn a_seat_that_was_given_although_the_store_reported_a_failure_is_taken() {
    for replace in [Replace::No, Replace::Yes] {
        let scene = Scene::new([Line::Answer(200, pair(10)), Line::Answer(200, pair(11))]).await;
        scene.store.seat_unheard.store(true, Ordering::SeqCst);
        let outcome = scene.credential.adopt_exchanged(grant(9), replace).await;
        assert!(passing(&outcome), "{outcome:?}");
        // The very next thing that happens to the chains has to know it.
        let seen = scene.credential.current().as_ref().unwrap().generation;
        let token = scene.credential.renew(seen).await.unwrap();
        assert_eq!(scene.waiting().await, 0);
        assert_eq!(scene.credential.state().spares, 1);
        let (shown, active, spare) = match replace {
            Replace::No => ("A-canary-11", "R-canary-11", "R-canary-10"),
            Replace::Yes => ("A-canary-10", "R-canary-10", "R-canary-1"),
        };
        assert_eq!(token.access.expose(), shown);
        assert_eq!(scene.stored_refresh().await, owned([&[active], &[spare], &[]]));
    }
}

#[tokio::test]
async fn the_seat_is_decided_by_how_things_stand_after_the_exchange() {
    // The one in use dies while the other waits.
    let scene = Scene::new([
        Line::Answer(503, String::new()),
        refusal("invalid_grant"),
        Line::Answer(200, pair(10)),
    ])
    .await;
    assert!(passing(&scene.arrive(9).await));
    scene.credential.renew(Generation(1)).await.unwrap_err();
    scene.hurry().await;
    scene.tend().await;
    assert_eq!(access(&scene.credential), "A-canary-10");
    assert_eq!(scene.credential.state().word(), "connected");
    // And nobody knew whose it was before its answer said so.
    let foreign = pair(10).replace("\"user_id\":7", "\"user_id\":8");
    let scene = Scene::new([refusal("invalid_grant"), Line::Answer(200, foreign)]).await;
    scene.credential.renew(Generation(1)).await.unwrap_err();
    let anonymous = Grant { user_id: None, ..grant(9) };
    let refused = scene.credential.adopt_exchanged(anonymous, Replace::No).await.unwrap_err();
    let of_another = Refused::AnotherUser { brought: 8, held: 7 };
    assert!(matches!(refused, IntakeError::Refused(it) if it == of_another), "{refused:?}");
    assert_eq!(scene.stored_refresh().await, owned([&["R-canary-1"], &[], &[]]));
    assert_eq!(scene.waiting().await, 0);
}

#[tokio::test]
async fn a_panic_in_the_exchange_of_an_arrival_loses_nothing_that_was_received() {
    let scene = Scene::bare([Line::Answer(200, pair(10)), Line::Silent]).await;
    scene.store.panic.store(true, Ordering::SeqCst);
    let refused = scene.arrive(9).await.unwrap_err();
    assert!(matches!(refused, IntakeError::Store(_)), "{refused:?}");
    scene.store.panic.store(false, Ordering::SeqCst);
    scene.tend().await;
    assert_eq!(scene.waiting().await, 1, "not on its heels");
    scene.hurry().await;
    scene.tend().await;
    assert_eq!(access(&scene.credential), "A-canary-10");
    assert_eq!(scene.exchanges(), 1);
}

#[tokio::test]
async fn no_more_than_four_pairs_of_a_portal_wait() {
    let scene = Scene::new([Line::Answer(503, String::new())]).await;
    for number in 10..14 {
        assert!(passing(&scene.arrive(number).await));
    }
    let refused = scene.arrive(14).await;
    assert!(passing(&refused));
    assert!(refused.unwrap_err().to_string().contains("too many pairs"));
    assert_eq!((scene.waiting().await, scene.exchanges()), (4, 4));
    assert_eq!(scene.record().await.arriving.len(), 4);
}

#[tokio::test]
async fn a_dead_pair_that_could_not_be_turned_away_is_later() {
    let scene = Scene::new([refusal("invalid_grant")]).await;
    scene.store.no_seat.store(true, Ordering::SeqCst);
    scene.arrive(9).await.unwrap_err();
    assert_eq!(scene.record().await.arriving.len(), 1);
    scene.store.no_seat.store(false, Ordering::SeqCst);
    for restart in [true, false] {
        let credential =
            if restart { scene.restarted().await } else { Arc::clone(&scene.credential) };
        scene.hurry().await;
        credential.tend(None);
        assert!(scene.custody.flights().wait_idle(Duration::from_secs(5)).await);
        assert_eq!(scene.record().await.arriving.len(), 0);
    }
    assert_eq!((scene.exchanges(), scene.waiting().await), (1, 0));
}

#[tokio::test]
async fn a_spare_without_a_chain_in_use_is_used_after_a_restart() {
    let scene = Scene::bare([Line::Silent]).await;
    scene.store.inner.add("acme", &grant(9), Seat::Spare).await.unwrap();
    let restarted = scene.restarted().await;
    assert_eq!(access(&restarted), "A-canary-9");
    let status = restarted.state();
    assert_eq!((status.word(), status.spares), ("connected", 0));
    assert_eq!(scene.stored_refresh().await, owned([&["R-canary-9"], &[], &[]]));
}

#[tokio::test]
async fn a_credential_that_is_forgotten_lends_nothing_and_can_be_connected_again() {
    let scene = Scene::new([Line::Late(Duration::from_millis(200), 200, pair(2))]).await;
    scene.credential.adopt(grant(8), Replace::No).await.unwrap();
    let refresh = scene.credential.renew(Generation(1));
    let forget = async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        crate::store::Registry::remove(&scene.store.inner, "acme").await.unwrap();
        scene.credential.forget().await;
        assert!(scene.credential.current().is_none());
    };
    // What was under way does not come back.
    let (_, ()) = tokio::join!(refresh, forget);
    assert!(scene.custody.flights().wait_idle(Duration::from_secs(5)).await);
    assert!(scene.credential.current().is_none());
    assert_eq!(*scene.credential.state(), Status::default());
    assert!(!scene.custody.is_store_failing());
    let refused = scene.credential.renew(Generation(0)).await.unwrap_err();
    assert!(matches!(refused, Unavailable::NotConnected(State::NotConnected)), "{refused:?}");
    assert!(scene.restarted().await.current().is_none());
    scene.credential.adopt(grant(11), Replace::No).await.unwrap();
    assert_eq!(access(&scene.credential), "A-canary-11");
}
