//! The REST API of versions 1 and 2: which call a path names, who may make it, and in which order
//! the portal finds out.
//!
//! The order is a promise that a gateway builds on: the method exists (404), the credential is good
//! (401), the link is genuine (403) or there is operating time left (429), and only then the method
//! runs (rest module, rest.php).

use std::time::Duration;

use super::answer::{Answer, ApiError, Format};
use super::auth::{self, Session};
use super::links;
use super::methods::{self, Body, Method, Outcome};
use super::params;
use super::state::{Inner, Place, State};
use super::text;
use super::v3;
use super::value::Value;
use super::wire::Request;

/// A path under `/rest/`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Route {
    /// Which API.
    pub(super) version: Version,
    /// The method as the client spells it, without suffix.
    pub(super) method: String,
    /// User and secret of an incoming webhook.
    pub(super) webhook: Option<(String, String)>,
}

/// The two APIs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Version {
    /// Versions 1 and 2, with the format that the suffix asks for.
    V1(Format),
    /// Version 3: JSON only, a suffix is part of the name.
    V3,
}

/// A call whose credential has been found good.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) state: &'a State,
    pub(super) inner: &'a mut Inner,
    pub(super) request: &'a Request,
    pub(super) session: Session,
    /// When it began, since 1970.
    pub(super) started: Duration,
}

impl Route {
    /// Reads a path; `None` when it is not under `/rest/`. Empty segments do not count.
    pub(super) fn of(path: &[u8]) -> Option<Self> {
        let path = params::decode(path);
        let segments: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let (version, rest) = match segments.as_slice() {
            ["rest", "api", rest @ ..] => (Version::V3, rest),
            ["rest", rest @ ..] => (Version::V1(Format::Json), rest),
            _ => return None,
        };
        let (webhook, method) = match rest {
            [method] => (None, *method),
            [user, secret, method] => (Some(((*user).to_owned(), (*secret).to_owned())), *method),
            _ => (None, ""),
        };
        let suffixed = method.rsplit_once('.').filter(|_| version != Version::V3);
        let (version, method) = match suffixed {
            Some((name, "json")) => (Version::V1(Format::Json), name),
            Some((name, "xml")) => (Version::V1(Format::Xml), name),
            _ => (version, method),
        };
        Some(Self { version, method: method.to_owned(), webhook })
    }

    /// The format that errors have.
    pub(super) fn format(&self) -> Format {
        match self.version {
            Version::V1(format) => format,
            Version::V3 => Format::Json,
        }
    }

    /// Whether there is such a method.
    pub(super) fn exists(&self) -> bool {
        match self.version {
            Version::V1(_) => methods::find(&self.method).is_some(),
            Version::V3 => v3::exists(&self.method),
        }
    }
}

/// Answers a call.
pub(super) fn respond(state: &State, request: &Request, route: &Route, place: Place) -> Answer {
    let mut inner = state.lock();
    if inner.switches.renamed && place == Place::Portal {
        let target = String::from_utf8_lossy(&request.head.target);
        let mut answer = Answer::html(302);
        answer.set_header("Location", &format!("{}{target}", state.renamed_url()));
        return answer;
    }
    let (cookie, gzip) = (inner.switches.set_cookie, inner.switches.gzip);
    let mut answer = match route.version {
        Version::V1(format) => respond_v1(state, &mut inner, request, route)
            .unwrap_or_else(|error| error.answer(format, super::answer::Disguise::Plain)),
        Version::V3 => v3::respond(state, &mut inner, request, route),
    };
    drop(inner);
    answer.dress(&state.identity.client_id, cookie);
    if gzip {
        answer.compress_for(&request.head);
    }
    answer
}

fn respond_v1(
    state: &State,
    inner: &mut Inner,
    request: &Request,
    route: &Route,
) -> Result<Answer, ApiError> {
    let method = methods::find(&route.method).ok_or_else(not_found)?;
    let mut params = params::from_request(request);
    let session = match auth::authenticate(state, inner, request, route, &mut params) {
        Ok(session) => session,
        Err(error) => return Ok(error.answer(route.format(), inner.switches.auth_errors)),
    };
    params.remove("method");
    let stateful = params.remove("state").is_some();
    if let Some(token) = params.remove("token") {
        let token = token.text().unwrap_or_default();
        let credential = session.credential.as_deref().unwrap_or_default();
        let link = links::check(&state.identity.link_key, &token, method.name, credential);
        let link = link.ok_or_else(|| denied("Link check failed"))?;
        for (key, value) in link.entries() {
            params.set(key, value.clone());
        }
    } else {
        check_operating(inner, method.name)?;
    }
    let started = text::unix_now();
    let mut call = Call { state, inner, request, session, started };
    let mut outcome = match call.run(method, &params) {
        Ok(outcome) => outcome,
        Err(error) => {
            let mut answer = error.answer(route.format(), super::answer::Disguise::Plain);
            answer.executed = true;
            return Ok(answer);
        }
    };
    if stateful && ["app.info", "profile"].contains(&method.name) {
        outcome.result.set("signature", text::random_hex(16).into());
    }
    Ok(call.envelope(method, outcome, route.format()))
}

impl Call<'_> {
    /// Runs a method's body, and counts it.
    pub(super) fn run(&mut self, method: &Method, params: &Value) -> Result<Outcome, ApiError> {
        let id = params.get("id").and_then(Value::text).map(|id| format!("id={id}"));
        let request = self.request.head.header("x-request-id").map(|id| format!("request={id}"));
        self.inner.counters.execute(method.name, &[id, request]);
        let outcome = match method.body {
            Body::Always(body) => body(self, params),
            Body::MayFail(body) => body(self, params)?,
        };
        if method.name != "batch" || self.inner.switches.batch_charges_outer {
            let bucket = self.inner.switches.operating_bucket_ms;
            self.inner.meter.charge(method.name, text::millis(outcome.delay), bucket);
        }
        Ok(outcome)
    }

    /// The `time` block (Bitrix24 REST docs, data types).
    pub(super) fn time(&mut self, method: &str, delay: Duration) -> Value {
        let finish = text::unix_now() + delay;
        let duration = finish.saturating_sub(self.started).as_secs_f64();
        let mut time = Value::map([
            ("start", self.started.as_secs_f64().into()),
            ("finish", finish.as_secs_f64().into()),
            ("duration", duration.into()),
            ("processing", duration.into()),
            ("date_start", text::iso8601(self.started.as_secs()).into()),
            ("date_finish", text::iso8601(finish.as_secs()).into()),
        ]);
        if self.inner.switches.operating_fields {
            let bucket = self.inner.switches.operating_bucket_ms;
            let (spent, reset) = self.inner.meter.spent(method, bucket);
            time.set("operating_reset_at", reset.into());
            time.set("operating", Duration::from_millis(spent).as_secs_f64().into());
        }
        time
    }

    fn envelope(&mut self, method: &Method, outcome: Outcome, format: Format) -> Answer {
        let delay = outcome.delay;
        let mut answer = if let Some(raw) = outcome.raw {
            raw
        } else {
            let mut value = Value::map([("result", outcome.result)]);
            if let Some(next) = outcome.next {
                value.set("next", next.into());
            }
            if let Some(total) = outcome.total {
                value.set("total", total.into());
            }
            value.set("time", self.time(method.name, delay));
            Answer::of(200, &value, format)
        };
        answer.executed = true;
        answer.delay = delay;
        answer
    }
}

/// 429 when a method has used up its time (Bitrix24 REST docs, limits).
pub(super) fn check_operating(inner: &mut Inner, method: &str) -> Result<(), ApiError> {
    let (limit, bucket) = (inner.switches.operating_limit_ms, inner.switches.operating_bucket_ms);
    let spent = inner.meter.spent(method, bucket).0;
    match limit {
        Some(limit) if spent > limit => Err(operating_limit()),
        _ => Ok(()),
    }
}

pub(super) fn operating_limit() -> ApiError {
    let text = "Method is blocked due to operation time limit.";
    ApiError::new(429, "OPERATION_TIME_LIMIT", text)
}

pub(super) fn not_found() -> ApiError {
    ApiError::new(404, "ERROR_METHOD_NOT_FOUND", "Method not found!")
}

pub(super) fn denied(text: &str) -> ApiError {
    ApiError::new(403, "ACCESS_DENIED", text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(path: &str, version: Version, method: &str, webhook: bool) {
        let route = Route::of(path.as_bytes()).unwrap();
        assert_eq!((route.version, route.method.as_str()), (version, method), "{path}");
        assert_eq!(route.webhook.is_some(), webhook, "{path}");
    }

    #[test]
    fn every_form_of_a_path_names_its_method() {
        let (json, xml) = (Version::V1(Format::Json), Version::V1(Format::Xml));
        check("/rest/profile", json, "profile", false);
        check("//rest//profile.json/", json, "profile", false);
        check("/rest/crm.deal.list.xml", xml, "crm.deal.list", false);
        check("/rest/1/secret/crm.deal.list.json", json, "crm.deal.list", true);
        check("/rest/api/tasks.task.get", Version::V3, "tasks.task.get", false);
        check("/rest/api/tasks.task.get.json", Version::V3, "tasks.task.get.json", false);
        check("/rest/api/1/secret/batch/", Version::V3, "batch", true);
        assert_eq!(Route::of(b"/oauth/token/"), None);
    }
}
