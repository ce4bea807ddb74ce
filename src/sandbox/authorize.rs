//! `/oauth/authorize/`: the portal's page to which an app sends its user, and the way back.
//!
//! Only `client_id` and `state` count; where the browser is sent back to is a setting of the app. On
//! any failure the portal shows a page of its own: nothing comes back (Bitrix24 REST docs, OAuth).

use super::answer::Answer;
use super::pages;
use super::params;
use super::people;
use super::state::{Inner, State};
use super::text;
use super::tokens::Owner;
use super::value::Value;
use super::wire::Request;

/// Answers the user's browser.
pub(super) fn respond(state: &State, request: &Request) -> Answer {
    let query = params::from_query(&request.head);
    let said = |name: &str| query.get(name).and_then(Value::text).unwrap_or_default();
    let mut inner = state.lock();
    let visitor = state.visitor(&inner, &request.head);
    let removed = inner.installs.removed(&visitor.member_id);
    if said("client_id") != state.identity.client_id || removed {
        return pages::framed("Application not found", "<p>Ask your administrator.</p>\n");
    }
    if inner.switches.authorize_page {
        let form = params::from_body(request);
        match form.get("answer").and_then(Value::text).as_deref() {
            Some("allow") => {}
            Some(_) => return pages::framed("Refused", "<p>You can close this page.</p>\n"),
            None => return question(&visitor),
        }
    }
    let settings = inner.switches.redirect_uri.clone();
    let asked = || Some(said("redirect_uri")).filter(|uri| !uri.is_empty());
    let from_request = inner.switches.redirect_uri_from_request;
    match settings.or_else(|| asked().filter(|_| from_request)) {
        Some(back) => send_back(state, &mut inner, visitor, &back, &said("state")),
        None => show_code(&mut inner, visitor),
    }
}

/// Asks the user. The form goes to the address that the browser is at, so the query stays.
fn question(visitor: &Owner) -> Answer {
    let name = pages::escape(&people::name(visitor.user_id));
    let body = format!(
        "<p>May this application work with the portal in your name, {name}?</p>\n\
         <form method=\"post\">\n\
         <button id=\"allow\" name=\"answer\" value=\"allow\">Allow</button>\n\
         <button id=\"refuse\" name=\"answer\" value=\"refuse\">Refuse</button>\n</form>\n"
    );
    pages::framed("Allow access?", &body)
}

/// 302 to the app, with a code. The order of the parameters is not promised.
fn send_back(state: &State, inner: &mut Inner, visitor: Owner, back: &str, said: &str) -> Answer {
    let host = |url: String| url.split("://").nth(1).unwrap_or_default().to_owned();
    let member_id = visitor.member_id.clone();
    let portal = state.url_of(inner, &member_id);
    let mut parameters = vec![
        ("code", inner.tokens.issue_code(visitor)),
        ("state", said.to_owned()),
        ("domain", host(portal)),
        ("member_id", member_id),
        ("scope", super::SCOPES.join(",")),
        ("server_domain", host(state.oauth_url(&inner.switches))),
    ];
    if inner.switches.shuffle_redirect {
        parameters.sort_by_cached_key(|_| text::random_hex(4));
    }
    let pair = |(name, value): (&str, String)| format!("{name}={}", params::encode(&value));
    let pairs: Vec<String> = parameters.into_iter().map(pair).collect();
    let mark = if back.contains('?') { '&' } else { '?' };
    let mut answer = Answer::new(302);
    answer.set_header("Location", &format!("{back}{mark}{}", pairs.join("&")));
    answer
}

/// An app without an address: the user is shown a short code to type in.
fn show_code(inner: &mut Inner, visitor: Owner) -> Answer {
    let code = inner.tokens.issue_short_code(visitor);
    let body = format!("<p>Give this code to the application: <b id=\"code\">{code}</b></p>\n");
    pages::framed("Access code", &body)
}
