use super::*;
use crate::secret::Secret;

const KEY: &str = "abcdefghij012345";

fn text(addresses: &[&str], portal: Option<&str>) -> String {
    let addresses: Vec<_> = addresses.iter().map(|address| (*address).to_owned()).collect();
    Place::new(&addresses, portal).text("erp", &Secret::new(KEY)).to_string()
}

#[test]
fn every_tool_gets_its_line() {
    let told = text(&["unix:/run/g.sock", "http://127.0.0.1:8024", "http://[::1]:9000"], None);
    for line in [
        "  abcdefghij012345\n",
        "webhook         http://localhost:8024/rest/1/abcdefghij012345/\n",
        "webhook https   https://localhost:8024/rest/1/abcdefghij012345/\n",
        "client_endpoint http://localhost:8024/rest/\n",
        "access_token    abcdefghij012345\n",
        "Authorization: Bearer abcdefghij012345\n",
        "Bitrix(\"http://localhost:8024/rest/1/abcdefghij012345/\")",
        "BitrixWebhook(domain=\"localhost:8024\", webhook_token=\"1/abcdefghij012345\")   # REQUESTS_CA_BUNDLE",
        "B24Hook.fromWebhookUrl(\"https://localhost:8024/rest/1/abcdefghij012345\")   // NODE_EXTRA_CA_CERTS",
        "define('C_REST_WEB_HOOK_URL', 'http://localhost:8024/rest/1/abcdefghij012345/');",
        "['client_endpoint' => 'http://localhost:8024/rest/', 'access_token' => 'abcdefghij012345']",
        "curl http://localhost:8024/rest/1/abcdefghij012345/profile",
        "b24gate client rotate erp",
        "b24gate ca",
    ] {
        assert!(told.contains(line), "{line} is missing in\n{told}");
    }
}

#[test]
fn a_path_names_the_portal_where_the_key_does_not_lead_to_one() {
    let told = text(&["http://127.0.0.1:8024"], Some("beta"));
    for line in [
        "http://localhost:8024/beta/rest/1/abcdefghij012345/\n",
        "client_endpoint http://localhost:8024/beta/rest/\n",
        "domain=\"beta.localhost:8024\"",
        "fromWebhookUrl(\"https://beta.localhost:8024/rest/1/abcdefghij012345\")",
        "beta stands for the one to call",
        "127.0.0.1 beta.localhost\n",
    ] {
        assert!(told.contains(line), "{line} is missing in\n{told}");
    }
}

#[test]
fn a_gateway_on_a_socket_alone_is_called_by_curl() {
    let told = text(&["unix:/run/g.sock"], None);
    let curl = "curl --unix-socket /run/g.sock http://localhost/rest/1/abcdefghij012345/profile";
    assert!(told.contains(curl) && !told.contains("fast_bitrix24"), "{told}");
    assert!(told.contains("Authorization: Bearer abcdefghij012345"), "{told}");
}

#[test]
fn other_addresses_are_shown_as_they_are() {
    for (address, shown) in [
        ("http://0.0.0.0:80", "http://localhost:80/rest/"),
        ("http://[::]:80", "http://localhost:80/rest/"),
        ("http://[::1]:80", "http://[::1]:80/rest/"),
        ("http://127.0.0.2:80", "http://127.0.0.2:80/rest/"),
        ("http://192.168.1.7:80", "http://192.168.1.7:80/rest/"),
    ] {
        let told = text(&[address], None);
        assert!(told.contains(&format!("client_endpoint {shown}\n")), "{address}: {told}");
    }
}

#[test]
fn scripts_get_the_same_as_json() {
    let place = Place::new(&["http://127.0.0.1:8024".to_owned()], None);
    let told = place.json("erp", &Secret::new(KEY));
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&told["client"], &told["key"]), (&"erp".into(), &KEY.into()));
    assert!(told["portal"].is_null());
    let webhook = &told["shapes"]["webhook"];
    assert_eq!(webhook, "http://localhost:8024/rest/1/abcdefghij012345/");
    assert_eq!(told["shapes"]["access_token"], KEY);
    let curl = &told["tools"]["curl"];
    assert_eq!(curl, "curl http://localhost:8024/rest/1/abcdefghij012345/profile");
    assert!(told["tools"]["crest"].is_string() && told["shapes"]["webhook_https"].is_string());
}

#[test]
fn a_list_says_all_but_the_key_and_what_there_is_to_do() {
    let view = |name: &str, state: &str| ClientView {
        name: name.to_owned(),
        state: state.to_owned(),
        source: "configuration".to_owned(),
        ..ClientView::default()
    };
    let erp = ClientView {
        portals: Some(vec!["acme".to_owned()]),
        methods: vec!["crm.*".to_owned()],
        read_only: true,
        calls: Some(7),
        keys: vec![clients::KeyView { made_at: 0, expires_at: Some(1), expired: true }],
        ..view("erp", "ready")
    };
    let views = [erp, view("new", "no key"), view("gone", "refused"), view("old", "expired")];
    let told = list::text(&views, true, Form::Text).unwrap();
    for said in [
        "NAME",
        "RULES FROM",
        "acme",
        "crm.*",
        "yes",
        "not since the start",
        "7",
        "(expired ",
        "new: no key yet: b24gate client add new",
        "gone: its section is gone",
        "old: expired: see expires in [clients.old]",
        "make the keys anew",
    ] {
        assert!(told.contains(said), "{said} is missing in\n{told}");
    }
    let json = list::text(&views, false, Form::Json).unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["clients"][0]["name"], "erp");
    assert_eq!(json["lost"], false);
    let nobody = list::text(&[], false, Form::Text).unwrap();
    assert!(nobody.contains("b24gate client add NAME"), "{nobody}");
}
