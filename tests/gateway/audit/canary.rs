//! No body, query, header, key or token is in anything that is noted of a call.

use std::fs;

use crate::support::calls::{portal, profile};
use crate::support::http;
use crate::support::{Gate, Setup};

/// Nothing of what a request carries besides its method.
const CANARIES: [&str; 8] = [
    "canaryquery",
    "canarybody",
    "canaryheader",
    "canarykey",
    "canarybearer",
    "canaryauth",
    "canarypath",
    "canarylink",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_a_request_carries_besides_its_method_is_noted_anywhere() {
    let portal = portal().await;
    let setup = Setup::new(&portal).log_level("info").more("[audit]\naccess_log = true");
    let gate = Gate::connected(&setup, &portal.seed());
    let host = "Host: localhost\r\nX-Word: canaryheader\r\n";
    for head in [
        "GET /rest/1/canarykey0123456/profile?word=canaryquery&auth=canaryauth HTTP/1.1",
        "GET /rest/download?auth=canaryauth&token=canarylink HTTP/1.1",
        "GET /rest/1/canarykey0123456/ HTTP/1.1",
        "GET /rest/canarypath%2e HTTP/1.1",
        "GET /rest/../canarypath/profile HTTP/1.1",
        "GET /canarypath?canaryquery HTTP/1.1",
        "GET /rest/profile?canaryquery HTTP/1.1\r\nOrigin: http://canaryheader",
        "canarypath canarypath canarypath",
    ] {
        http::send(
            gate.address,
            format!("{head}\r\n{host}Authorization: Bearer canarybearer\r\n\r\n"),
        )
        .await;
    }
    let body = "{\"auth\":\"canaryauth\",\"word\":\"canarybody\"}";
    let sent = http::post(gate.address, "/rest/profile", "application/json", body.as_bytes()).await;
    assert_eq!(sent.status, 200);
    portal.control().expire();
    assert_eq!(profile(&gate).await.status, 200);
    super::calls(&gate, 10).await;

    let mut outputs = files(&setup);
    assert!(outputs.len() >= 3, "the file and what lies beside it");
    for path in ["/calls", "/api/v1/calls", "/"] {
        let answer = crate::admin::page(&gate, path).await;
        assert_eq!(answer.status, 200);
        outputs.push((path.to_owned(), answer.body));
    }
    for arguments in [&["audit"][..], &["audit", "--json"], &["audit", "--summary"]] {
        let output = setup.command(arguments, "");
        assert!(!output.stdout.is_empty());
        outputs.push((arguments.join(" "), [output.stdout, output.stderr].concat()));
    }
    let seed = portal.seed();
    let (status, log) = tokio::task::spawn_blocking(|| gate.stop()).await.unwrap();
    assert!(status.success());
    assert!(log.matches("b24gate::access").count() >= 9, "{log}");
    outputs.push(("the log".to_owned(), log.into_bytes()));
    outputs.extend(files(&setup));
    let tokens = [seed.access_token, seed.refresh_token, seed.client_secret];
    let mut read = false;
    for (from, bytes) in outputs {
        let holds = |word: &str| bytes.windows(word.len()).any(|part| part == word.as_bytes());
        for word in CANARIES.into_iter().chain(tokens.iter().map(String::as_str)) {
            assert!(!holds(word), "{word} in {from}");
        }
        read |= from.starts_with("audit.db") && holds("profile");
    }
    assert!(read, "what is searched is what is kept");
}

/// The bytes of the file and of what SQLite has put beside it.
fn files(setup: &Setup) -> Vec<(String, Vec<u8>)> {
    let files = fs::read_dir(setup.state()).unwrap().map(Result::unwrap);
    let named = files.map(|file| (file.file_name().to_string_lossy().into_owned(), file.path()));
    named
        .filter(|(name, _)| name.starts_with("audit.db"))
        .map(|(name, path)| (name, fs::read(path).unwrap()))
        .collect()
}
