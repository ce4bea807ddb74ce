//! Heads, and what the gateway makes of them: whose call, for which portal, or why not.

use std::sync::Arc;

use super::*;
use crate::client::{Clients, Key, Rules, Table};
use crate::gateway::admit::{Arrival, Turned};
use crate::gateway::record::Note;
use crate::portal::Portals;
use crate::portal::tests::{Scene, config};

/// A gateway with two portals, and clients made by [`Stage::client`].
struct Stage {
    gateway: Gateway,
    settings: Arc<config::Gateway>,
    table: Table,
    clients: Arc<Clients>,
    _scene: Scene,
}

impl Stage {
    async fn new(lines: &str, default: Option<&str>) -> Self {
        let scene = Scene::new().await;
        let portals = Arc::new(Portals::default());
        for name in ["acme", "bolt"] {
            portals.put(scene.plain(name, &format!("https://{name}.lan")));
        }
        portals.set_default(default);
        let mut settings = Arc::into_inner(config("").gateway).unwrap();
        settings.require_key = lines.contains("require_key");
        let settings = Arc::new(settings);
        let clients = Arc::new(Clients::default());
        let spool = scene.directory.path().to_owned();
        let gateway = Gateway::new(settings.clone(), portals, String::new(), spool);
        let gateway = gateway.known_to(clients.clone());
        Self { gateway, settings, table: Table::new(false), clients, _scene: scene }
    }

    /// Makes a client; its key.
    fn client(&mut self, name: &str, portals: &[&str], methods: &[&str]) -> String {
        let key = Key::draw().unwrap();
        let own = |list: &[&str]| list.iter().map(|&one| one.to_owned()).collect::<Vec<_>>();
        let client = Client {
            name: name.into(),
            portals: (!portals.is_empty()).then(|| own(portals).into()),
            rules: Rules::new(&own(methods), false),
            expires_at: None,
            weight: 1,
            max_wait: None,
            tally: Arc::default(),
        };
        let expires_at = (name == "old").then_some(1);
        self.table.admit(key.digest(), Arc::new(client), expires_at);
        self.clients.replace(std::mem::take(&mut self.table));
        self.table = Table::new(true);
        key.secret().expose().to_owned()
    }

    fn admit(&self, line: &str, fields: &str) -> Result<Call, Box<Turned>> {
        let wire = format!("{line} HTTP/1.1\r\nHost: localhost\r\n{fields}\r\n");
        let mut note = Note::new(self.gateway.audit.pen());
        let settings = &self.settings;
        let arrival = Arrival { settings, local_socket: false, peer: None, note: &mut note };
        self.gateway.admit(wire.as_bytes(), arrival)
    }

    /// Who calls which portal, or the code and the text of the refusal.
    fn outcome(&self, line: &str, fields: &str) -> Outcome {
        match self.admit(line, fields) {
            Ok(call) => {
                let who = call.caller.client.as_ref().map_or("nobody", |client| &*client.name);
                Ok((who.to_owned(), call.portal.name.clone()))
            }
            Err(turned) => Err((turned.refusal.kind, turned.refusal.description.into_owned())),
        }
    }

    fn kind(&self, line: &str, fields: &str) -> Option<Kind> {
        self.outcome(line, fields).err().map(|(kind, _)| kind)
    }
}

type Outcome = Result<(String, String), (Kind, String)>;

#[expect(clippy::unnecessary_wraps, reason = "it stands beside what was found")]
fn is(who: &str, portal: &str) -> Outcome {
    Ok((who.to_owned(), portal.to_owned()))
}

#[tokio::test]
async fn a_key_is_known_in_every_place_of_a_head() {
    let mut stage = Stage::new("", Some("acme")).await;
    let key = stage.client("erp", &[], &[]);
    for (line, field) in [
        (format!("GET /rest/1/{key}/profile"), String::new()),
        (format!("GET /rest/1/{key}/profile.json?a=1"), String::new()),
        (format!("GET /rest/api/77/{key}/tasks.task.get"), String::new()),
        (format!("GET /acme/rest/1/{key}/profile"), String::new()),
        (format!("GET /acme/rest/api/1/{key}/tasks.task.get"), String::new()),
        (format!("GET /rest/profile?auth={key}"), String::new()),
        (format!("GET /rest/profile?a=1&access_token={key}&b=2"), String::new()),
        (format!("GET /rest/profile?%61uth={key}"), String::new()),
        (format!("GET /rest/profile?+access.token={key}"), String::new()),
        (format!("GET /rest/profile?auth=&access_token={key}"), String::new()),
        ("GET /rest/profile".to_owned(), format!("Authorization: Bearer {key}\r\n")),
        ("GET /rest/profile".to_owned(), format!("authorization: bearer  {key} \r\n")),
        (format!("GET /rest/profile?auth={key}"), "Authorization: Basic eA==\r\n".to_owned()),
        (
            format!("GET /rest/1/{key}/profile?auth=foreign"),
            "Authorization: Bearer x\r\n".to_owned(),
        ),
        ("GET /rest/profile?auth=foreign".to_owned(), format!("Authorization: Bearer {key}\r\n")),
        (format!("GET /rest/profile?auth={key}&access_token=foreign"), String::new()),
        (format!("GET /rest/x?auth=A&token=x%7Cy&access_token={key}"), String::new()),
    ] {
        assert_eq!(stage.outcome(&line, &field), is("erp", "acme"), "{line} {field}");
        let mut call = stage.admit(&line, &field).unwrap();
        assert_eq!(call.ask, Ask::Nothing, "{line}");
        let head = String::from_utf8(call.head.as_it_is().to_vec()).unwrap();
        assert!(!head.contains(&key) && !head.contains("foreign"), "{head}");
    }
}

#[tokio::test]
async fn a_key_that_is_nobodys_is_refused_wherever_it_stands_and_is_never_anonymous() {
    let mut stage = Stage::new("", Some("acme")).await;
    let key = stage.client("old", &[], &[]);
    let mut texts = Vec::new();
    for shown in [&*key, "aaaaaaaaaaaaaaaa", "short", "Not/A+Key%20at-all"] {
        let plain = shown.replace(['/', '+', '%'], "");
        for (line, field) in [
            (format!("GET /rest/1/{plain}/profile"), String::new()),
            (format!("GET /rest/profile?auth={shown}"), String::new()),
            (format!("GET /rest/profile?auth[]={shown}"), String::new()),
            (format!("GET /rest/profile?access_token={shown}"), String::new()),
            ("GET /rest/profile".to_owned(), format!("Authorization: Bearer {shown}\r\n")),
        ] {
            let (kind, text) = stage.outcome(&line, &field).unwrap_err();
            assert_eq!(kind, Kind::KeyRefused, "{line} {field}");
            assert!(!text.contains(shown), "{text}");
            texts.push(text);
        }
    }
    texts.dedup();
    assert_eq!(texts.len(), 1, "one text for all of them: {texts:?}");
    assert_eq!(stage.outcome("GET /rest/profile", ""), is("nobody", "acme"));
    assert_eq!(stage.outcome("GET /rest/x?auth=A&token=x", ""), is("nobody", "acme"));
}

#[tokio::test]
async fn while_there_never_was_a_client_keys_mean_nothing() {
    let stage = Stage::new("", Some("acme")).await;
    for (line, field) in [
        ("GET /rest/1/anything/profile", ""),
        ("GET /rest/profile?auth=x", "Authorization: Bearer y\r\n"),
        ("POST /rest/profile", "Content-Length: 6\r\n"),
    ] {
        assert_eq!(stage.outcome(line, field), is("nobody", "acme"), "{line}");
        assert_eq!(stage.admit(line, field).unwrap().ask, Ask::Nothing);
    }
}

#[tokio::test]
async fn where_a_key_is_needed_its_absence_is_refused_with_words_that_help() {
    let mut stage = Stage::new("require_key", Some("acme")).await;
    for (line, fields) in [
        ("GET /rest/profile", ""),
        ("GET /rest/profile?auth=", "Authorization: Basic eA==\r\n"),
        ("GET /rest/x?auth=A&token=x", ""),
        ("POST /rest/x?auth=A&token=x", "Content-Length: 9\r\n"),
        ("POST /rest/x", "Content-Length: 9\r\nContent-Type: multipart/form-data\r\n"),
        ("POST /rest/x", "Content-Length: 9\r\nContent-Encoding: gzip\r\n"),
    ] {
        let (kind, text) = stage.outcome(line, fields).unwrap_err();
        assert_eq!(kind, Kind::KeyRefused, "{line}");
        assert!(text.contains("Authorization: Bearer KEY"), "{text}");
    }
    assert_eq!(stage.kind("GET /rest/1/anything/profile", ""), Some(Kind::KeyRefused));
    let key = stage.client("erp", &[], &[]);
    assert_eq!(stage.outcome(&format!("GET /rest/1/{key}/profile"), ""), is("erp", "acme"));
    let link = format!("GET /rest/1/{key}/x?auth=A&token=x");
    assert_eq!(stage.outcome(&link, ""), is("erp", "acme"));
}

#[tokio::test]
async fn a_body_is_looked_at_only_where_the_head_shows_nothing_and_keys_matter() {
    let mut stage = Stage::new("", None).await;
    let post = "Content-Length: 9\r\n";
    assert_eq!(stage.kind("POST /rest/profile", post), Some(Kind::PortalUnknown));
    let key = stage.client("erp", &["bolt"], &[]);
    let ask = |line: &str, fields: &str| stage.admit(line, fields).unwrap().ask;
    assert_eq!(ask("POST /rest/profile", post), Ask::Key { portal_is_named: false });
    assert_eq!(ask("POST /acme/rest/profile", post), Ask::Key { portal_is_named: true });
    assert_eq!(ask(&format!("POST /rest/1/{key}/profile"), post), Ask::Nothing);
    assert_eq!(ask("POST /acme/rest/x?auth=A&token=x", post), Ask::Nothing);
    assert_eq!(stage.kind("GET /rest/profile", ""), Some(Kind::PortalUnknown));
}

#[tokio::test]
async fn a_client_of_one_portal_need_not_name_it_and_may_not_call_another() {
    for default in [None, Some("acme")] {
        let mut stage = Stage::new("", default).await;
        let (one, two) = (stage.client("one", &["bolt"], &[]), stage.client("two", &[], &[]));
        // The table was replaced by the second; the first is unknown by now.
        assert_eq!(stage.kind(&format!("GET /rest/1/{one}/profile"), ""), Some(Kind::KeyRefused));
        assert_eq!(
            stage.outcome(&format!("GET /bolt/rest/1/{two}/profile"), ""),
            is("two", "bolt")
        );
        let one = stage.client("one", &["bolt"], &[]);
        assert_eq!(stage.outcome(&format!("GET /rest/1/{one}/profile"), ""), is("one", "bolt"));
        for (line, fields) in [
            (format!("GET /acme/rest/1/{one}/profile"), ""),
            (format!("GET /rest/1/{one}/profile"), "X-B24-Portal: acme\r\n"),
        ] {
            let (kind, text) = stage.outcome(&line, fields).unwrap_err();
            assert_eq!(kind, Kind::MethodForbidden);
            assert_eq!(text, "client \"one\" may not call portal \"acme\"");
        }
        let gone = stage.client("gone", &["cyan"], &[]);
        let line = format!("GET /rest/1/{gone}/profile");
        assert_eq!(stage.kind(&line, ""), Some(Kind::PortalUnknown), "never another portal");
    }
}

#[tokio::test]
async fn a_method_outside_the_rules_is_refused_by_both_their_names() {
    let mut stage = Stage::new("", Some("acme")).await;
    let key = stage.client("erp", &[], &["crm.*", "!*.delete"]);
    let kind = |target: &str, fields: &str| {
        let target = target.replace("KEY", &key);
        stage.kind(&format!("POST {target}"), fields)
    };
    for target in [
        "/rest/1/KEY/crm.deal.list",
        "/rest/1/KEY/crm.deal.list.json",
        "/rest/1/KEY/CRM.Deal.List.xml",
        "/rest/api/1/KEY/crm.deal.get",
    ] {
        assert_eq!(kind(target, ""), None, "{target}");
    }
    for target in [
        "/rest/1/KEY/crm.deal.delete",
        "/rest/1/KEY/crm.deal.delete.json",
        "/rest/1/KEY/crm.deal.DELETE.XML",
        "/rest/1/KEY/Crm.Deal.Delete/",
        "/rest/api/1/KEY/crm.deal.delete",
        "/rest/1/KEY/user.get",
        "/rest/1/KEY/json",
        "/rest/1/KEY/crm.deal.list?method=crm.deal.delete",
        "/rest/api/1/KEY/crm.deal.get?method=crm.deal.delete",
        "/rest/api/1/KEY/crm.deal.get?a=1&+%4dethod[]=crm.deal.delete",
    ] {
        assert_eq!(kind(target, ""), Some(Kind::MethodForbidden), "{target}");
    }
    let form = "Content-Length: 9\r\nContent-Type: application/x-www-form-urlencoded\r\n";
    let json = "Content-Length: 9\r\nContent-Type: application/json\r\n";
    let both =
        "Content-Length: 9\r\nContent-Type: application/json\r\nContent-Type: text/plain\r\n";
    let v3 = "/rest/api/1/KEY/crm.deal.get";
    assert_eq!(kind(v3, form), Some(Kind::MethodForbidden));
    assert_eq!(kind(v3, "Content-Length: 9\r\n"), Some(Kind::MethodForbidden));
    assert_eq!(kind(v3, both), Some(Kind::MethodForbidden));
    assert_eq!(kind(v3, json), None);
    assert_eq!(kind("/rest/1/KEY/crm.deal.get", form), None);
    let (_, text) =
        stage.outcome(&format!("GET /rest/1/{key}/crm.deal.Delete.json"), "").unwrap_err();
    let expected = "client \"erp\" may not call crm.deal.Delete: its rules are `methods` and \
                    `read_only`";
    assert_eq!(text, expected);
}

#[tokio::test]
async fn a_batch_is_asked_about_for_a_client_with_rules_only() {
    let mut stage = Stage::new("", Some("acme")).await;
    let free = stage.client("free", &[], &[]);
    let ask =
        |stage: &Stage, target: String| stage.admit(&format!("GET {target}"), "").unwrap().ask;
    assert_eq!(ask(&stage, format!("/rest/1/{free}/batch")), Ask::Nothing);
    let key = stage.client("erp", &[], &["crm.*"]);
    for target in ["batch", "BATCH.json", "batch.xml/"] {
        assert_eq!(ask(&stage, format!("/rest/1/{key}/{target}")), Ask::Batch, "{target}");
    }
    assert_eq!(ask(&stage, format!("/rest/api/1/{key}/batch")), Ask::Batch);
    let none = stage.client("none", &[], &["crm.*", "!batch"]);
    let line = format!("GET /rest/1/{none}/batch");
    assert_eq!(stage.kind(&line, ""), Some(Kind::MethodForbidden));
}

#[test]
fn what_is_shown_is_never_printed() {
    let shown = Shown::bearer(b"Bearer abcdefghijklmnop").unwrap();
    assert_eq!(format!("{shown:?}"), "***");
    for value in ["Bearer", "Bearer ", "Bearerx", "Basic x", "", "B\u{e9}arer x"] {
        assert!(Shown::bearer(value.as_bytes()).is_none(), "{value}");
    }
    let value = parameter::Value::Text(Zeroizing::new(b"k1".to_vec()));
    assert_eq!(format!("{value:?}"), "***");
}
