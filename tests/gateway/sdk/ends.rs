//! What a library has to be told: it says so to its user, and it ends.

use serde_json::json;

use super::world::World;
use super::*;
use crate::support::calls::assert_refused;
use crate::support::http;

/// What becomes of a call that cannot succeed: how many requests the library makes in all, and
/// words of what its user reads.
struct Ends {
    /// The portal's credential is dead.
    dead: (u64, &'static str),
    /// Nobody listens where the portal should be.
    unreachable: (u64, &'static str),
    /// The portal says `QUERY_LIMIT_EXCEEDED` and goes on saying it.
    limited: (u64, &'static str),
    /// The portal answers with a page, status 500.
    page: (u64, &'static str),
    /// How many of those requests the portal has heard of.
    heard: u64,
}

#[tokio::test]
async fn fast_bitrix24_gives_up_after_eleven_requests_and_at_once_without_a_credential() {
    let eleven = "All attempts to get data from server exhausted";
    let ends = Ends {
        dead: (1, "ClientResponseError: 403"),
        unreachable: (11, eleven),
        limited: (11, eleven),
        page: (11, eleven),
        heard: 11,
    };
    ends_as(&FAST_BITRIX24, &ends).await;
}

#[tokio::test]
async fn fast_bitrix24_with_tokens_of_its_own_does_not_ask_for_them_in_a_loop() {
    let eleven = "All attempts to get data from server exhausted";
    let ends = Ends {
        dead: (1, "ClientResponseError: 403"),
        unreachable: (11, eleven),
        limited: (11, eleven),
        page: (11, eleven),
        heard: 11,
    };
    ends_as(&FAST_BITRIX24_TOKEN_FUNC, &ends).await;
}

#[tokio::test]
async fn b24pysdk_says_what_the_gateway_says_and_repeats_only_what_is_limited() {
    let ends = Ends {
        dead: (1, "portal acme is not connected"),
        unreachable: (1, "the portal refuses connections"),
        limited: (3, "BitrixAPIQueryLimitExceeded"),
        page: (1, "JSON"),
        heard: 1,
    };
    tokio::join!(ends_as(&B24PYSDK, &ends), ends_as(&B24PYSDK_OAUTH, &ends));
}

#[tokio::test]
async fn small_python_libraries_end_with_one_request() {
    let status = Ends {
        dead: (1, "HTTP error: 403"),
        unreachable: (1, "HTTP error: 502"),
        limited: (1, "HTTP error: 503"),
        page: (1, "HTTP error: 500"),
        heard: 1,
    };
    ends_as(&BITRIX24_REST, &status).await;
    let answer = Ends {
        dead: (1, "portal acme is not connected"),
        unreachable: (1, "the portal refuses connections"),
        limited: (1, "QUERY_LIMIT_EXCEEDED"),
        page: (1, "JSONDecodeError"),
        heard: 1,
    };
    ends_as(&PYBITRIX24, &answer).await;
}

#[tokio::test]
async fn b24api_ends_at_once_without_a_credential() {
    is_told_of_a_dead_credential(&B24API, (1, "portal acme is not connected")).await;
}

#[tokio::test]
async fn b24jssdk_ends_after_three_requests_and_at_once_without_a_credential() {
    let ends = Ends {
        dead: (1, "portal acme is not connected"),
        unreachable: (3, "the portal refuses connections"),
        limited: (3, "QUERY_LIMIT_EXCEEDED"),
        page: (3, "status code 500"),
        // It repeats a call with the id of the first, whose answer it gets.
        heard: 1,
    };
    ends_as(&B24JSSDK_HOOK, &ends).await;
}

#[tokio::test]
async fn b24jssdk_with_tokens_of_its_own_ends_without_renewing_them() {
    let ends = Ends {
        dead: (1, "portal acme is not connected"),
        unreachable: (3, "the portal refuses connections"),
        limited: (3, "QUERY_LIMIT_EXCEEDED"),
        page: (3, "status code 500"),
        // It repeats a call with the id of the first, whose answer it gets.
        heard: 1,
    };
    ends_as(&B24JSSDK_OAUTH, &ends).await;
}

#[tokio::test]
async fn bitrix_of_2bad_ends_after_three_requests_and_at_once_without_a_credential() {
    let ends = Ends {
        dead: (1, "403"),
        unreachable: (3, "502"),
        limited: (3, "503"),
        page: (3, "500"),
        heard: 3,
    };
    ends_as(&BITRIX_2BAD, &ends).await;
}

#[tokio::test]
async fn php_tools_of_every_shape_end_with_one_request() {
    let ends = Ends {
        dead: (1, "portal acme is not connected"),
        unreachable: (1, "the portal refuses connections"),
        limited: (1, "QUERY_LIMIT_EXCEEDED"),
        page: (1, "no_json: 500"),
        heard: 1,
    };
    ends_as(&CREST_WEBHOOK, &ends).await;
    ends_as(&CREST_OAUTH, &ends).await;
    ends_as(&REST_COMMAND, &ends).await;
}

/// All four at the same time, because most of it is waiting.
async fn ends_as(library: &Library, ends: &Ends) {
    tokio::join!(
        Box::pin(is_told_of_a_dead_credential(library, ends.dead)),
        Box::pin(is_told_of_an_unreachable_portal(library, ends.unreachable)),
        Box::pin(is_told_of_a_limit(library, ends.limited)),
        Box::pin(is_told_of_a_page(library, ends.page, ends.heard)),
    );
}

async fn is_told_of_a_dead_credential(library: &Library, expected: (u64, &str)) {
    let world = World::idle_for_an_hour(library).await;
    let control = world.portal.control();
    control.kill_chain();
    let profile = format!("/rest/1/{}/profile", world.key);
    let found_out = http::get(world.gate.address, &profile).await;
    assert_refused(&found_out, 403, "GATEWAY_PORTAL_NOT_CONNECTED");
    control.clear_log();
    // The one that found it out is counted, too.
    let (requests, words) = expected;
    world.fails(library, (requests + 1, words), "with a dead credential").await;
    let told = control.log();
    assert!(told.is_empty(), "{}: nobody hears of it: {told:#?}", library.name);
}

async fn is_told_of_an_unreachable_portal(library: &Library, expected: (u64, &str)) {
    let world = World::new(library).await;
    world.portal.control().fault(&json!({"portal": {"mode": "down"}})).await.unwrap();
    world.fails(library, expected, "with a portal that is down").await;
}

async fn is_told_of_a_limit(library: &Library, expected: (u64, &str)) {
    // The gateway does not wait itself, so that what the library does is seen.
    let world = World::with(library, |setup| setup.gateway("max_wait = \"0s\"")).await;
    world.portal.control().fault(&json!({"portal": {"mode": "query_limit"}})).await.unwrap();
    world.fails(library, expected, "against a limit that stays").await;
    assert!(world.calls().len() as u64 <= expected.0, "{}", library.name);
}

async fn is_told_of_a_page(library: &Library, expected: (u64, &str), heard: u64) {
    let world = World::new(library).await;
    let page = json!({"portal": {"mode": "html", "status": 500}});
    world.portal.control().fault(&page).await.unwrap();
    world.fails(library, expected, "when a page comes").await;
    assert_eq!(world.calls().len() as u64, heard, "{}: passed through", library.name);
}

impl World {
    /// The library's user is told, in these words, after so many requests, and the library ends.
    async fn fails(&self, library: &Library, (requests, words): (u64, &str), when: &str) {
        self.is_told(library, ("call", words), when).await;
        self.assert_requests(requests, &format!("{} {when}", library.name)).await;
    }

    /// The library's user is told of this step, in these words and more, and the library ends.
    pub(super) async fn is_told(
        &self,
        library: &Library,
        (step, words): (&str, &str),
        when: &str,
    ) -> String {
        let taken = self.run(library, &[step]).await;
        let said = taken[0].result.to_string();
        let named = format!("{} {when}, {step}: {said}", library.name);
        assert!(!taken[0].ok && said.contains(words), "{named}");
        for word in ["expired_token", "invalid_token"] {
            assert!(!said.contains(word), "{named}");
        }
        said
    }
}
