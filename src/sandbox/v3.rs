//! REST version 3: JSON only, errors as objects, one code for every failed authorization
//! (Bitrix24 REST docs, REST 3.0; rest module, RestApiServer.php).

use sha2::{Digest, Sha256};

use super::answer::{Answer, ApiError, Format};
use super::auth;
use super::params;
use super::portal::{self, Call, Route};
use super::state::{Inner, State};
use super::text;
use super::value::Value;
use super::wire::Request;

/// Whether there is such a method. The name is looked up as it is spelt.
pub(super) fn exists(method: &str) -> bool {
    METHODS.contains(&method)
}

/// Answers a call.
pub(super) fn respond(
    state: &State,
    inner: &mut Inner,
    request: &Request,
    route: &Route,
) -> Answer {
    let method = route.method.as_str();
    if !exists(method) {
        return error(404, "METHODNOTFOUNDEXCEPTION", &format!("Method {method} not found"));
    }
    let body = params::from_body(request);
    let is_json = request.head.header("content-type").is_some_and(|kind| kind.contains("json"));
    let mut merged = params::from_request(request);
    let session = match auth::authenticate(state, inner, request, route, &mut merged) {
        Ok(session) => session,
        Err(_whatever) => return access_denied(inner.switches.auth_status),
    };
    if portal::check_operating(inner, method).is_err() {
        return error(429, "RATELIMITEXCEPTION", "Method is blocked due to operation time limit");
    }
    let raw = request.body.kept.as_deref().unwrap_or_default();
    let broken = serde_json::from_slice::<Value>(raw).is_err();
    if (broken || !is_json) && !PARAMETERLESS.contains(&method) {
        return error(400, "INVALIDJSONEXCEPTION", "The request body is not valid JSON");
    }
    let mut call = Call { state, inner, request, session, started: text::unix_now() };
    if method == "batch" {
        return batch(&mut call, &body);
    }
    let mut params = body;
    let auth = params.remove("auth");
    if WRITES.contains(&method) && request.head.header("idempotency-key").is_some() {
        let compared = match auth {
            Some(auth) if call.inner.switches.idempotency_counts_auth => {
                let mut all = params.clone();
                all.set("auth", auth);
                all
            }
            _ => params.clone(),
        };
        return idempotent(&mut call, method, &params, &compared);
    }
    match run(&mut call, method, &params) {
        Ok(result) => success(&mut call, method, result),
        Err(error) => executed(of(&error)),
    }
}

/// Every failure of authorization looks the same: there is no `expired_token` in version 3.
pub(super) fn access_denied(status: u16) -> Answer {
    error(status, "ACCESSDENIEDEXCEPTION", "Access denied")
}

/// An error in the shape of version 3.
pub(super) fn error(status: u16, code: &str, message: &str) -> Answer {
    of(&ApiError::new(status, code, message))
}

fn of(error: &ApiError) -> Answer {
    let code = format!("BITRIX_REST_V3_EXCEPTION_{}", error.code);
    let message = error.description.clone().unwrap_or_default();
    let mut inner = Value::map([("code", code.as_str().into()), ("message", message.into())]);
    if error.code.starts_with("VALIDATION_") {
        let field = Value::map([("field", "title".into()), ("message", "is required".into())]);
        inner.set("validation", Value::list([field]));
    }
    let mut answer = Answer::of(error.status, &Value::map([("error", inner)]), Format::Json);
    answer.code = code;
    answer
}

fn run(call: &mut Call<'_>, method: &str, params: &Value) -> Result<Value, ApiError> {
    let id = params.get("id").and_then(Value::int);
    let marks = [
        id.map(|id| format!("id={id}")),
        call.request.head.header("x-request-id").map(|id| format!("request={id}")),
    ];
    call.inner.counters.execute(method, &marks);
    let task = |id: i64| Value::map([("id", id.into()), ("title", format!("Task {id}").into())]);
    match method {
        "tasks.task.get" => {
            let id = id.ok_or_else(|| invalid("The field id is required"))?;
            if id > call.inner.records.last_task {
                let text = format!("Task {id} not found");
                return Err(ApiError::new(400, "ENTITYNOTFOUNDEXCEPTION", &text));
            }
            Ok(Value::map([("item", task(id))]))
        }
        "tasks.task.list" => {
            let last = call.inner.records.last_task;
            Ok(Value::map([("items", Value::list((last - 2..=last).map(task)))]))
        }
        "tasks.task.add" => {
            let title = params.get("fields").and_then(|fields| fields.get("title"));
            title.ok_or_else(|| invalid("The field title is required"))?;
            call.inner.records.last_task += 1;
            Ok(Value::map([("item", task(call.inner.records.last_task))]))
        }
        "tasks.task.update" => Ok(Value::map([("result", true.into())])),
        _ => Ok(Value::map([("openapi", "3.0.0".into()), ("paths", Value::EMPTY)])),
    }
}

fn success(call: &mut Call<'_>, method: &str, result: Value) -> Answer {
    if PARAMETERLESS.contains(&method) {
        return executed(Answer::of(200, &result, Format::Json));
    }
    let time = call.time(method, std::time::Duration::ZERO);
    executed(Answer::of(200, &Value::map([("result", result), ("time", time)]), Format::Json))
}

/// A bare array of `{method, query, as}`. Unknown methods are found before anything runs; an error
/// while running hides what has been done before it.
fn batch(call: &mut Call<'_>, body: &Value) -> Answer {
    let named = |item: &Value| item.get("method").and_then(Value::text);
    if !body.is_list() || body.entries().iter().any(|(_, item)| named(item).is_none()) {
        return error(400, "INVALIDSELECTEXCEPTION", "A batch is an array of requests");
    }
    let items: Vec<Value> = body.entries().iter().map(|(_, item)| item.clone()).collect();
    if items.len() > BATCH_MAX {
        return error(400, "VALIDATION_REQUESTVALIDATIONEXCEPTION", "The batch is too long");
    }
    let unknown = items.iter().filter_map(named).find(|name| !exists(name) || name == "batch");
    if let Some(name) = unknown {
        return error(404, "METHODNOTFOUNDEXCEPTION", &format!("Method {name} not found"));
    }
    call.inner.counters.execute("batch", &[]);
    let (mut aliases, mut results) = (Value::EMPTY, Vec::new());
    for item in &items {
        let mut query = item.get("query").cloned().unwrap_or(Value::EMPTY);
        resolve(&mut query, &aliases);
        match run(call, &named(item).unwrap_or_default(), &query) {
            Ok(result) => {
                if let Some(alias) = item.get("as").and_then(Value::text) {
                    aliases.set(&alias, result.clone());
                }
                results.push(result);
            }
            Err(error) => return executed(of(&error)),
        }
    }
    success(call, "batch", Value::list(results))
}

/// `{"$ref": "alias.path"}` becomes the value at the end of the path.
fn resolve(value: &mut Value, aliases: &Value) {
    if let Some(path) = value.get("$ref").and_then(Value::text) {
        let found = path.split('.').try_fold(aliases, |found, step| found.get(step));
        *value = found.cloned().unwrap_or(Value::Null);
    } else if let Value::Array(entries) = value {
        for (_, value) in entries {
            resolve(value, aliases);
        }
    }
}

/// A write with an `Idempotency-Key`: a repetition gets the stored answer, another body under the
/// same key 422 (Bitrix24 REST docs, REST 3.0). Errors are not stored.
fn idempotent(call: &mut Call<'_>, method: &str, params: &Value, compared: &Value) -> Answer {
    let key = call.request.head.header("idempotency-key").unwrap_or_default().to_owned();
    let printable = key.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    if key.is_empty() || key.len() > 255 || !printable {
        return error(400, "INVALIDIDEMPOTENCYKEYEXCEPTION", "The Idempotency-Key is not valid");
    }
    let digest = text::hex(&Sha256::digest(compared.to_json()));
    let place = format!("{} {method} {key}", call.session.user_id);
    let stored = call.inner.records.idempotent.get(&place).cloned();
    let mut answer = match stored {
        Some((known, _)) if known != digest => {
            return error(422, "IDEMPOTENCYKEYREUSEDEXCEPTION", "The key was used for other data");
        }
        Some((_, result)) => {
            let mut replayed = success(call, method, result);
            replayed.executed = false;
            replayed.set_header("Idempotent-Replayed", "true");
            replayed
        }
        None => match run(call, method, params) {
            Ok(result) => {
                if call.inner.records.idempotent.len() < IDEMPOTENT_MAX {
                    call.inner.records.idempotent.insert(place, (digest, result.clone()));
                }
                success(call, method, result)
            }
            Err(error) => return executed(of(&error)),
        },
    };
    answer.set_header("Idempotency-Key", &key);
    answer
}

fn invalid(text: &str) -> ApiError {
    ApiError::new(400, "VALIDATION_REQUESTVALIDATIONEXCEPTION", text)
}

fn executed(mut answer: Answer) -> Answer {
    answer.executed = true;
    answer
}

const METHODS: [&str; 9] = [
    "batch",
    "documentation",
    "rest.documentation.openapi",
    "rest.scope.list",
    "scopes",
    "tasks.task.add",
    "tasks.task.get",
    "tasks.task.list",
    "tasks.task.update",
];
/// These allow GET, and answer without the `result` envelope.
const PARAMETERLESS: [&str; 4] =
    ["documentation", "rest.documentation.openapi", "rest.scope.list", "scopes"];
const WRITES: [&str; 2] = ["tasks.task.add", "tasks.task.update"];
/// What the JavaScript SDK caps at; the server's limit is unknown.
const BATCH_MAX: usize = 50;
const IDEMPOTENT_MAX: usize = 100_000;
