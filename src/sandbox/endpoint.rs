//! `/sandbox/...`: the control of a running sandbox over HTTP, for tests in other processes and for
//! people with curl. It is never hit by a fault.

use serde_json::{Value as Json, json};

use super::answer::Answer;
use super::control;
use super::events;
use super::frame;
use super::state::State;
use super::wire::Request;

/// Answers a request to the control.
pub(super) async fn respond(state: &State, request: &Request) -> Answer {
    let path = String::from_utf8_lossy(request.head.path()).into_owned();
    let path = path.trim_end_matches('/').trim_start_matches("/sandbox").trim_start_matches('/');
    let body = request.body.kept.as_deref().unwrap_or_default();
    let body: Result<Json, String> = match body {
        [] => Ok(json!({})),
        body => serde_json::from_slice(body).map_err(|error| error.to_string()),
    };
    let body = match body {
        Ok(body) => body,
        Err(error) => return render(400, &json!({"error": error})),
    };
    let result = match (request.head.method.as_str(), path) {
        ("GET", "app") => match frame::page(state, request) {
            Ok(page) => return page,
            Err(error) => Err(error),
        },
        ("POST", "app/finish") => frame::finish(state, &body),
        ("POST", "install") => Box::pin(frame::install(state, &body)).await,
        ("POST", "event") => Box::pin(events::send(state, &body)).await,
        ("POST", "uninstall") => Box::pin(events::uninstall(state, &body)).await,
        ("POST", "reinstall") => events::reinstall(state, &body),
        ("POST", "fault") => control::set_fault(state, &body).await.map(|()| faults(state)),
        ("DELETE", "fault") => {
            control::clear_faults(state).await;
            Ok(faults(state))
        }
        (verb, path) => match plain(state, verb, path, &body) {
            Some(result) => result,
            None => return render(404, &json!({"error": "not a control", "usage": USAGE})),
        },
    };
    match result {
        Ok(result) => render(200, &result),
        Err(error) => render(400, &json!({"error": error})),
    }
}

/// What neither waits nor shows a page.
fn plain(state: &State, verb: &str, path: &str, body: &Json) -> Option<Result<Json, String>> {
    Some(Ok(match (verb, path) {
        ("GET", "") => json!({"usage": USAGE}),
        ("GET", "state") => control::describe(state),
        ("POST", "seed") => seed(state, body),
        ("POST", "code") => {
            let (member_id, user_id) = (text(body, "member_id"), number(body, "user_id"));
            json!({"code": control::code(state, member_id, user_id)})
        }
        ("POST", "expire") => {
            state.lock().tokens.expire_all();
            json!({"expired": true})
        }
        ("POST", "kill-chain") => {
            state.lock().tokens.kill_all();
            json!({"killed": true})
        }
        ("GET", "fault") => faults(state),
        ("POST", "switch") => {
            return Some(control::throw(state, body).map(|()| switches(state)));
        }
        ("GET", "switch") => switches(state),
        ("GET", "log") => json!(state.lock().journal.entries()),
        ("DELETE", "log") => {
            state.lock().journal.clear();
            json!([])
        }
        ("GET", "executions") => json!(state.lock().counters.marked()),
        _ => return None,
    }))
}

/// A token response as the OAuth server gives it, plus what else a gateway must be told.
fn seed(state: &State, body: &Json) -> Json {
    let (member_id, user_id) = (text(body, "member_id"), number(body, "user_id"));
    let seed = control::seed(state, member_id, user_id, text(body, "portal_url"));
    let mut response = seed.token_response;
    if let Some(fields) = response.as_object_mut() {
        fields.insert("client_id".to_owned(), json!(seed.client_id));
        fields.insert("client_secret".to_owned(), json!(seed.client_secret));
        fields.insert("webhook".to_owned(), json!(seed.webhook));
    }
    response
}

fn text<'a>(body: &'a Json, name: &str) -> Option<&'a str> {
    body.get(name).and_then(Json::as_str)
}

fn number(body: &Json, name: &str) -> Option<u32> {
    body.get(name).and_then(Json::as_u64).and_then(|number| u32::try_from(number).ok())
}

fn faults(state: &State) -> Json {
    state.lock().faults.describe()
}

fn switches(state: &State) -> Json {
    json!(state.lock().switches)
}

fn render(status: u16, json: &Json) -> Answer {
    let mut body = serde_json::to_vec_pretty(json).unwrap_or_default();
    body.push(b'\n');
    Answer::with_body(status, "application/json", body)
}

const USAGE: [&str; 18] = [
    "GET    /sandbox/state       counters, tokens, faults, switches",
    "POST   /sandbox/seed        a fresh pair; optional JSON {member_id, user_id, portal_url}",
    "POST   /sandbox/code        an authorization code; optional JSON {member_id, user_id}",
    "GET    /sandbox/app         a page with the app in it; ?url=, user_id=, member_id=",
    "POST   /sandbox/install     the same without a browser: {\"url\": ...}",
    "POST   /sandbox/event       {\"event\": \"ONAPPINSTALL\", \"url\": ...}",
    "POST   /sandbox/uninstall   all tokens die; with {\"url\": ...} the app is told",
    "POST   /sandbox/reinstall   the app is installed anew",
    "POST   /sandbox/expire      all access tokens expire now",
    "POST   /sandbox/kill-chain  all refresh tokens become invalid_grant",
    "GET    /sandbox/fault       the faults that are on",
    "POST   /sandbox/fault       {\"portal\": {\"mode\": ...}, \"oauth\": {\"mode\": ...}}",
    "DELETE /sandbox/fault       no faults",
    "GET    /sandbox/switch      all switches",
    "POST   /sandbox/switch      some switches",
    "GET    /sandbox/log         the last 1000 requests",
    "DELETE /sandbox/log         forgets them",
    "GET    /sandbox/executions  runs per method and mark",
];
