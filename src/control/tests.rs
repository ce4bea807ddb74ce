use std::sync::Mutex;

use tokio::io::AsyncReadExt as _;

use super::*;
use crate::credential::Grant;

fn view(name: &str) -> PortalView {
    PortalView { name: name.to_owned(), state: "connected".to_owned(), ..PortalView::default() }
}

/// Answers like a gateway with one portal, and keeps the pairs it was given.
fn desk(taken: &Arc<Mutex<Vec<Grant>>>) -> Desk {
    let taken = Arc::clone(taken);
    Arc::new(move |request| {
        let taken = Arc::clone(&taken);
        Box::pin(async move {
            match request {
                Request::List => Reply::Portals(vec![view("acme")]),
                Request::Show { portal } if portal == "acme" => Reply::Portal(view("acme")),
                Request::Show { portal } => Reply::Refused(format!("no portal {portal}")),
                Request::Backup { file } if file == "/safe/b" => {
                    Reply::BackedUp(BackupView { portals: 1, chains: 2 })
                }
                Request::Backup { file } => Reply::Refused(format!("{file} exists")),
                Request::Import { portal, grant } => {
                    taken.lock().unwrap().push(grant);
                    Reply::Stored(view(&portal))
                }
            }
        })
    })
}

async fn served() -> (tempfile::TempDir, Arc<Mutex<Vec<Grant>>>) {
    let state = tempfile::tempdir().unwrap();
    let control = Control::bind(state.path()).await.unwrap();
    let taken = Arc::default();
    tokio::spawn(control.serve(desk(&taken)));
    (state, taken)
}

async fn raw(state: &Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(state.join(SOCKET)).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn a_command_reaches_the_running_gateway_and_is_answered() {
    let (state, taken) = served().await;
    let state = state.path();
    let ask = |request| async move { ask(state, &request).await.unwrap().unwrap() };
    assert_eq!(ask(Request::List).await, Reply::Portals(vec![view("acme")]));
    let show = |portal: &str| Request::Show { portal: portal.to_owned() };
    assert_eq!(ask(show("acme")).await, Reply::Portal(view("acme")));
    assert_eq!(ask(show("x")).await, Reply::Refused("no portal x".to_owned()));
    let backup = |file: &str| Request::Backup { file: file.to_owned() };
    let written = BackupView { portals: 1, chains: 2 };
    assert_eq!(ask(backup("/safe/b")).await, Reply::BackedUp(written));
    assert_eq!(ask(backup("/x")).await, Reply::Refused("/x exists".to_owned()));
    let body = br#"{"access_token":"A","refresh_token":"R","expires":"1800000000","user_id":7}"#;
    let grant = Grant::parse(body, 0).unwrap();
    let import = Request::Import { portal: "acme".to_owned(), grant };
    assert_eq!(ask(import).await, Reply::Stored(view("acme")));
    let taken = taken.lock().unwrap();
    assert!(taken[0].access.matches("A") && taken[0].refresh.matches("R"));
    assert_eq!((taken[0].expires_at, taken[0].user_id), (Some(1_800_000_000), Some(7)));
}

#[tokio::test]
async fn a_request_that_makes_no_sense_is_answered_with_a_sentence() {
    let (state, taken) = served().await;
    for (line, text) in [
        ("hello\n", "not a JSON object"),
        ("{}\n", "none of import, list, show"),
        ("{\"do\":\"backup\"}\n", "no file is named"),
        ("{\"do\":\"backup\",\"file\":\"b\"}\n", "by its whole path"),
        ("{\"do\":\"show\"}\n", "no portal is named"),
        ("{\"do\":\"import\",\"portal\":\"acme\"}\n", "no grant"),
        (
            "{\"do\":\"import\",\"portal\":\"acme\",\"grant\":{\"access_token\":\"A\"}}\n",
            "no refresh_token",
        ),
    ] {
        let answer = raw(state.path(), line.as_bytes()).await;
        assert!(answer.contains("refused") && answer.contains(text), "{line}: {answer}");
    }
    assert!(taken.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_line_without_an_end_is_cut_off() {
    let (state, _taken) = served().await;
    let answer = raw(state.path(), &vec![b'x'; LINE_MAX + 1]).await;
    assert!(answer.contains("too long"), "{answer}");
}

#[tokio::test]
async fn nobody_answers_where_no_gateway_runs() {
    let state = tempfile::tempdir().unwrap();
    assert_eq!(ask(state.path(), &Request::List).await.unwrap(), None);
    // A killed gateway leaves its socket behind.
    drop(std::os::unix::net::UnixListener::bind(state.path().join(SOCKET)).unwrap());
    assert_eq!(ask(state.path(), &Request::List).await.unwrap(), None);
}

#[tokio::test]
async fn the_socket_is_this_users_alone_and_goes_away_with_the_gateway() {
    let state = tempfile::tempdir().unwrap();
    let path = state.path().join(SOCKET);
    let control = Control::bind(state.path()).await.unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
    drop(control);
    assert!(!path.exists());
}

#[tokio::test]
async fn a_stale_socket_is_replaced_and_nothing_else_is() {
    let state = tempfile::tempdir().unwrap();
    let path = state.path().join(SOCKET);
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    let control = Control::bind(state.path()).await.unwrap();
    let error = Control::bind(state.path()).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    drop(control);
    std::fs::write(&path, "mine").unwrap();
    let error = Control::bind(state.path()).await.unwrap_err();
    assert!(error.to_string().contains("not a socket"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
}
