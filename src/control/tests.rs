use std::sync::Mutex;

use tokio::io::AsyncReadExt as _;

use super::*;
use crate::credential::{Admitted, ChainId, Generation, Grant, Secret, State};
use crate::store::{ClientRules, Facts, LedgerEntry, Record, StoreError, StoredCredential};
use crate::views::{ChainView, Details, PortalView, Role};

fn view(name: &str) -> PortalView {
    PortalView { name: name.to_owned(), state: "connected".to_owned(), ..PortalView::default() }
}

/// `lines` of a ledger, as long as they get.
fn details(name: &str, lines: u32) -> Details {
    let line = |number| LedgerEntry {
        at: 1_795_336_247,
        chain: i64::MAX - i64::from(number),
        generation: u64::MAX,
        outcome: format!("failed: suspect {}", "x".repeat(64)),
        refresh_hash: "0a1b2c3d".to_owned(),
    };
    let active = ChainView {
        chain: Some(3),
        role: Role::Active,
        generation: Some(41),
        user_id: None,
        issued_at: Some(1_795_336_247),
        state: "connected".to_owned(),
    };
    let spare = ChainView { role: Role::Spare, chain: None, ..active.clone() };
    Details {
        view: PortalView { spares: 1, ..view(name) },
        chains: vec![active, spare],
        ledger: (0..lines).map(line).collect(),
        trouble: Some("x".to_owned()),
    }
}

/// What becomes of the pair with each refresh token, one for each way to admit it.
fn admitted(refresh: &str) -> Admitted {
    let (chain, generation) = (ChainId(3), 41);
    match refresh {
        "R" => Admitted::Active { generation, old_kept: true },
        "S" => Admitted::Spare { chain, dropped: Some(ChainId(2)) },
        _ => Admitted::Known { chain, generation, active: false, dead: true },
    }
}

type Taken = Arc<Mutex<Vec<(Grant, bool)>>>;

/// Answers like a gateway with one portal, and keeps the pairs it was given.
fn desk(taken: &Taken) -> Desk {
    let taken = Arc::clone(taken);
    Arc::new(move |request| {
        let taken = Arc::clone(&taken);
        Box::pin(async move {
            match request {
                Request::List => Reply::Portals(vec![view("acme")]),
                Request::Show { portal, ledger } if portal == "acme" => {
                    Reply::Portal(Box::new(details("acme", ledger)))
                }
                Request::Show { portal, .. } => Reply::Refused(format!("no portal {portal}")),
                Request::Backup { file } if file == "/safe/b" => {
                    Reply::BackedUp(BackupView { portals: 1, chains: 2 })
                }
                Request::Backup { file } => Reply::Refused(format!("{file} exists")),
                Request::Import { grant, replace, .. } => {
                    let reply = Reply::Imported(admitted(grant.refresh.expose()));
                    taken.lock().unwrap().push((grant, replace));
                    reply
                }
                Request::Connect { portal, paste: false, replace: true } => {
                    Reply::Login { id: "7".to_owned(), link: portal, expires_in: 600 }
                }
                Request::LoginOutcome { id } if id == "7" => Reply::UnderWay,
                Request::LoginOutcome { id } => Reply::Connected(id),
                Request::Paste { id, pasted } => {
                    Reply::NotConnected(format!("{id} {}", pasted.expose()))
                }
                Request::Refresh { portal } if portal == "acme" => Reply::Refreshed(42),
                Request::SetDisabled { portal, disabled: true } if portal == "acme" => Reply::Done,
                Request::Remove { portal } if portal == "beta" => Reply::Done,
                Request::Readiness { portal } => Reply::Readiness(portal.into_iter().collect()),
                Request::Client(request) => clients_desk(request),
                other => Reply::Refused(format!("{other:?}")),
            }
        })
    })
}

/// Answers with what it was asked.
fn clients_desk(request: ClientRequest) -> Reply {
    match request {
        ClientRequest::List => Reply::Clients { clients: Vec::new(), lost: true },
        ClientRequest::Add { name, rules } => {
            let portal = rules.and_then(|rules| rules.portals).map(|names| names.concat());
            let key = Shown(Secret::new(format!("K-canary-{name}")));
            Reply::Key(NewKey { key, addresses: vec!["unix:/s".to_owned()], portal })
        }
        ClientRequest::Rotate { name, overlap } => Reply::Refused(format!("{name} {overlap:?}")),
        ClientRequest::Remove { name } => Reply::ClientRemoved { described: name == "erp" },
    }
}

#[tokio::test]
async fn what_is_said_of_clients_travels_as_it_was_meant_and_a_key_is_not_printed() {
    let (state, _) = served().await;
    let state = state.path();
    let ask = |request| ask_in(state, Request::Client(request));
    let name = || "erp".to_owned();
    let rules = ClientRules {
        portals: Some(vec!["acme".to_owned()]),
        methods: vec!["!a.*".to_owned()],
        read_only: true,
        expires_at: Some(7),
    };
    assert_eq!(ask(ClientRequest::List).await, Reply::Clients { clients: Vec::new(), lost: true });
    for (rules, portal) in [(None, None), (Some(rules), Some("acme".to_owned()))] {
        let reply = ask(ClientRequest::Add { name: name(), rules }).await;
        assert!(!format!("{reply:?}").contains("canary"), "{reply:?}");
        let key = Shown(Secret::new("K-canary-erp"));
        let wanted = NewKey { key, addresses: vec!["unix:/s".to_owned()], portal };
        assert_eq!(reply, Reply::Key(wanted));
    }
    for overlap in [None, Some(3_600)] {
        let reply = ask(ClientRequest::Rotate { name: name(), overlap }).await;
        assert_eq!(reply, Reply::Refused(format!("erp {overlap:?}")));
    }
    let removed = ask(ClientRequest::Remove { name: name() }).await;
    assert_eq!(removed, Reply::ClientRemoved { described: true });
    for (line, told) in [
        (r#"{"do":"client add"}"#, "no client is named"),
        (r#"{"do":"client add","client":"a","rules":{"methods":[]}}"#, "the rules are of no use"),
        (r#"{"do":"client erase","client":"a"}"#, "none that this gateway knows"),
    ] {
        let answer = raw(state, format!("{line}\n").as_bytes()).await;
        assert!(answer.contains(told), "{line}: {answer}");
    }
}

async fn ask_in(state: &Path, request: Request) -> Reply {
    ask(state, &request).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_login_and_what_an_operator_does_travel_as_they_were_meant() {
    let (state, _) = served().await;
    let state = state.path();
    let text = |text: &str| text.to_owned();
    let connect =
        |replace: bool| Request::Connect { portal: text("acme"), paste: !replace, replace };
    let login = Reply::Login { id: text("7"), link: text("acme"), expires_in: 600 };
    assert_eq!(ask_in(state, connect(true)).await, login);
    let refused = ask_in(state, connect(false)).await;
    let told = Reply::Refused(text(r#"Connect { portal: "acme", paste: true, replace: false }"#));
    assert_eq!(refused, told);
    let outcome = |id: &str| Request::LoginOutcome { id: text(id) };
    assert_eq!(ask_in(state, outcome("7")).await, Reply::UnderWay);
    assert_eq!(ask_in(state, outcome("8")).await, Reply::Connected(text("8")));
    let paste = Request::Paste { id: text("9"), pasted: Secret::new("c-canary") };
    assert!(!format!("{paste:?}").contains("canary"));
    assert_eq!(ask_in(state, paste).await, Reply::NotConnected(text("9 c-canary")));

    let refresh = |portal: &str| Request::Refresh { portal: text(portal) };
    assert_eq!(ask_in(state, refresh("acme")).await, Reply::Refreshed(42));
    let disable = |disabled| Request::SetDisabled { portal: text("acme"), disabled };
    assert_eq!(ask_in(state, disable(true)).await, Reply::Done);
    assert!(matches!(ask_in(state, disable(false)).await, Reply::Refused(_)));
    assert_eq!(ask_in(state, Request::Remove { portal: text("beta") }).await, Reply::Done);
    for portal in [None, Some(text("acme"))] {
        let want = Reply::Readiness(portal.clone().into_iter().collect());
        assert_eq!(ask_in(state, Request::Readiness { portal }).await, want);
    }
    for (line, told) in [
        (r#"{"do":"refresh"}"#, "no portal is named"),
        (r#"{"do":"login outcome"}"#, "no login is named"),
        (r#"{"do":"paste","id":"7"}"#, "nothing is pasted"),
        (r#"{"do":"erase"}"#, "none that this gateway knows"),
    ] {
        let answer = raw(state, format!("{line}\n").as_bytes()).await;
        assert!(answer.contains(told), "{answer}");
    }
}

async fn served() -> (tempfile::TempDir, Taken) {
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
    let show = |portal: &str, ledger| Request::Show { portal: portal.to_owned(), ledger };
    for lines in [0, 5, LEDGER_MAX] {
        assert_eq!(ask(show("acme", lines)).await, Reply::Portal(Box::new(details("acme", lines))));
    }
    assert_eq!(ask(show("x", 5)).await, Reply::Refused("no portal x".to_owned()));
    let backup = |file: &str| Request::Backup { file: file.to_owned() };
    let written = BackupView { portals: 1, chains: 2 };
    assert_eq!(ask(backup("/safe/b")).await, Reply::BackedUp(written));
    assert_eq!(ask(backup("/x")).await, Reply::Refused("/x exists".to_owned()));
    for (refresh, replace) in [("R", false), ("S", true), ("T", false)] {
        let body = format!(
            r#"{{"access_token":"A","refresh_token":"{refresh}","expires":"1800000000","user_id":7}}"#
        );
        let grant = Grant::parse(body.as_bytes(), 0).unwrap();
        let import = Request::Import { portal: "acme".to_owned(), grant, replace };
        assert_eq!(ask(import).await, Reply::Imported(admitted(refresh)));
        let (grant, insisted) = taken.lock().unwrap().pop().unwrap();
        assert!(grant.access.matches("A") && grant.refresh.matches(refresh));
        assert_eq!((grant.expires_at, grant.user_id), (Some(1_800_000_000), Some(7)));
        assert_eq!(insisted, replace);
    }
}

#[tokio::test]
async fn no_more_of_a_ledger_is_told_than_fits() {
    let (state, _taken) = served().await;
    for asked in ["1001", "18446744073709551615"] {
        let line = format!("{{\"do\":\"show\",\"portal\":\"acme\",\"ledger\":{asked}}}\n");
        let answer = raw(state.path(), line.as_bytes()).await;
        assert_eq!(answer.matches("refresh_hash").count(), 1_000, "{asked}");
    }
}

#[tokio::test]
async fn a_request_that_makes_no_sense_is_answered_with_a_sentence() {
    let (state, taken) = served().await;
    for (line, text) in [
        ("hello\n", "not a JSON object"),
        ("{}\n", "none that this gateway knows"),
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

fn stored(intent_open: bool) -> StoredCredential {
    StoredCredential {
        chain: ChainId(3),
        generation: Generation(41),
        access: Secret::new("A-canary"),
        refresh: Secret::new("R-canary"),
        expires_at: None,
        member_id: None,
        user_id: Some(7),
        client_endpoint: None,
        issued_at: 1_795_336_247,
        state: State::Connected,
        intent_open,
    }
}

#[test]
fn chains_are_told_as_the_store_has_them_and_the_one_in_use_as_the_gateway_has_it() {
    let record = Record {
        portal: "acme".to_owned(),
        inject: None,
        endpoint: None,
        credential: Some(Ok(stored(true))),
        spares: vec![Ok(stored(false)), Err(StoreError::Sealed)],
        arriving: Vec::new(),
        facts: Facts::default(),
        answers: Vec::new(),
    };
    let told = |state: &str, generation| {
        let view = PortalView { state: state.to_owned(), generation, ..PortalView::default() };
        let chains = Details::new(view, Some(&record), Vec::new()).chains;
        chains.into_iter().map(|chain| (chain.role, chain.chain, chain.state)).collect::<Vec<_>>()
    };
    let spares = [
        (Role::Spare, Some(3), "connected".to_owned()),
        (Role::Spare, None, StoreError::Sealed.to_string()),
    ];
    let active = |state: &str| (Role::Active, Some(3), state.to_owned());
    let refreshing = told("refreshing", Some(41));
    assert_eq!(refreshing[0], active("refreshing"));
    assert_eq!(refreshing[1..], spares);
    // The gateway is a generation ahead of what could be stored.
    assert_eq!(told("connected", Some(42))[0], active("suspect"));
    assert_eq!(told("connected", None)[0], active("suspect"));
}
