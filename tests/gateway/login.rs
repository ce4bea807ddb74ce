//! A portal is connected by a browser: from the link that a command prints to the stored pair.

mod browser;
mod commands;
mod connect;
mod forged;
mod operate;

use b24gate::control::{self, Reply, Request};
use b24gate::sandbox::Sandbox;
use serde_json::json;

use crate::support::calls::switch;
use crate::support::{Gate, Setup};

use browser::Browser;

/// The address under which the callback listener is known outside, behind something that speaks TLS.
const PUBLIC: &str = "https://gate.example";

/// A gateway that `portal` sends its browsers back to.
fn setup(portal: &Sandbox) -> Setup {
    switch(portal, json!({"redirect_uri": format!("{PUBLIC}/oauth/callback")}));
    Setup::new(portal).callback(&format!("public_url = \"{PUBLIC}\""))
}

/// A login that was begun.
#[derive(Clone, Debug)]
struct Begun {
    id: String,
    link: String,
}

async fn ask(gate: &Gate, request: Request) -> Reply {
    control::ask(&gate.setup().state(), &request).await.unwrap().unwrap()
}

async fn begin(gate: &Gate) -> Begun {
    let request = Request::Connect { portal: "acme".to_owned(), paste: false, replace: false };
    match ask(gate, request).await {
        Reply::Login { id, link, .. } => Begun { id, link },
        other => panic!("{other:?}"),
    }
}

async fn outcome(gate: &Gate, login: &Begun) -> Reply {
    ask(gate, Request::LoginOutcome { id: login.id.clone() }).await
}

/// A login whose browser is back from the portal: with the address that it is sent to next.
async fn sent_back(gate: &Gate) -> (Begun, Browser, String) {
    let login = begin(gate).await;
    let mut browser = Browser::new(gate);
    let callback = browser.follow_until(&login.link, "/oauth/callback").await;
    (login, browser, callback)
}

/// The value of a parameter of an address.
fn parameter(url: &str, name: &str) -> String {
    let query = url.split_once('?').unwrap().1;
    let found = query.split('&').find_map(|pair| pair.strip_prefix(&format!("{name}=")));
    found.unwrap_or_else(|| panic!("no {name} in {url}")).to_owned()
}
