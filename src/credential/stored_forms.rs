//! Where pairs lie: as the OAuth server answered them, and as the vendor's kits keep them. A form is
//! told by its shape, so that nobody has to say which it is.
//!
//! A form that tells a lifetime and not since when says nothing about the expiry. It is taken for
//! unknown, and the access token is lent until the portal refuses it, which renews it.

use std::fmt;

use serde_json::{Map, Value};

use crate::credential::Grant;
use crate::credential::grant::{GrantError, has_error, number, object};

/// What a pair was read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// A token endpoint's answer.
    TokenResponse,
    /// `CRest`'s `settings.json`.
    Settings,
    /// An event that a portal posts to an application, such as `ONAPPINSTALL`.
    Event,
    /// What b24phpsdk stores.
    PhpSdk,
    /// What b24jssdk's callbacks hand over to be stored.
    JsSdk,
    /// The fields that a portal posts to an application's page.
    Install,
}

/// Why no pair can be read. Says nothing of what was there but names of fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FormError {
    /// Not JSON, or not an object.
    #[error("this is not a JSON object")]
    NotJson,
    /// It reports an error.
    #[error("this is an error answer, not a token response")]
    Refusal,
    /// A webhook has no tokens.
    #[error(
        "this looks like a webhook: there is no access_token and no refresh_token in it; the \
         gateway needs the pair of an application"
    )]
    Webhook,
    /// An access token without the refresh token that belongs to it.
    #[error(
        "this looks like an access token alone: there is no refresh_token in it, and without one \
         the gateway could not renew it"
    )]
    AccessAlone,
    /// It holds several portals' pairs.
    #[error("there are the pairs of {0} portals in it; give the one of this portal alone")]
    Several(usize),
    /// A field without which it is of no use.
    #[error("{}there is no {field} in it", looks_like(*.form))]
    Missing {
        /// What it looks like.
        form: Option<Form>,
        /// The field.
        field: &'static str,
    },
    /// A token that is not text, or that no header could carry.
    #[error("{}its {field} is not a token", looks_like(*.form))]
    Malformed {
        /// What it looks like.
        form: Option<Form>,
        /// The field.
        field: &'static str,
    },
}

/// How a form calls what a token response calls `access_token`, `refresh_token` and so on.
struct Names {
    access: &'static str,
    refresh: &'static str,
    member: &'static str,
    user: &'static str,
    endpoint: &'static str,
}

/// A form that was recognised.
struct Found {
    form: Form,
    names: &'static Names,
    fields: Map<String, Value>,
}

impl Grant {
    /// Reads a pair in any form that is known. `now` (unix seconds) turns the `expires_in` of a
    /// token response into a time.
    pub fn read_stored(body: &[u8], now: u64) -> Result<(Self, Form), FormError> {
        let Some(stored) = object(body) else {
            return Err(if is_webhook_url(body) { FormError::Webhook } else { FormError::NotJson });
        };
        if has_error(&stored) {
            return Err(FormError::Refusal);
        }
        if is_webhook(&stored) {
            return Err(FormError::Webhook);
        }
        let Some(found) = recognise(&stored)? else {
            return token_response(stored, now);
        };
        let Found { form, names, fields } = found;
        let grant =
            Self::imported(plain(fields, names), now).map_err(|error| named(error, form, names))?;
        Ok((grant, form))
    }
}

/// The form of `stored`; nothing for a token response.
fn recognise(stored: &Map<String, Value>) -> Result<Option<Found>, FormError> {
    let has = |key: &str| stored.contains_key(key);
    let part = |key: &str| stored.get(key).and_then(Value::as_object);
    let found = |form, names, fields: &Map<String, Value>| {
        Ok(Some(Found { form, names, fields: fields.clone() }))
    };
    if let Some(token) = part("auth_token") {
        return found(Form::PhpSdk, &SNAKE, token);
    }
    if let Some(token) = part("authToken") {
        // The token is a part of what was said about it.
        let mut all = stored.clone();
        all.extend(token.clone());
        return found(Form::PhpSdk, &CAMEL, &all);
    }
    if let Some(parameters) = part("b24OAuthParams") {
        return found(Form::JsSdk, &CAMEL, parameters);
    }
    if has("AUTH_ID") || has("REFRESH_ID") {
        let names = if has("MEMBER_ID") { &INSTALL_UPPER } else { &INSTALL };
        return found(Form::Install, names, stored);
    }
    if has("accessToken") || has("refreshToken") {
        let js = ["memberId", "clientEndpoint", "applicationToken", "domain", "userId"];
        let form = if js.into_iter().any(has) { Form::JsSdk } else { Form::PhpSdk };
        return found(form, &CAMEL, stored);
    }
    if has("application_token") {
        return found(Form::Settings, &SNAKE, stored);
    }
    if let Some(auth) = part("auth") {
        return found(Form::Event, &SNAKE, auth);
    }
    by_portal(stored)
}

/// What b24jssdk's recipes keep: the parameters of each portal under its `member_id`.
fn by_portal(stored: &Map<String, Value>) -> Result<Option<Found>, FormError> {
    let mut parts = stored.values().filter_map(Value::as_object);
    match parts.clone().filter(|part| part.contains_key("refreshToken")).count() {
        0 => Ok(None),
        1 if stored.len() == 1 => Ok(parts.next().map(|part| Found {
            form: Form::JsSdk,
            names: &CAMEL,
            fields: part.clone(),
        })),
        _ => Err(FormError::Several(stored.len())),
    }
}

fn token_response(stored: Map<String, Value>, now: u64) -> Result<(Grant, Form), FormError> {
    let alone = stored.contains_key("access_token");
    let grant = Grant::imported(stored, now).map_err(|error| match error {
        GrantError::Missing("refresh_token") if alone => FormError::AccessAlone,
        GrantError::NotJson => FormError::NotJson,
        GrantError::Refusal => FormError::Refusal,
        GrantError::Missing(field) => FormError::Missing { form: None, field },
        GrantError::Malformed(field) => FormError::Malformed { form: None, field },
    })?;
    Ok((grant, Form::TokenResponse))
}

/// The fields under the names of a token response.
fn plain(mut stored: Map<String, Value>, names: &Names) -> Map<String, Value> {
    let expires = stored.get("expires").and_then(moment);
    // Nobody is user 0: that is an empty text turned into a number.
    let user = stored.get(names.user).and_then(number).filter(|user| *user != 0);
    let mut plain = Map::new();
    for (name, of_response) in [
        (names.access, "access_token"),
        (names.refresh, "refresh_token"),
        (names.member, "member_id"),
        (names.endpoint, "client_endpoint"),
    ] {
        if let Some(value) = stored.remove(name) {
            plain.insert(of_response.to_owned(), value);
        }
    }
    plain.insert("expires".to_owned(), expires.into());
    plain.insert("user_id".to_owned(), user.into());
    plain
}

/// A time in seconds or milliseconds. What is too small for either is a lifetime: b24phpsdk keeps
/// the `AUTH_EXPIRES` of an install request under the name `expires`.
fn moment(value: &Value) -> Option<u64> {
    match number(value)? {
        0..SECONDS_MIN => None,
        seconds @ SECONDS_MIN..MILLISECONDS_MIN => Some(seconds),
        milliseconds => Some(milliseconds / 1_000),
    }
}

fn named(error: GrantError, form: Form, names: &Names) -> FormError {
    let name = |field| match field {
        "refresh_token" => names.refresh,
        _ => names.access,
    };
    let form = Some(form);
    match error {
        GrantError::NotJson => FormError::NotJson,
        GrantError::Refusal => FormError::Refusal,
        GrantError::Missing(field) => FormError::Missing { form, field: name(field) },
        GrantError::Malformed(field) => FormError::Malformed { form, field: name(field) },
    }
}

/// `CRest` with a webhook, b24jssdk's `B24HookParams`, or an endpoint that has the secret in it.
fn is_webhook(stored: &Map<String, Value>) -> bool {
    let has = |key: &str| stored.contains_key(key);
    let url = ["client_endpoint", "url", "webhook", "webhook_url", "webhookUrl"];
    has("is_web_hook")
        || (has("b24Url") && has("secret"))
        || (!has("access_token")
            && !has("refresh_token")
            && url
                .into_iter()
                .any(|key| stored.get(key).and_then(Value::as_str).is_some_and(names_webhook)))
}

/// A webhook's address, as text or as a JSON text.
fn is_webhook_url(body: &[u8]) -> bool {
    std::str::from_utf8(body).is_ok_and(|text| names_webhook(text.trim().trim_matches('"')))
}

/// `https://<portal>/rest/<user>/<secret>`, with what may follow.
fn names_webhook(url: &str) -> bool {
    let Some((_, path)) = url.split_once("://").and_then(|(_, rest)| rest.split_once("/rest/"))
    else {
        return false;
    };
    let mut parts = path.trim_start_matches("api/").split('/');
    let user = parts.next().is_some_and(|user| user.parse::<u64>().is_ok());
    url.starts_with("http") && user && parts.next().is_some_and(|secret| !secret.is_empty())
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TokenResponse => "a token response",
            Self::Settings => "CRest's settings.json",
            Self::Event => "an event",
            Self::PhpSdk => "b24phpsdk's stored token",
            Self::JsSdk => "b24jssdk's stored parameters",
            Self::Install => "the fields of an install request",
        })
    }
}

fn looks_like(form: Option<Form>) -> String {
    form.map_or_else(String::new, |form| format!("this looks like {form}: "))
}

const SNAKE: Names = Names {
    access: "access_token",
    refresh: "refresh_token",
    member: "member_id",
    user: "user_id",
    endpoint: "client_endpoint",
};

const CAMEL: Names = Names {
    access: "accessToken",
    refresh: "refreshToken",
    member: "memberId",
    user: "userId",
    endpoint: "clientEndpoint",
};

/// Neither the expiry (`AUTH_EXPIRES` is a lifetime) nor the user nor the endpoint is told.
const INSTALL: Names = Names {
    access: "AUTH_ID",
    refresh: "REFRESH_ID",
    member: "member_id",
    user: "user_id",
    endpoint: "client_endpoint",
};

/// As the portal's frame hands them to JavaScript.
const INSTALL_UPPER: Names = Names { member: "MEMBER_ID", ..INSTALL };

/// September 2001: no token is that old, and no lifetime that long.
const SECONDS_MIN: u64 = 1_000_000_000;

/// March 1973 in milliseconds, the year 5138 in seconds.
const MILLISECONDS_MIN: u64 = 100_000_000_000;

#[cfg(test)]
mod tests;
