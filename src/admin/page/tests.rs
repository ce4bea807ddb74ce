use super::*;

fn shown(cards: Vec<PortalView>) -> Shown {
    Shown {
        version: "0",
        uptime: "1 s".to_owned(),
        now: 100,
        csrf: "C".to_owned(),
        reasons: Vec::new(),
        calls: Calls::of(&["http://127.0.0.1:8024".to_owned()], &cards),
        cards: cards.into_iter().map(|view| Card::new(view, 100)).collect(),
        clients: Vec::new(),
        events: Vec::new(),
        callback: "http://localhost:8026".to_owned(),
    }
}

fn main_of(shown: &Shown) -> String {
    // The slash is escaped, too; that is easier to read where it is not.
    render("main.html", MAIN, Value::from(Serde(shown))).unwrap().replace("&#x2f;", "/")
}

#[test]
fn whatever_a_portal_or_a_user_is_called_stays_text() {
    let evil = "<script>alert(1)</script>\" onload='x";
    let said = |text: &str| text.to_owned();
    let view = PortalView {
        name: said(evil),
        url: said(evil),
        state: said("dead"),
        code: Some(said(evil)),
        user_id: Some(7),
        user_name: Some(said(evil)),
        last_error: Some(said(evil)),
        ..PortalView::default()
    };
    let mut shown = shown(vec![view]);
    shown.reasons.push(said(evil));
    let happening = Happening { at: 1, portal: Some(said(evil)), what: said(evil) };
    shown.events.push(Event::new(happening, 100));
    let main = main_of(&shown);
    assert!(!main.contains("<script"), "{main}");
    assert!(!main.contains("' onload") && !main.contains("\" onload"), "{main}");
    assert!(main.matches("&lt;script&gt;").count() >= 8, "{main}");
    for (name, template) in [("connect.html", CONNECT), ("said.html", SAID)] {
        let words = ["link", "name", "title", "text"].map(|word| (word, evil));
        let page = render(name, template, Value::from_pairs(words)).unwrap();
        assert!(!page.contains("<script>") && !page.contains("\" onload"), "{page}");
        assert!(page.contains("&lt;script&gt;"), "{page}");
    }
}

#[test]
fn a_portal_without_a_credential_is_all_there_too() {
    let view = PortalView { name: "acme".to_owned(), ..PortalView::default() };
    let main = main_of(&shown(vec![view]));
    assert!(main.contains("curl http://127.0.0.1:8024/rest/"), "{main}");
    assert!(main.contains("nobody") && !main.contains("as another user"), "{main}");
}

#[test]
fn a_webhook_has_no_buttons_for_what_it_has_not() {
    let view = PortalView {
        name: "hook".to_owned(),
        state: "connected".to_owned(),
        webhook: true,
        user_id: Some(1),
        requests: Some(3),
        ..PortalView::default()
    };
    let main = main_of(&shown(vec![view]));
    assert!(main.contains("/portals/hook/disable"), "{main}");
    for deed in ["connect", "refresh", "remove"] {
        assert!(!main.contains(&format!("/portals/hook/{deed}")), "{deed} in {main}");
    }
}

#[test]
fn with_several_portals_the_example_names_one() {
    let named = |name: &str| PortalView { name: name.to_owned(), ..PortalView::default() };
    let views = [named("crm.example.com:8443"), named("other")];
    let calls = Calls::of(&["unix:/run/b24gate/gateway.sock".to_owned()], &views);
    let curl = "curl --unix-socket /run/b24gate/gateway.sock \
                http://localhost/crm.example.com:8443/rest/server.time";
    assert_eq!(calls.curl.as_deref(), Some(curl));
}

#[test]
fn where_there_is_no_portal_the_page_says_how_to_get_one() {
    let main = main_of(&shown(Vec::new()));
    for said in [
        "There is no portal yet",
        "[apps.main]",
        "[portals.NAME]",
        "SIGHUP",
        "http://localhost:8026/oauth/callback",
        "<code>http://127.0.0.1:8024</code>",
    ] {
        assert!(main.contains(said), "{said} is missing in {main}");
    }
    assert!(!main.contains("<form") && !main.contains("curl "), "{main}");
}
