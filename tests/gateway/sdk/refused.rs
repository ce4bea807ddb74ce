//! What a library makes of a key that is nobody's, and of what its client may not call.

use super::world::World;
use super::*;

const NOBODY: &str = "belongs to no client of this gateway";
const FORBIDDEN: &str = "may not call";

#[tokio::test]
async fn a_key_that_is_nobodys_ends_every_python_library_with_one_request() {
    for (library, words) in [
        (&FAST_BITRIX24, "ClientResponseError: 403"),
        (&FAST_BITRIX24_TOKEN_FUNC, "ClientResponseError: 403"),
        (&B24PYSDK, NOBODY),
        (&B24PYSDK_OAUTH, NOBODY),
        (&BITRIX24_REST, "HTTP error: 403"),
        (&B24API, NOBODY),
        (&PYBITRIX24, NOBODY),
    ] {
        is_told_of_a_refused_key(library, words).await;
    }
}

#[tokio::test]
async fn a_key_that_is_nobodys_ends_every_javascript_library_with_one_request() {
    for (library, words) in
        [(&B24JSSDK_HOOK, NOBODY), (&B24JSSDK_OAUTH, NOBODY), (&BITRIX_2BAD, "403")]
    {
        is_told_of_a_refused_key(library, words).await;
    }
}

#[tokio::test]
async fn a_key_that_is_nobodys_ends_php_tools_of_every_shape_with_one_request() {
    for library in [&CREST_WEBHOOK, &CREST_OAUTH, &REST_COMMAND] {
        is_told_of_a_refused_key(library, NOBODY).await;
    }
}

#[tokio::test]
async fn a_method_outside_the_clients_rules_is_named_alone_and_in_a_batch() {
    for library in [&B24PYSDK, &B24JSSDK_HOOK, &CREST_WEBHOOK, &REST_COMMAND] {
        let world = World::with(library, |setup| setup.more("methods = [\"crm.*\"]")).await;
        for step in ["call", "batch"] {
            world.is_forbidden(library, (step, "user.current")).await;
        }
        let taken = world.run(library, &["list"]).await;
        assert!(taken[0].ok, "{}: {taken:?}", library.name);
        assert_eq!(taken[0].result, 120, "{}", library.name);
    }
}

#[tokio::test]
async fn a_client_that_may_only_read_changes_nothing_alone_or_in_a_batch() {
    for library in [&B24PYSDK, &B24JSSDK_HOOK, &CREST_WEBHOOK, &REST_COMMAND] {
        let world = World::with(library, |setup| setup.more("read_only = true")).await;
        for step in ["add", "batch_add"] {
            world.is_forbidden(library, (step, "crm.deal.add")).await;
        }
        let taken = world.run(library, &["call", "batch"]).await;
        assert!(taken.iter().all(|step| step.ok), "{}: {taken:?}", library.name);
        assert_eq!(world.portal.control().executions("crm.deal.add"), 0, "{}", library.name);

        let world = World::new(library).await;
        let taken = world.run(library, &["add", "batch_add"]).await;
        assert!(taken.iter().all(|step| step.ok), "{}: {taken:?}", library.name);
        assert_eq!(world.portal.control().executions("crm.deal.add"), 2, "{}", library.name);
    }
}

async fn is_told_of_a_refused_key(library: &Library, words: &str) {
    let world = World::of_a_stranger(library).await;
    let when = "with a key that is nobody's";
    world.is_told(library, ("call", words), when).await;
    world.assert_refused(1, &format!("{} {when}", library.name)).await;
    assert_eq!(world.calls().len(), 0, "{}", library.name);
}

impl World {
    /// The library's user reads who may not call which method, and the portal hears of nothing.
    async fn is_forbidden(&self, library: &Library, (step, method): (&str, &str)) {
        let before = self.calls().len();
        let said = self.is_told(library, (step, FORBIDDEN), "outside the rules").await;
        let named = said.contains("tools") && said.to_lowercase().contains(method);
        assert!(named, "{} {step}: {said}", library.name);
        assert_eq!(self.calls().len(), before, "{} {step}", library.name);
    }
}
