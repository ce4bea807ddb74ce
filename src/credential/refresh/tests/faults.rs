//! What goes wrong in an exchange, and what must hold all the same.

use super::*;

fn link(generation: u64) -> Link<'static> {
    Link { portal: "acme", chain: ChainId(1), generation: Generation(generation) }
}

fn refusal(code: &str) -> Line {
    Line::Answer(400, format!(r#"{{"error":"{code}"}}"#))
}

#[tokio::test]
async fn a_store_that_takes_no_intent_prevents_the_exchange() {
    let scene = Scene::new([Line::Answer(200, pair(2))]).await;
    scene.store.no_intent.store(true, Ordering::SeqCst);
    for _ in 0..3 {
        let refused = scene.credential.renew(Generation(1)).await.unwrap_err();
        let Unavailable::Later { reason, .. } = refused else {
            panic!("{refused:?}");
        };
        assert_eq!(reason, "the store cannot be written");
    }
    assert_eq!(scene.exchanges(), 0);
    assert_eq!(access(&scene.credential), "A-canary-1", "the live token is still lent");
    scene.store.no_intent.store(false, Ordering::SeqCst);
    scene.pause().await;
    scene.credential.renew(Generation(1)).await.unwrap();
}

#[tokio::test]
async fn a_pair_that_cannot_be_stored_is_lent_from_memory_and_stored_later() {
    let scene = Scene::new([Line::Answer(200, pair(2)), Line::Answer(200, pair(3))]).await;
    scene.store.no_commit.store(true, Ordering::SeqCst);
    let token = scene.credential.renew(Generation(1)).await.unwrap();
    assert_eq!(token.generation, Generation(2));
    assert_eq!(access(&scene.credential), "A-canary-2");
    assert!(scene.credential.state().unsaved);
    assert!(!scene.custody.flights().wait_idle(Duration::from_millis(200)).await);
    assert!(scene.store.commits_refused.load(Ordering::SeqCst) > 1, "tried again and again");
    // While it is not stored, nothing else may be exchanged or imported.
    token.mark_accepted();
    scene.credential.renew(Generation(2)).await.unwrap_err();
    let grant = Grant::parse(pair(9).as_bytes(), unix_now()).unwrap();
    scene.credential.adopt(grant, Replace::Yes).await.unwrap_err();
    assert_eq!(scene.exchanges(), 1);
    scene.store.no_commit.store(false, Ordering::SeqCst);
    assert!(scene.custody.flights().wait_idle(Duration::from_secs(5)).await);
    assert!(!scene.credential.state().unsaved);
    assert_eq!(access(scene.restarted().await.as_ref()), "A-canary-2");
    scene.pause().await;
    scene.credential.renew(Generation(2)).await.unwrap();
    assert!(scene.server.seen()[1].body.contains("refresh_token=R-canary-2"));
}

#[tokio::test]
async fn a_dead_refresh_token_is_kept_and_not_tried_again_soon() {
    for code in ["invalid_grant", "expired_token", "NOT_INSTALLED"] {
        let scene = Scene::new([refusal(code)]).await;
        for _ in 0..5 {
            let refused = scene.credential.renew(Generation(1)).await.unwrap_err();
            let dead = State::Dead { code: code.to_owned() };
            assert!(matches!(refused, Unavailable::NotConnected(state) if state == dead));
        }
        assert_eq!(scene.exchanges(), 1);
        let restarted = scene.restarted().await;
        assert_eq!(restarted.state().state.word(), "dead");
        assert_eq!(access(&restarted), "A-canary-1");
        // Whatever was wrong on the other side is over.
        scene.server.then(Line::Answer(200, pair(2)));
        restarted.renew(Generation(1)).await.unwrap();
        assert!(scene.server.seen()[1].body.contains("refresh_token=R-canary-1"));
        assert_eq!(restarted.state().word(), "connected");
    }
}

#[tokio::test]
async fn a_refusal_that_a_human_can_lift_waits_for_a_changed_secret() {
    for code in ["PAYMENT_REQUIRED", "wrong_client", "invalid_client"] {
        let scene = Scene::new([refusal(code), Line::Answer(200, pair(2))]).await;
        for _ in 0..5 {
            let refused = scene.credential.renew(Generation(1)).await.unwrap_err();
            assert!(matches!(refused, Unavailable::NotConnected(State::Paused { .. })), "{code}");
        }
        scene.credential.set_app(Arc::new(scene.server.app()));
        scene.credential.renew(Generation(1)).await.unwrap_err();
        assert_eq!(scene.exchanges(), 1);
        let secret = Secret::new("another");
        let app = config::App { client_secret: secret, ..scene.server.app() };
        scene.credential.set_app(Arc::new(app));
        scene.credential.renew(Generation(1)).await.unwrap();
        assert!(scene.server.seen()[1].body.contains("client_secret=another"));
    }
}

#[tokio::test]
async fn a_passing_failure_pauses_and_then_tries_the_same_refresh_token_again() {
    for (line, word) in [
        (Line::Answer(429, String::new()), "connected"),
        (refusal("something_new"), "connected"),
        (Line::Answer(502, "<html>".to_owned()), "suspect"),
        (Line::Answer(200, "{}".to_owned()), "suspect"),
        (Line::Raw(String::new()), "suspect"),
    ] {
        let scene = Scene::new([line.clone(), Line::Answer(200, pair(2))]).await;
        for _ in 0..5 {
            let refused = scene.credential.renew(Generation(1)).await.unwrap_err();
            let Unavailable::Later { retry_after, .. } = refused else {
                panic!("{refused:?} after {line:?}");
            };
            assert!(retry_after <= PAUSE + PAUSE / 4);
        }
        assert_eq!(scene.exchanges(), 1, "one exchange per pause, after {line:?}");
        assert_eq!(scene.credential.state().word(), word, "{line:?}");
        assert_eq!(scene.restarted().await.state().word(), word, "{line:?}");
        assert_eq!(access(&scene.credential), "A-canary-1");
        scene.pause().await;
        scene.credential.renew(Generation(1)).await.unwrap();
        assert!(scene.server.seen()[1].body.contains("refresh_token=R-canary-1"));
        assert_eq!(scene.credential.state().word(), "connected");
    }
}

#[tokio::test]
async fn a_doubt_stays_until_an_exchange_succeeds() {
    let down = Line::Answer(429, String::new());
    let scene = Scene::new([Line::Raw(String::new()), down]).await;
    scene.credential.renew(Generation(1)).await.unwrap_err();
    scene.pause().await;
    scene.credential.renew(Generation(1)).await.unwrap_err();
    assert_eq!(scene.exchanges(), 2);
    assert_eq!(scene.credential.state().word(), "suspect");
}

#[tokio::test]
async fn an_exchange_cut_short_by_a_crash_is_suspect_after_the_restart() {
    let scene = Scene::new([Line::Silent]).await;
    scene.store.intend(link(1)).await.unwrap();
    assert_eq!(scene.restarted().await.state().word(), "suspect");
}

#[tokio::test]
async fn a_pair_of_another_portal_overwrites_nothing() {
    let foreign = pair(2).replace("a223c6b3", "ffffffff");
    let scene = Scene::new([Line::Answer(200, foreign)]).await;
    let refused = scene.credential.renew(Generation(1)).await.unwrap_err();
    let paused = State::Paused { code: "member_id_mismatch".to_owned() };
    assert!(matches!(refused, Unavailable::NotConnected(state) if state == paused));
    assert_eq!(access(&scene.credential), "A-canary-1");
    assert_eq!(access(scene.restarted().await.as_ref()), "A-canary-1");
}

#[tokio::test]
async fn a_failure_is_the_same_for_everybody_who_waited_for_it() {
    let scene = Scene::new([Line::Late(
        Duration::from_millis(100),
        400,
        r#"{"error":"invalid_grant"}"#.to_owned(),
    )])
    .await;
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let credential = Arc::clone(&scene.credential);
            tokio::spawn(async move { credential.renew(Generation(1)).await })
        })
        .collect();
    for caller in callers {
        let refused = caller.await.unwrap().unwrap_err();
        assert!(matches!(refused, Unavailable::NotConnected(State::Dead { .. })));
    }
    assert_eq!(scene.exchanges(), 1);
}

#[tokio::test]
async fn a_panic_in_the_refresh_hangs_nobody_and_loses_nothing_that_was_received() {
    let scene = Scene::new([Line::Answer(200, pair(2))]).await;
    scene.store.panic.store(true, Ordering::SeqCst);
    let refused = scene.credential.renew(Generation(1)).await.unwrap_err();
    assert!(matches!(refused, Unavailable::Later { .. }));
    scene.store.panic.store(false, Ordering::SeqCst);
    // Not on the heels of the one that died.
    scene.credential.renew(Generation(1)).await.unwrap_err();
    scene.pause().await;
    let token = scene.credential.renew(Generation(1)).await.unwrap();
    assert_eq!(token.generation, Generation(2));
    assert_eq!(access(&scene.credential), "A-canary-2");
    assert_eq!(scene.exchanges(), 1, "the answer was in the journal");
}

#[tokio::test]
async fn a_generation_that_somebody_else_stored_is_taken_without_an_exchange() {
    let scene = Scene::new([Line::Silent]).await;
    let grant = Grant::parse(pair(5).as_bytes(), unix_now()).unwrap();
    scene.store.inner.commit(link(1), &grant).await.unwrap();
    let token = scene.credential.renew(Generation(1)).await.unwrap();
    assert_eq!(token.generation, Generation(2));
    assert_eq!(access(&scene.credential), "A-canary-5");
    assert_eq!(scene.exchanges(), 0);
}

#[tokio::test]
async fn an_old_portals_redirect_renews_and_what_it_does_not_say_stays_known() {
    let location = "https://x/?access_token=A-canary-2&refresh_token=R-canary-2&expires_in=3600";
    let answer = format!("HTTP/1.1 302 X\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
    let scene = Scene::new([Line::Raw(answer)]).await;
    let before = scene.credential.state();
    assert!(before.member_id.is_some() && before.user_id == Some(7));
    // The pair is in the journal, although the database does not take it.
    scene.store.no_commit.store(true, Ordering::SeqCst);
    scene.credential.renew(Generation(1)).await.unwrap();
    scene.store.no_commit.store(false, Ordering::SeqCst);
    for credential in [scene.restarted().await, Arc::clone(&scene.credential)] {
        assert_eq!(access(&credential), "A-canary-2");
        let after = credential.state();
        assert_eq!((&after.member_id, after.user_id), (&before.member_id, before.user_id));
    }
    assert!(scene.custody.flights().wait_idle(Duration::from_secs(5)).await);
}
