//! `/sandbox/...`: the control of a running sandbox over HTTP, for tests in other processes and for
//! people with curl. It is never hit by a fault.

use serde_json::{Value as Json, json};

use super::answer::Answer;
use super::control;
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
    let result = match (request.head.method.as_str(), path, body) {
        (_, _, Err(error)) => Err(error),
        ("GET", "", _) => Ok(json!({"usage": USAGE})),
        ("GET", "state", _) => Ok(control::describe(state)),
        ("POST", "seed", Ok(body)) => Ok(seed(state, &body)),
        ("POST", "code", _) => Ok(json!({"code": control::code(state)})),
        ("POST", "expire", _) => {
            state.lock().tokens.expire_all();
            Ok(json!({"expired": true}))
        }
        ("POST", "kill-chain", _) => {
            state.lock().tokens.kill_all();
            Ok(json!({"killed": true}))
        }
        ("POST", "fault", Ok(body)) => {
            control::set_fault(state, &body).await.map(|()| faults(state))
        }
        ("GET", "fault", _) => Ok(faults(state)),
        ("DELETE", "fault", _) => {
            control::clear_faults(state).await;
            Ok(faults(state))
        }
        ("POST", "switch", Ok(body)) => control::throw(state, &body).map(|()| switches(state)),
        ("GET", "switch", _) => Ok(switches(state)),
        ("GET", "log", _) => Ok(json!(state.lock().journal.entries())),
        ("DELETE", "log", _) => {
            state.lock().journal.clear();
            Ok(json!([]))
        }
        ("GET", "executions", _) => Ok(json!(state.lock().counters.marked())),
        _ => return render(404, &json!({"error": "not a control", "usage": USAGE})),
    };
    match result {
        Ok(result) => render(200, &result),
        Err(error) => render(400, &json!({"error": error})),
    }
}

/// A token response as the OAuth server gives it, plus what else a gateway must be told.
fn seed(state: &State, body: &Json) -> Json {
    let member_id = body.get("member_id").and_then(Json::as_str);
    let user_id = body.get("user_id").and_then(Json::as_u64);
    let user_id = user_id.and_then(|id| u32::try_from(id).ok());
    let seed = control::seed(state, member_id, user_id);
    let mut response = seed.token_response;
    if let Some(fields) = response.as_object_mut() {
        fields.insert("client_id".to_owned(), json!(seed.client_id));
        fields.insert("client_secret".to_owned(), json!(seed.client_secret));
        fields.insert("webhook".to_owned(), json!(seed.webhook));
    }
    response
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

const USAGE: [&str; 13] = [
    "GET    /sandbox/state       counters, tokens, faults, switches",
    "POST   /sandbox/seed        a fresh pair; optional JSON {member_id, user_id}",
    "POST   /sandbox/code        an authorization code",
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
