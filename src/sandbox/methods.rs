//! The methods that the portal knows.

use std::time::Duration;

use super::answer::{Answer, ApiError, Payload};
use super::portal::Call;
use super::text;
use super::tokens::Owner;
use super::value::Value;
use super::{batch, crm, files, people};

/// A method of versions 1 and 2.
#[derive(Clone, Copy, Debug)]
pub(super) struct Method {
    /// Its name; the ones with capitals are case-sensitive.
    pub(super) name: &'static str,
    /// Its body.
    pub(super) body: Body,
}

/// What a method is: it has a call and parameters, and gives an outcome.
#[derive(Clone, Copy, Debug)]
pub(super) enum Body {
    /// It cannot fail.
    Always(fn(&mut Call<'_>, &Value) -> Outcome),
    /// It can.
    MayFail(fn(&mut Call<'_>, &Value) -> Result<Outcome, ApiError>),
}

/// What a method gives back.
#[derive(Debug)]
pub(super) struct Outcome {
    /// The value of `result`.
    pub(super) result: Value,
    /// The offset of the next page.
    pub(super) next: Option<u64>,
    /// How many records there are.
    pub(super) total: Option<u64>,
    /// How long it takes.
    pub(super) delay: Duration,
    /// The whole answer, for methods that do not answer in JSON.
    pub(super) raw: Option<Answer>,
}

impl Outcome {
    /// A result alone.
    pub(super) fn of(result: impl Into<Value>) -> Self {
        let result = result.into();
        Self { result, next: None, total: None, delay: Duration::ZERO, raw: None }
    }

    /// An answer without envelope.
    pub(super) fn raw(answer: Answer) -> Self {
        Self { raw: Some(answer), ..Self::of(Value::Null) }
    }

    /// One page of a list (Bitrix24 REST docs, list methods): 50 records from `start`; with -1
    /// nothing is counted.
    pub(super) fn page(records: &[Value], params: &Value) -> (Vec<Value>, Self) {
        let start = params.get("start").and_then(Value::int).unwrap_or(0);
        let from = usize::try_from(start).unwrap_or(0);
        let page: Vec<Value> = records.iter().skip(from).take(PAGE).cloned().collect();
        let mut outcome = Self::of(Value::list(page.iter().cloned()));
        if start >= 0 {
            outcome.total = Some(records.len() as u64);
            outcome.next = (from + PAGE < records.len()).then_some((from + PAGE) as u64);
        }
        (page, outcome)
    }
}

/// Finds a method as the router does: first in lower case, then as it is spelt.
pub(super) fn find(name: &str) -> Option<&'static Method> {
    let lower = name.to_lowercase();
    let find = |name: &str| METHODS.iter().find(|method| method.name == name);
    find(&lower).or_else(|| find(name))
}

const fn always(name: &'static str, body: fn(&mut Call<'_>, &Value) -> Outcome) -> Method {
    Method { name, body: Body::Always(body) }
}

const fn may_fail(
    name: &'static str,
    body: fn(&mut Call<'_>, &Value) -> Result<Outcome, ApiError>,
) -> Method {
    Method { name, body: Body::MayFail(body) }
}

const METHODS: &[Method] = &[
    always("app.info", app_info),
    always("batch", batch::run),
    always("crm.contact.list", crm::contact_list),
    may_fail("crm.deal.add", crm::deal_add),
    may_fail("crm.deal.delete", crm::deal_delete),
    always("crm.deal.fields", crm::deal_fields),
    may_fail("crm.deal.get", crm::deal_get),
    always("crm.deal.list", crm::deal_list),
    may_fail("crm.deal.update", crm::deal_update),
    may_fail("crm.item.list", crm::item_list),
    always("department.get", department_get),
    may_fail("disk.file.get", files::file_get),
    always("disk.folder.uploadfile", files::upload_link),
    always("download", files::download),
    always("methods", methods),
    always("profile", profile),
    always("sandbox.bytes", sandbox_bytes),
    always("sandbox.echo", sandbox_echo),
    may_fail("sandbox.error", sandbox_error),
    always("sandbox.sleep", sandbox_sleep),
    always("scope", scope),
    always("server.time", server_time),
    may_fail("task.commentitem.add", comment_add),
    always("tasks.flow.Flow.get", flow_get),
    may_fail("upload", files::upload),
    always("user.current", user_current),
    always("user.get", user_get),
];

fn profile(call: &mut Call<'_>, _params: &Value) -> Outcome {
    Outcome::of(people::profile(call.session.user_id))
}

fn app_info(call: &mut Call<'_>, _params: &Value) -> Outcome {
    let session = &call.session;
    let owner = Owner { member_id: session.member_id.clone(), user_id: session.user_id };
    let expires = session.expires;
    let mut info = super::oauth::app_info(call.state, call.inner, &owner, expires);
    let installed = info.get("install").and_then(|install| install.get("installed")).cloned();
    for (key, value) in [
        ("ID", Value::from(1_i64)),
        ("CODE", call.state.identity.client_id.as_str().into()),
        ("VERSION", Value::from(1_i64)),
        ("STATUS", "L".into()),
        ("INSTALLED", installed.unwrap_or(Value::Null)),
        ("PAYMENT_EXPIRED", "N".into()),
        ("DAYS", Value::Null),
        ("LANGUAGE_ID", "en".into()),
        ("LICENSE", "en_ent250".into()),
    ] {
        info.set(key, value);
    }
    Outcome::of(info)
}

fn user_current(call: &mut Call<'_>, _params: &Value) -> Outcome {
    Outcome::of(people::user(call.session.user_id))
}

fn user_get(_call: &mut Call<'_>, params: &Value) -> Outcome {
    let users: Vec<Value> = (1..=3).map(people::user).collect();
    Outcome::page(&users, params).1
}

fn department_get(_call: &mut Call<'_>, params: &Value) -> Outcome {
    let name = ("NAME", Value::from("Company"));
    let department = Value::map([("ID", "1".into()), name, ("SORT", Value::Int(500))]);
    Outcome::page(&[department], params).1
}

fn server_time(_call: &mut Call<'_>, _params: &Value) -> Outcome {
    Outcome::of(text::iso8601(text::unix_seconds()))
}

fn scope(_call: &mut Call<'_>, _params: &Value) -> Outcome {
    Outcome::of(Value::list(super::SCOPES.iter().map(|scope| Value::from(*scope))))
}

fn methods(_call: &mut Call<'_>, _params: &Value) -> Outcome {
    Outcome::of(Value::list(METHODS.iter().map(|method| Value::from(method.name))))
}

fn flow_get(_call: &mut Call<'_>, params: &Value) -> Outcome {
    let id = params.get("flowId").and_then(Value::int).unwrap_or(1);
    Outcome::of(Value::map([("id", id.into()), ("name", "Flow".into())]))
}

/// A positional method: the first parameter is the task, the second the fields, and nothing else
/// may be there. Order counts, names do not (Bitrix24 REST docs, data encoding).
fn comment_add(call: &mut Call<'_>, params: &Value) -> Result<Outcome, ApiError> {
    let wrong = |position: usize, name: &str, kind: &str| {
        let text = format!(
            "TASKS_ERROR_EXCEPTION_#256; Param #{position} ({name}) for method \
             ctaskcommentitem::add() expected to be of type \"{kind}\", but given something else.; \
             256/TE/WRONG_ARGUMENTS<br>"
        );
        ApiError::new(400, "ERROR_CORE", &text)
    };
    let mut values = params.entries().iter().map(|(_, value)| value);
    if values.next().and_then(Value::int).is_none() {
        return Err(wrong(0, "taskId", "integer"));
    }
    if !matches!(values.next(), Some(Value::Array(_))) {
        return Err(wrong(1, "arFields", "array"));
    }
    if values.next().is_some() {
        return Err(wrong(2, "unexpected", "nothing"));
    }
    call.inner.records.last_comment += 1;
    Ok(Outcome::of(call.inner.records.last_comment))
}

/// Not Bitrix24's: gives back what has arrived.
fn sandbox_echo(call: &mut Call<'_>, params: &Value) -> Outcome {
    let (head, body) = (&call.request.head, &call.request.body);
    let header = |(name, value): &(String, String)| Value::from(format!("{name}: {value}"));
    let kept = body.kept.as_deref().filter(|kept| kept.len() <= ECHO_MAX);
    let text = kept.map(|kept| String::from_utf8_lossy(kept).into_owned());
    Outcome::of(Value::map([
        ("method", head.method.as_str().into()),
        ("target", String::from_utf8_lossy(&head.target).into_owned().into()),
        ("query", String::from_utf8_lossy(head.query()).into_owned().into()),
        ("params", params.clone()),
        ("headers", Value::list(head.headers.iter().map(header))),
        ("body_length", body.length.into()),
        ("body_sha256", text::hex(&body.sha256).into()),
        ("body", text.map_or(Value::Null, Value::Text)),
    ]))
}

/// Not Bitrix24's: a body of so many bytes.
fn sandbox_bytes(_call: &mut Call<'_>, params: &Value) -> Outcome {
    let number = |name: &str| params.get(name).and_then(Value::int).unwrap_or(0);
    let size = u64::try_from(number("size")).unwrap_or(0).min(BYTES_MAX);
    let mut answer = Answer::with_body(200, "application/octet-stream", Vec::new());
    answer.body = Payload::Pattern { size, chunked: number("chunked") == 1 };
    Outcome::raw(answer)
}

/// Not Bitrix24's: fails while it runs.
fn sandbox_error(_call: &mut Call<'_>, params: &Value) -> Result<Outcome, ApiError> {
    let text = |name: &str| params.get(name).and_then(Value::text).unwrap_or_default();
    let status = text("status").parse().unwrap_or(400);
    Err(ApiError::new(status, &text("code"), &text("description")))
}

/// Not Bitrix24's: takes its time.
fn sandbox_sleep(_call: &mut Call<'_>, params: &Value) -> Outcome {
    let ms = params.get("ms").and_then(Value::int).unwrap_or(0);
    let ms = u64::try_from(ms).unwrap_or(0).min(SLEEP_MAX_MS);
    Outcome { delay: Duration::from_millis(ms), ..Outcome::of(ms) }
}

/// Bitrix24 REST docs, list methods: a page has 50 records.
const PAGE: usize = 50;
const ECHO_MAX: usize = 64 * 1024;
const BYTES_MAX: u64 = 4 << 30;
const SLEEP_MAX_MS: u64 = 600_000;
