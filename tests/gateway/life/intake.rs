//! What becomes of the pairs that are brought, beside a running gateway and without one.

use std::process::Output;

use b24gate::sandbox::{Sandbox, Seed};
use serde_json::{Value, json};

use crate::support::calls::{portal, profile};
use crate::support::{Gate, Setup};

fn told(output: &Output) -> String {
    let text = [output.stdout.as_slice(), &output.stderr].concat();
    String::from_utf8(text).unwrap()
}

/// Brings a pair and wants an exit code and a part of what is said; never a token.
fn bring(setup: &Setup, pair: &Value, arguments: &[&str], code: i32, said: &str) {
    let command = [&["portal", "import", "acme"], arguments].concat();
    let output = setup.command(&command, &pair.to_string());
    let text = told(&output);
    assert_eq!(output.status.code(), Some(code), "{text}");
    assert!(text.contains(said), "{said:?} is missing in {text}");
    for token in tokens(pair) {
        assert!(!text.contains(token), "{text}");
    }
}

/// All texts in `pair` that are as long as tokens are.
fn tokens(pair: &Value) -> Vec<&str> {
    match pair {
        Value::String(text) if text.len() >= 70 => vec![text],
        Value::Object(fields) => fields.values().flat_map(tokens).collect(),
        _ => Vec::new(),
    }
}

fn changed(seed: &Seed, key: &str, value: Value) -> Value {
    let mut pair = seed.token_response.clone();
    pair[key] = value;
    pair
}

/// The chains and the ledger, as `portal show` prints them.
fn tables(setup: &Setup, arguments: &[&str]) -> Vec<Vec<String>> {
    let output = setup.command(&[&["portal", "show", "acme"], arguments].concat(), "");
    assert!(output.status.success(), "{}", told(&output));
    let text = told(&output);
    let mut parts = text.trim_end().split("\n\n").skip(1);
    let mut rows = Vec::new();
    for part in parts.by_ref() {
        rows.extend(part.lines().map(|line| {
            // The age of a pair is in seconds yet, and they go by.
            let line = line.split("  ").map(str::trim).filter(|cell| !cell.is_empty());
            line.filter(|cell| !cell.ends_with(" ago")).map(str::to_owned).collect()
        }));
    }
    rows
}

/// A pair as each kit keeps it: bitrix-tools/crest, `src/crest.php`; bitrix24/b24phpsdk,
/// `src/Application/Local/Entity/LocalAppAuth.php`; bitrix24/b24jssdk,
/// `packages/jssdk/src/types/auth.ts`; and what a portal posts to an application's page.
fn forms(portal: &Sandbox) -> [(&'static str, Value); 4] {
    let [settings, php, js, install] = std::array::from_fn(|_| portal.seed());
    let rest = format!("{}/rest/", settings.portal_url);
    let expires = &js.token_response["expires"];
    [
        (
            "CRest's settings.json",
            json!({"access_token": settings.access_token, "expires_in": "3600",
                "application_token": "app-token", "refresh_token": settings.refresh_token,
                "domain": "acme.bitrix24.com", "client_endpoint": rest}),
        ),
        (
            "b24phpsdk's stored token",
            json!({"auth_token": {"access_token": php.access_token,
                "refresh_token": php.refresh_token, "expires": expires},
                "domain_url": php.portal_url, "application_token": "app-token"}),
        ),
        (
            "b24jssdk's stored parameters",
            json!({"applicationToken": "app-token", "userId": js.user_id,
                "memberId": js.member_id, "accessToken": js.access_token,
                "refreshToken": js.refresh_token, "expires": expires, "expiresIn": 3600,
                "scope": "crm", "domain": "acme.bitrix24.com", "clientEndpoint": rest,
                "serverEndpoint": rest, "status": "L"}),
        ),
        (
            "the fields of an install request",
            json!({"DOMAIN": "acme.bitrix24.com", "PROTOCOL": "1", "LANG": "en",
                "AUTH_ID": install.access_token, "AUTH_EXPIRES": "3600",
                "REFRESH_ID": install.refresh_token, "member_id": install.member_id,
                "status": "L", "PLACEMENT": "DEFAULT"}),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pair_is_taken_in_every_form_that_kits_keep_it_in() {
    let portal = portal().await;
    for (form, pair) in forms(&portal) {
        assert_eq!(tokens(&pair).len(), 2, "{form}");
        let setup = Setup::new(&portal);
        setup.write();
        bring(&setup, &pair, &[], 0, "credential stored, generation 1, ");
        bring(&setup, &pair, &[], 0, &format!("nothing to do (read as {form})"));
        assert_eq!(profile(&setup.start()).await.status, 200, "{form}");
    }
    let gate = Setup::new(&portal).start();
    for (form, pair) in forms(&portal) {
        bring(gate.setup(), &pair, &["--replace"], 0, &format!("(read as {form})"));
        assert_eq!(profile(&gate).await.status, 200, "{form}");
    }
    assert_eq!(portal.control().exchanges(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pair_of_unknown_age_is_renewed_when_the_portal_refuses_it() {
    let portal = portal().await;
    let gate = Setup::new(&portal).start();
    let [(_, settings), ..] = forms(&portal);
    portal.control().expire();
    bring(gate.setup(), &settings, &[], 0, "expiry unknown");
    let answer = profile(&gate).await;
    assert_eq!((answer.status, answer.field("x-b24-replayed")), (200, Some("expired_token")));
    assert_eq!(portal.control().exchanges(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_pair_of_the_same_user_waits_and_one_that_is_here_changes_nothing() {
    let portal = portal().await;
    let seeds: [Seed; 4] = std::array::from_fn(|_| portal.seed());
    let [first, second, third, fourth] = seeds.each_ref().map(|seed| &seed.token_response);
    let setup = Setup::new(&portal);
    setup.write();
    let known =
        "is the one in use (chain 1, generation 1); nothing to do (read as a token response)";
    let spare_known = "is kept as a spare already (chain 2, generation 2); nothing to do";
    bring(&setup, first, &[], 0, "credential stored, generation 1, expires in ");
    bring(&setup, first, &[], 0, known);
    let kept =
        "portal acme: kept as a spare (chain 2); it takes over when the one in use dies (read";
    bring(&setup, second, &[], 0, kept);
    bring(&setup, second, &[], 0, spare_known);

    let gate = setup.start();
    bring(&setup, first, &[], 0, known);
    bring(&setup, second, &["--replace"], 0, spare_known);
    bring(&setup, third, &[], 0, "kept as a spare (chain 3); it takes over");
    let dropped = "kept as a spare (chain 4); it takes over when the one in use dies; the oldest \
                   spare (chain 2) made room for it";
    bring(&setup, fourth, &[], 0, dropped);
    // The pair in use is the first one, still.
    assert_eq!(tables(&setup, &["--ledger", "0"])[1][..2], ["1", "active"]);
    assert_eq!(profile(&gate).await.status, 200);
    assert_eq!(portal.control().exchanges(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_pair_of_anybody_else_and_none_that_is_used_up_is_taken() {
    let portal = portal().await;
    let [first, other] = [portal.seed(), portal.seed()];
    let user = first.user_id;
    let stranger = portal.control().seed_for(&first.member_id, user + 1);
    let gate = Gate::connected(&Setup::new(&portal), &first);
    portal.control().expire();
    assert_eq!(profile(&gate).await.status, 200);
    assert_eq!(portal.control().exchanges(), 1);

    let refused = |when: &Setup| {
        let used = "was exchanged at 20";
        let another_user =
            format!("is user {}'s, and the portal is connected as user {user}", user + 1);
        let another_portal = "belongs to another portal";
        for replace in [&[][..], &["--replace"]] {
            bring(when, &first.token_response, replace, 1, used);
            let elsewhere = changed(&other, "member_id", json!("f".repeat(32)));
            bring(when, &elsewhere, replace, 1, another_portal);
        }
        bring(when, &stranger.token_response, &[], 1, &another_user);
        let nobodys = changed(&other, "user_id", Value::Null);
        bring(when, &nobodys, &[], 1, "does not say whose it is");
    };
    refused(gate.setup());
    let rows = tables(gate.setup(), &["--ledger", "1000"]);
    let setup = gate.kill();
    refused(&setup);
    assert_eq!(tables(&setup, &["--ledger", "1000"]), rows, "nothing of it has left a trace");

    let gate = setup.start();
    bring(&setup, &stranger.token_response, &["--replace"], 0, "credential stored, generation 3");
    assert_eq!(profile(&gate).await.status, 200);
    let rows = tables(&setup, &["--ledger", "0"]);
    assert_eq!(rows.len(), 2, "the one before is history: {rows:?}");
    assert_eq!(rows[1][3], (user + 1).to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_chains_and_the_ledger_are_shown_and_no_token() {
    let portal = portal().await;
    let seeds = [portal.seed(), portal.seed()];
    let setup = Setup::new(&portal);
    setup.write();
    assert_eq!(tables(&setup, &[]), Vec::<Vec<String>>::new());
    setup.import(&seeds[0]);
    let gate = setup.start();
    portal.control().expire();
    assert_eq!(profile(&gate).await.status, 200);
    setup.import(&seeds[1]);

    let check = || {
        let rows = tables(&setup, &[]);
        let user = seeds[0].user_id.to_string();
        let cells = |row: &[String]| row.join(" ");
        assert_eq!(cells(&rows[0]), "CHAIN ROLE GENERATION USER ISSUED STATE");
        assert_eq!(cells(&rows[1]), format!("1 active 2 {user} connected"));
        assert_eq!(cells(&rows[2]), format!("2 spare 3 {user} connected"));
        assert_eq!(cells(&rows[3]), "WHEN CHAIN GENERATION TOKEN OUTCOME");
        let outcomes: Vec<_> = rows[4..].iter().map(|row| (&row[1], &row[2], &*row[4])).collect();
        let want =
            [("2", "3", "spare"), ("1", "2", "commit"), ("1", "1", "intent"), ("1", "1", "import")];
        let want = want
            .map(|(chain, generation, outcome)| (chain.to_owned(), generation.to_owned(), outcome));
        assert_eq!(
            outcomes,
            want.each_ref().map(|(chain, generation, outcome)| (chain, generation, *outcome))
        );
        for row in &rows[4..] {
            assert!(
                row[0].starts_with("20") && row[0].ends_with('Z') && row[0].len() == 20,
                "{row:?}"
            );
            assert!(row[3].len() == 8 && u32::from_str_radix(&row[3], 16).is_ok(), "{row:?}");
        }
        assert_eq!(rows[6][3], rows[7][3], "one token has one name");
        assert_eq!(tables(&setup, &["--ledger", "1"])[3..], rows[3..5]);
        assert_eq!(tables(&setup, &["--ledger", "0"]), rows[..3]);
        let wrong = setup.command(&["portal", "show", "acme", "--ledger", "1001"], "");
        assert_eq!(wrong.status.code(), Some(2), "{}", told(&wrong));
        let list = told(&setup.command(&["portal", "list"], ""));
        let columns: Vec<Vec<_>> =
            list.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(columns[0][4], "SPARES", "{list}");
        // "in 60 min" are three words.
        assert_eq!(columns[1][6], "1", "{list}");
        let shown = told(&setup.command(&["portal", "show", "acme", "--ledger", "1000"], ""));
        for secret in seeds.iter().flat_map(|seed| [&seed.access_token, &seed.refresh_token]) {
            assert!(!shown.contains(secret.as_str()), "{shown}");
        }
        rows
    };
    let running = check();
    let (status, _) = gate.stop();
    assert!(status.success());
    assert_eq!(check(), running);
}
