//! Further chains of the same user: when they are kept, when they are used, and whose they must be.

use super::*;
use crate::credential::IntakeError;

fn grant(number: u32) -> Grant {
    Grant::parse(pair(number).as_bytes(), unix_now()).unwrap()
}

fn refusal(code: &str) -> Line {
    Line::Answer(400, format!(r#"{{"error":"{code}"}}"#))
}

impl Scene {
    async fn bring(&self, grant: Grant) -> Result<Admitted, IntakeError> {
        self.credential.adopt(grant, Replace::No).await
    }

    /// Makes every pair as old as if it had been issued then, unix seconds.
    async fn issue(&self, at: u64) {
        let mut chains = self.credential.chains.lock().await;
        chains.active.as_mut().unwrap().issued_at = at;
        chains.spares.iter_mut().for_each(|spare| spare.issued_at = at);
    }

    fn presented(&self, exchange: usize) -> String {
        let body = self.server.seen()[exchange].body.clone();
        body.split("refresh_token=").nth(1).unwrap().to_owned()
    }
}

#[tokio::test]
async fn a_second_pair_of_the_same_user_waits_and_the_one_in_use_stays_in_use() {
    let scene = Scene::new([Line::Answer(200, pair(2))]).await;
    let brought = scene.bring(grant(9)).await.unwrap();
    assert!(matches!(brought, Admitted::Spare { dropped: None, .. }), "{brought:?}");
    assert_eq!(access(&scene.credential), "A-canary-1");
    scene.credential.renew(Generation(1)).await.unwrap();
    assert_eq!(scene.presented(0), "R-canary-1");
    assert_eq!(scene.credential.state().spares, 1);
    assert_eq!(scene.restarted().await.state().spares, 1);
}

#[tokio::test]
async fn a_spare_takes_over_in_the_very_refresh_that_finds_the_chain_dead() {
    for restart in [false, true] {
        let mut scene = Scene::new([refusal("invalid_grant"), Line::Answer(200, pair(10))]).await;
        // Its access token is over, as a spare's is.
        let old = Grant { expires_at: Some(1), ..grant(9) };
        scene.bring(old).await.unwrap();
        if restart {
            scene.credential = scene.restarted().await;
        }
        let token = scene.credential.renew(Generation(1)).await.unwrap();
        assert_eq!(access(&scene.credential), "A-canary-10");
        assert_eq!(
            (scene.presented(0).as_str(), scene.presented(1).as_str()),
            ("R-canary-1", "R-canary-9")
        );
        assert!(token.generation > Generation(2), "{} was a number of the spare", token.generation);
        let status = scene.credential.state();
        assert_eq!((status.word(), status.spares), ("connected", 0));
        let restarted = scene.restarted().await;
        assert_eq!(access(&restarted), "A-canary-10");
        assert_eq!(restarted.state().generation, Some(token.generation));
    }
}

#[tokio::test]
async fn a_spare_serves_as_it_is_when_it_cannot_be_renewed_at_the_moment() {
    let scene = Scene::new([refusal("invalid_grant"), Line::Answer(429, String::new())]).await;
    scene.bring(grant(9)).await.unwrap();
    scene.credential.renew(Generation(1)).await.unwrap();
    assert_eq!(access(&scene.credential), "A-canary-9");
    assert_eq!(scene.exchanges(), 2);
}

#[tokio::test]
async fn all_spares_are_tried_before_a_human_is_asked_and_all_pairs_are_kept() {
    let scene = Scene::new([refusal("invalid_grant")]).await;
    for number in [8, 9] {
        scene.bring(Grant { expires_at: Some(1), ..grant(number) }).await.unwrap();
    }
    let refused = scene.credential.renew(Generation(1)).await.unwrap_err();
    assert!(matches!(refused, Unavailable::NotConnected(State::Dead { .. })), "{refused:?}");
    assert_eq!(scene.exchanges(), 3);
    assert_eq!(scene.presented(1), "R-canary-9", "the newest first");
    scene.credential.renew(Generation(9)).await.unwrap_err();
    assert_eq!(scene.exchanges(), 3, "and then they are left alone");
    // A new pair is used at once.
    let brought = scene.bring(grant(11)).await.unwrap();
    assert!(matches!(brought, Admitted::Active { .. }), "{brought:?}");
    assert_eq!(access(&scene.credential), "A-canary-11");
}

#[tokio::test]
async fn another_users_pair_is_never_used_unless_somebody_insists() {
    let scene = Scene::new([refusal("invalid_grant")]).await;
    let foreign = || Grant { user_id: Some(8), ..grant(9) };
    let refused = scene.bring(foreign()).await.unwrap_err();
    assert!(matches!(refused, IntakeError::Refused(_)), "{refused}");
    // However it came into the store.
    scene.store.inner.add("acme", &foreign(), Seat::Spare).await.unwrap();
    let restarted = scene.restarted().await;
    let refused = restarted.renew(Generation(1)).await.unwrap_err();
    assert!(matches!(refused, Unavailable::NotConnected(State::Dead { .. })), "{refused:?}");
    assert_eq!(scene.exchanges(), 1);
    scene.credential.adopt(foreign(), Replace::Yes).await.unwrap();
    assert_eq!(scene.credential.state().user_id, Some(8));
}

#[tokio::test]
async fn a_third_spare_sends_the_oldest_away() {
    let scene = Scene::new([Line::Silent]).await;
    for number in [7, 8] {
        scene.bring(grant(number)).await.unwrap();
    }
    let brought = scene.bring(grant(9)).await.unwrap();
    assert!(matches!(brought, Admitted::Spare { dropped: Some(_), .. }), "{brought:?}");
    assert_eq!(scene.credential.state().spares, 2);
    assert_eq!(scene.restarted().await.state().spares, 2);
}

#[tokio::test]
async fn chains_that_nobody_uses_are_renewed_once_when_their_keep_alive_is_due() {
    let scene =
        Scene::new([Line::Answer(200, pair(2)), Line::Answer(200, pair(10)), Line::Silent]).await;
    scene.bring(grant(9)).await.unwrap();
    scene.credential.tend(None);
    assert!(scene.custody.flights().wait_idle(Duration::from_secs(5)).await);
    assert_eq!(scene.exchanges(), 0, "nothing is due yet");
    scene.issue(unix_now() - 21 * 86_400 + 60).await;
    scene.credential.tend(None);
    assert!(scene.custody.flights().wait_idle(Duration::from_secs(5)).await);
    assert_eq!(scene.exchanges(), 0, "nor a minute before 21 days");
    scene.issue(unix_now() - 21 * 86_400).await;
    scene.credential.tend(None);
    assert!(scene.custody.flights().wait_idle(Duration::from_secs(5)).await);
    assert_eq!(scene.exchanges(), 2);
    assert_eq!(access(&scene.credential), "A-canary-2");
    let record = scene.store.load().await.unwrap().pop().unwrap();
    let spare = record.spares.into_iter().next().unwrap().unwrap();
    assert!(spare.refresh.matches("R-canary-10"));
}

#[tokio::test]
async fn a_spare_that_is_found_dead_is_let_go_and_one_in_doubt_is_kept() {
    for (line, left) in [(refusal("invalid_grant"), 0), (Line::Raw(String::new()), 1)] {
        let scene = Scene::new([Line::Answer(200, pair(2)), line.clone(), Line::Silent]).await;
        scene.bring(grant(9)).await.unwrap();
        scene.issue(0).await;
        scene.credential.tend(None);
        assert!(scene.custody.flights().wait_idle(Duration::from_secs(5)).await);
        assert_eq!(scene.credential.state().spares, left, "{line:?}");
        scene.credential.tend(None);
        assert!(scene.custody.flights().wait_idle(Duration::from_secs(5)).await);
        assert_eq!(scene.exchanges(), 2, "not again at once, {line:?}");
    }
}

#[tokio::test]
async fn a_doubt_is_settled_without_a_call_that_asks_for_it() {
    let scene = Scene::new([Line::Raw(String::new()), Line::Answer(200, pair(2))]).await;
    scene.credential.renew(Generation(1)).await.unwrap_err();
    scene.credential.tend(None);
    assert_eq!(scene.exchanges(), 1, "the pause counts");
    scene.pause().await;
    scene.credential.tend(None);
    assert!(scene.custody.flights().wait_idle(Duration::from_secs(5)).await);
    assert_eq!(scene.credential.state().word(), "connected");
    assert_eq!(access(&scene.credential), "A-canary-2");
}

#[tokio::test]
async fn whoever_asks_for_it_gets_a_token_renewed_ahead_of_time_and_nobody_else() {
    let scene = Scene::new([Line::Answer(200, pair(2)), Line::Answer(200, pair(3))]).await;
    let every = Duration::from_mins(25);
    scene.issue(unix_now() - 25 * 60).await;
    scene.credential.tend(None);
    assert!(scene.custody.flights().wait_idle(Duration::from_secs(5)).await);
    assert_eq!(scene.exchanges(), 0);
    scene.credential.tend(Some(every));
    assert!(scene.custody.flights().wait_idle(Duration::from_secs(5)).await);
    assert_eq!(scene.exchanges(), 1);
    scene.credential.current().as_ref().unwrap().mark_accepted();
    scene.credential.tend(Some(every));
    assert!(scene.custody.flights().wait_idle(Duration::from_secs(5)).await);
    assert_eq!(scene.exchanges(), 1, "not before its time");
}

#[tokio::test]
async fn a_spare_whose_keeping_alive_died_in_the_middle_goes_on_with_what_was_received() {
    let scene =
        Scene::new([Line::Answer(200, pair(10)), refusal("invalid_grant"), Line::Silent]).await;
    scene.bring(Grant { expires_at: Some(1), ..grant(9) }).await.unwrap();
    {
        let mut chains = scene.credential.chains.lock().await;
        chains.spares[0].issued_at = 0;
    }
    scene.store.panic.store(true, Ordering::SeqCst);
    scene.credential.tend(None);
    assert!(scene.custody.flights().wait_idle(Duration::from_secs(5)).await);
    scene.store.panic.store(false, Ordering::SeqCst);
    assert_eq!(scene.presented(0), "R-canary-9");
    // The chain in use dies now, and the spare must not come with what is spent.
    scene.server.then(refusal("invalid_grant"));
    scene.credential.renew(Generation(1)).await.unwrap_err();
    assert_eq!(scene.presented(1), "R-canary-1");
    assert_eq!(scene.presented(2), "R-canary-10");
}
