use super::*;
use crate::config::Endpoint;

fn aim(portal: &str) -> Aim {
    let app = App {
        name: "main".to_owned(),
        client_id: "local.5f".to_owned(),
        client_secret: Secret::new("S-canary"),
        oauth_server: Endpoint { tls: true, host: "oauth.bitrix.info".to_owned(), port: 443 },
        scope: None,
        redirect_uri: None,
        accept_installs: false,
    };
    Aim { portal: portal.to_owned(), app: Arc::new(app), replace: Replace::No }
}

fn cookies((name, value): &(String, Secret)) -> String {
    format!("{name}={}", value.expose())
}

fn ended(portal: &str) -> Outcome {
    Outcome::Connected { portal: portal.to_owned(), text: "done".to_owned() }
}

const MINUTES_LEFT: Duration = Duration::from_secs(599);

#[tokio::test(start_paused = true)]
async fn a_ticket_and_a_state_are_each_good_for_one_use() {
    let logins = Logins::default();
    let (id, ticket) = logins.begin(aim("acme")).unwrap();
    assert_eq!(logins.outcome(&id), Ok(None));
    let (aim, state, cookie) = logins.start(ticket.expose()).unwrap();
    assert_eq!(aim.portal, "acme");
    assert_eq!(logins.start(ticket.expose()).unwrap_err(), CallbackError::Unknown);

    let brought = cookies(&cookie);
    let (claimed, _) = logins.claim(state.expose(), Some(&brought)).unwrap();
    assert_eq!(claimed, id);
    let again = logins.claim(state.expose(), Some(&brought));
    assert_eq!(again.unwrap_err(), CallbackError::Unknown, "while the exchange is under way");
    logins.end(&id, ended("acme"));
    let again = logins.claim(state.expose(), Some(&brought));
    assert_eq!(again.unwrap_err(), CallbackError::Unknown, "afterwards");
    assert_eq!(logins.outcome(&id), Ok(Some(ended("acme"))));
}

#[tokio::test(start_paused = true)]
async fn a_state_without_its_cookie_is_refused_and_not_used_up() {
    let logins = Logins::default();
    let begun = |portal| {
        let (_, ticket) = logins.begin(aim(portal)).unwrap();
        logins.start(ticket.expose()).unwrap()
    };
    let (_, state, cookie) = begun("acme");
    let (_, _, other) = begun("beta");
    assert_ne!(cookie.0, other.0, "several logins in one browser");
    let renamed = format!("{}={}", cookie.0, other.1.expose());
    let longer = format!("{}0", cookies(&cookie));
    for wrong in [None, Some(""), Some(&cookies(&other)), Some(&renamed), Some(&longer)] {
        let wrong: Option<&str> = wrong.map(|it: &_| AsRef::<str>::as_ref(it));
        let refused = logins.claim(state.expose(), wrong).unwrap_err();
        assert_eq!(refused, CallbackError::AnotherBrowser);
    }
    // Among others, and beside one of the same name that another site on this host has set.
    let all = format!("a=b; {renamed};  {}; c", cookies(&cookie));
    logins.claim(state.expose(), Some(&all)).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_login_expires_after_ten_minutes_wherever_it_is() {
    let logins = Logins::default();
    let (unopened, ticket) = logins.begin(aim("acme")).unwrap();
    let (away, second) = logins.begin(aim("acme")).unwrap();
    let (_, state, cookie) = logins.start(second.expose()).unwrap();
    let (pasting, _) = logins.begin_pasting(aim("acme")).unwrap();
    tokio::time::advance(MINUTES_LEFT).await;
    assert_eq!(logins.outcome(&away), Ok(None));
    tokio::time::advance(Duration::from_secs(2)).await;

    assert_eq!(logins.start(ticket.expose()).unwrap_err(), CallbackError::Unknown);
    let late = logins.claim(state.expose(), Some(&cookies(&cookie)));
    assert_eq!(late.unwrap_err(), CallbackError::Unknown);
    assert_eq!(logins.claim_pasted(&pasting, None).unwrap_err(), CallbackError::Unknown);
    for id in [&unopened, &away, &pasting] {
        let Ok(Some(Outcome::Failed { portal, text })) = logins.outcome(id) else {
            panic!("{:?}", logins.outcome(id));
        };
        assert_eq!(portal, "acme");
        assert!(text.contains("10 minutes"), "{text}");
    }
    tokio::time::advance(LIFE).await;
    assert_eq!(logins.outcome(&away), Err(CallbackError::Unknown), "forgotten");
    assert!(logins.known.lock().unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_exchange_that_outlives_its_login_still_tells_how_it_ended() {
    let logins = Logins::default();
    let (id, ticket) = logins.begin(aim("acme")).unwrap();
    let (_, state, cookie) = logins.start(ticket.expose()).unwrap();
    tokio::time::advance(MINUTES_LEFT).await;
    logins.claim(state.expose(), Some(&cookies(&cookie))).unwrap();
    tokio::time::advance(Duration::from_secs(20)).await;
    assert_eq!(logins.outcome(&id), Ok(None));
    logins.end(&id, ended("acme"));
    tokio::time::advance(MINUTES_LEFT).await;
    assert_eq!(logins.outcome(&id), Ok(Some(ended("acme"))), "ten minutes from the end");
}

#[tokio::test(start_paused = true)]
async fn at_most_64_logins_are_under_way_and_as_many_outcomes_are_kept() {
    let logins = Logins::default();
    let ids: Vec<_> = (0..64).map(|_| logins.begin(aim("acme")).unwrap().0).collect();
    assert!(logins.begin(aim("acme")).unwrap_err().contains("under way already"));
    assert!(logins.begin_pasting(aim("acme")).is_err());
    logins.end(&ids[0], ended("acme"));
    let (last, _) = logins.begin(aim("acme")).unwrap();
    tokio::time::advance(LIFE).await;
    // Ended and expired are more than are kept; the oldest make room.
    assert!(matches!(logins.outcome(&last), Ok(Some(_))));
    assert_eq!(logins.outcome(&ids[0]), Err(CallbackError::Unknown));
    assert_eq!(logins.known.lock().unwrap().len(), 64);
}

#[tokio::test(start_paused = true)]
async fn what_is_pasted_belongs_to_a_login_by_pasting_and_to_its_state() {
    let logins = Logins::default();
    let (by_browser, ticket) = logins.begin(aim("acme")).unwrap();
    let (_, browsers, _) = logins.start(ticket.expose()).unwrap();
    let refused = |id: &LoginId, state| logins.claim_pasted(id, state).unwrap_err();
    assert_eq!(refused(&by_browser, None), CallbackError::Unknown);
    assert_eq!(refused(&by_browser, Some(browsers.expose())), CallbackError::Unknown);

    let (id, state) = logins.begin_pasting(aim("acme")).unwrap();
    assert_eq!(refused(&id, Some(browsers.expose())), CallbackError::Unknown);
    let by_callback = logins.claim(state.expose(), Some("")).unwrap_err();
    assert_eq!(by_callback, CallbackError::Unknown, "its state opens nothing at the callback");
    logins.claim_pasted(&id, Some(state.expose())).unwrap();
    assert_eq!(refused(&id, None), CallbackError::Unknown);
}
