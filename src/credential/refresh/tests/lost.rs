//! A database that is not the one it was: what the journal knows better.

use super::*;

impl Scene {
    fn database(&self) -> std::path::PathBuf {
        self.home.path().join("state/b24gate.db")
    }

    /// Ends this process's part, changes the files with `change`, and starts again.
    async fn reopened(self, change: impl FnOnce(&Self)) -> Self {
        self.store.inner.close().await;
        change(&self);
        let Self { server, custody, credential, home, state, store } = self;
        drop((custody, credential, store, state));
        Self::over(server, home).await
    }
}

fn grant(number: u32) -> Grant {
    Grant::parse(pair(number).as_bytes(), unix_now()).unwrap()
}

#[tokio::test]
async fn a_lost_database_costs_no_credential_and_no_spare() {
    let scene = Scene::new([Line::Answer(200, pair(2)), Line::Silent]).await;
    scene.credential.renew(Generation(1)).await.unwrap();
    scene.credential.adopt(grant(9), Replace::No).await.unwrap();
    let scene = scene.reopened(|it| std::fs::remove_file(it.database()).unwrap()).await;
    let status = scene.credential.state();
    assert_eq!((status.word(), status.spares), ("connected", 1));
    // Which of the two is in use is not known any more; both are there.
    let record = scene.store.load().await.unwrap().pop().unwrap();
    let (active, spare) = (record.credential.unwrap().unwrap(), record.spares.into_iter().next());
    let mut refresh =
        [active.refresh, spare.unwrap().unwrap().refresh].map(|it| it.expose().to_owned());
    refresh.sort();
    assert_eq!(refresh, ["R-canary-2", "R-canary-9"]);
    assert!(record.answers.iter().all(|answer| answer.ours), "the old slots are gone");
    assert_eq!(scene.exchanges(), 1);
}

#[tokio::test]
async fn an_old_copy_of_the_database_gets_the_newer_pair_and_the_newer_chain() {
    let scene = Scene::new([Line::Answer(200, pair(2)), Line::Silent]).await;
    let copy = scene.home.path().join("copy.db");
    let scene = scene.reopened(|it| put(&it.database(), &copy)).await;
    scene.credential.renew(Generation(1)).await.unwrap();
    scene.credential.adopt(grant(9), Replace::Yes).await.unwrap();
    assert_eq!(access(&scene.credential), "A-canary-9");
    let scene = scene.reopened(|it| put(&copy, &it.database())).await;
    // The copy is from before both. Its chain is at its newest, and the other one waits.
    assert_eq!(access(&scene.credential), "A-canary-2");
    assert_eq!(scene.credential.state().spares, 1);
    let record = scene.store.load().await.unwrap().pop().unwrap();
    let spare = record.spares.into_iter().next().unwrap().unwrap();
    assert!(spare.refresh.matches("R-canary-9"));
    assert_eq!(scene.exchanges(), 1);
}

#[tokio::test]
async fn a_stray_pair_of_another_user_is_not_taken() {
    let scene = Scene::new([Line::Silent]).await;
    let copy = scene.home.path().join("copy.db");
    let scene = scene.reopened(|it| put(&it.database(), &copy)).await;
    let foreign = Grant { user_id: Some(8), ..grant(9) };
    scene.credential.adopt(foreign, Replace::Yes).await.unwrap();
    let scene = scene.reopened(|it| put(&copy, &it.database())).await;
    assert_eq!(access(&scene.credential), "A-canary-1");
    assert_eq!(scene.credential.state().spares, 0);
}

fn put(from: &std::path::Path, to: &std::path::Path) {
    assert_ne!(std::fs::copy(from, to).unwrap(), 0);
}
