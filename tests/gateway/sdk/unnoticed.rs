//! What a library does not notice: an expired token, the portal's limit, a renamed portal.

use serde_json::json;

use super::world::World;
use super::*;

#[tokio::test]
async fn fast_bitrix24_notices_neither_an_expiry_nor_a_limit_nor_a_move() {
    notices_nothing(&FAST_BITRIX24).await;
}

#[tokio::test]
async fn fast_bitrix24_with_tokens_of_its_own_asks_for_one_only_once() {
    notices_nothing(&FAST_BITRIX24_TOKEN_FUNC).await;
}

#[tokio::test]
async fn b24pysdk_notices_neither_an_expiry_nor_a_limit_nor_a_move() {
    tokio::join!(notices_nothing(&B24PYSDK), notices_nothing(&B24PYSDK_OAUTH));
}

#[tokio::test]
async fn small_python_libraries_notice_neither_an_expiry_nor_a_limit_nor_a_move() {
    let (rest, api) = (notices_nothing(&BITRIX24_REST), notices_nothing(&B24API));
    tokio::join!(rest, api, notices_nothing(&PYBITRIX24));
}

#[tokio::test]
async fn b24jssdk_notices_neither_an_expiry_nor_a_limit_nor_a_move() {
    notices_nothing(&B24JSSDK_HOOK).await;
}

#[tokio::test]
async fn b24jssdk_with_tokens_of_its_own_never_renews_one() {
    notices_nothing(&B24JSSDK_OAUTH).await;
}

#[tokio::test]
async fn bitrix_of_2bad_notices_neither_an_expiry_nor_a_limit_nor_a_move() {
    notices_nothing(&BITRIX_2BAD).await;
}

#[tokio::test]
async fn php_tools_of_every_shape_notice_neither_an_expiry_nor_a_limit_nor_a_move() {
    let crest = (notices_nothing(&CREST_WEBHOOK), notices_nothing(&CREST_OAUTH));
    tokio::join!(crest.0, crest.1, notices_nothing(&REST_COMMAND));
}

#[tokio::test]
async fn those_that_take_http_take_https_too_once_they_trust_the_authority() {
    for known in [FAST_BITRIX24, BITRIX24_REST, B24API, BITRIX_2BAD, CREST_WEBHOOK] {
        let library = Library { secure: true, ..known };
        World::new(&library).await.succeeds(&library, "by https").await;
    }
}

#[tokio::test]
async fn nobody_calls_by_https_without_trusting_the_authority() {
    for known in [B24PYSDK, B24JSSDK_HOOK, CREST_WEBHOOK] {
        let library = Library { secure: true, ..known };
        let mut world = World::new(&library).await;
        world.distrust();
        let taken = world.run(&library, &["call"]).await;
        let said = taken[0].result.to_string();
        assert!(!taken[0].ok && said.contains("certificate"), "{}: {said}", library.name);
        assert_eq!(world.calls().len(), 0, "{}", library.name);
    }
}

/// Runs a library undisturbed, with an expired token, against the portal's limit and against a
/// portal that was renamed, and holds all of it to the same results and the same requests.
async fn notices_nothing(library: &Library) {
    let world = World::new(library).await;
    let control = world.portal.control();
    world.succeeds(library, "undisturbed").await;
    let calls = world.calls().len();
    assert_eq!(control.exchanges(), 0);

    control.expire();
    world.succeeds(library, "after an expiry").await;
    assert_eq!(control.exchanges(), 1);

    control.clear_log();
    let limit = json!({"portal": {"mode": "query_limit", "skip": 1, "count": 1}});
    control.fault(&limit).await.unwrap();
    world.succeeds(library, "through the portal's limit").await;
    let limited = world.calls().iter().filter(|call| call.status == 503).count();
    assert_eq!((limited, world.calls().len()), (1, calls + 1), "{}", library.name);

    control.clear_log();
    control.switch(&json!({"renamed": true})).unwrap();
    world.succeeds(library, "once the portal has another name").await;
    let seen = world.calls();
    let (old, new): (Vec<_>, Vec<_>) = seen.iter().partition(|it| it.listener == "portal");
    assert_eq!((old.len(), old[0].status), (1, 302), "{}: only the first call", library.name);
    assert!(new.iter().all(|call| call.status == 200), "{}: {new:#?}", library.name);
    world.assert_requests(4 * u64::try_from(calls).unwrap(), library.name).await;
}

impl World {
    async fn succeeds(&self, library: &Library, when: &str) {
        let names: Vec<_> = library.steps.iter().map(|(name, _)| *name).collect();
        let taken = self.run(library, &names).await;
        for (step, (name, expected)) in taken.iter().zip(library.steps) {
            let seen = (step.ok, step.name.as_str(), step.result.to_string());
            assert_eq!(seen, (true, *name, (*expected).to_owned()), "{} {when}", library.name);
        }
        for call in self.calls() {
            let told = format!("{} {:?} {:?}", call.target, call.headers, call.body.unwrap());
            let shown = told.contains(&self.key);
            assert!(!shown, "{} {when}: the key stays here: {told}", library.name);
        }
    }
}
