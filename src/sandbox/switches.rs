//! The switches: everything about the portal that differs between installations, that nobody has
//! verified, or that a test wants otherwise. All of them can be thrown while the sandbox runs.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::answer::Disguise;

/// Whether a refresh token can be used again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rotation {
    /// Once: the second use is `invalid_grant` (what the training course of 2020 says).
    #[default]
    Strict,
    /// As often as one likes until it expires (what stateless tokens allow).
    Lenient,
}

/// The leaky bucket in front of the portal, per source address (Bitrix24 REST docs, limits).
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// How many requests leak away per second: 2, on the Enterprise plan 5.
    pub per_second: f64,
    /// How many requests the bucket holds: 50, on the Enterprise plan 250.
    pub burst: f64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { per_second: 2.0, burst: 50.0 }
    }
}

/// The state of every switch; `POST /sandbox/switch` takes the same names.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "switches are what they are")]
pub struct Switches {
    /// How long access tokens live, in milliseconds. 3600 s on the wire (Bitrix24 REST docs, OAuth).
    pub token_ttl_ms: u64,
    /// How long refresh tokens live, in milliseconds. The documentation says 180 days, the expiry
    /// inside real tokens says 30.
    pub refresh_ttl_ms: u64,
    /// Whether a refresh token can be used again. Unverified, so both.
    pub rotation: Rotation,
    /// Whether a refresh kills the access token that was issued with the used refresh token. The
    /// training course says so; stateless tokens would live on. Unverified, so both.
    pub old_access_dies: bool,
    /// The code with which such a dead access token is refused.
    pub dead_access_code: String,
    /// For how long after its use a refresh token may be presented again (a lost answer retried).
    /// Unverified; 0 is the strict reading.
    pub reuse_grace_ms: u64,
    /// Whether presenting a used refresh token kills the whole chain (RFC 9700 section 4.14.2).
    /// Not seen on Bitrix24; off.
    pub reuse_kills_chain: bool,
    /// The code for an expired refresh token: `expired_token` with 401 in the server's source,
    /// `invalid_grant` with 400 in the documentation.
    pub expired_refresh_code: String,
    /// The leaky bucket; `null` switches it off, as self-hosted portals have it.
    pub limits: Option<Limits>,
    /// Execution time that a method may use up in ten minutes, in milliseconds; `null` is off.
    /// 480 s in the documentation, 420 s in the source.
    pub operating_limit_ms: Option<u64>,
    /// The length of one of the ten buckets of the operating limit. A minute in the documentation.
    pub operating_bucket_ms: u64,
    /// Whether the time of `batch` is charged to `batch` too. Documentation and source say no, a
    /// measurement of the JavaScript SDK says yes.
    pub batch_charges_outer: bool,
    /// Whether answers carry `time.operating`. Self-hosted portals usually lack it.
    pub operating_fields: bool,
    /// Whether answers are compressed for clients that accept gzip.
    pub gzip: bool,
    /// Whether answers set cookies.
    pub set_cookie: bool,
    /// Whether the `Authorization` header reaches PHP. Behind Apache with CGI it may not.
    pub bearer: bool,
    /// Whether the portal remembers its verdict on a bad token, so that it stays bad.
    /// The rest module caches verdicts for up to an hour.
    pub negative_cache: bool,
    /// The disguise of every error of the auth layer.
    pub auth_errors: Disguise,
    /// The status of `expired_token`, `invalid_token` and the like.
    pub auth_status: u16,
    /// Whether the OAuth server takes POST. Documented is GET; SDKs post.
    pub oauth_post: bool,
    /// Whether v3 counts `auth` in the body when it compares bodies for `Idempotency-Key`. Unverified.
    pub idempotency_counts_auth: bool,
    /// Whether the portal has moved: REST calls on its first address get 302 to the renamed one, and
    /// token answers name the new address.
    pub renamed: bool,
    /// `https://host:port` of the portal as the outside sees it, when a TLS front stands before it.
    pub portal_url: Option<String>,
    /// The same for the OAuth server.
    pub oauth_url: Option<String>,
    /// Where `/oauth/authorize/` sends the browser back to: a setting of the app in Bitrix24.
    pub redirect_uri: Option<String>,
    /// Where the app's page is posted, unless a request says otherwise: another setting of the app.
    pub handler_url: Option<String>,
    /// Where events are posted, unless a request says otherwise.
    pub event_url: Option<String>,
    /// Whether the request's own `redirect_uri` counts where the app has none, as on old portals.
    pub redirect_uri_from_request: bool,
    /// Whether a person is asked before the browser is sent back.
    pub authorize_page: bool,
    /// Whether the parameters of the way back come in any order; none is promised.
    pub shuffle_redirect: bool,
    /// Whose browser it is that comes to the portal; the seed's user if absent.
    pub browser_user: Option<u32>,
    /// Whether a code is used up by its exchange. Codes were signed blobs without a mark in 2017.
    pub codes_work_once: bool,
    /// Whether pages are given `APPLICATION_TOKEN` and `APPLICATION_SCOPE`, as newer portals do.
    pub page_application_token: bool,
    /// Whether an installation is complete without `BX24.installFinish()`, as that of an app
    /// without a wizard.
    pub installed: bool,
    /// The code for refreshes and codes of a portal that has uninstalled the app.
    pub uninstalled_refresh_code: String,
    /// The code for its access tokens. Verdicts are cached, so several have been seen.
    pub uninstalled_access_code: String,
    /// How tokens are answered: old portals could redirect.
    pub oauth_answer: OauthAnswer,
    /// Whether the token endpoint wants `redirect_uri` and `scope`, as on old portals.
    pub oauth_wants_redirect_uri: bool,
}

/// The two ways of answering with tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OauthAnswer {
    /// 200 with JSON.
    #[default]
    Json,
    /// 302 to the request's `redirect_uri`, with the tokens in its query.
    Redirect,
}

impl Default for Switches {
    fn default() -> Self {
        Self {
            token_ttl_ms: 3_600_000,
            refresh_ttl_ms: 30 * 86_400_000,
            rotation: Rotation::Strict,
            old_access_dies: true,
            dead_access_code: "expired_token".to_owned(),
            reuse_grace_ms: 0,
            reuse_kills_chain: false,
            expired_refresh_code: "expired_token".to_owned(),
            limits: None,
            operating_limit_ms: None,
            operating_bucket_ms: 60_000,
            batch_charges_outer: false,
            operating_fields: true,
            gzip: false,
            set_cookie: true,
            bearer: true,
            negative_cache: false,
            auth_errors: Disguise::Plain,
            auth_status: 401,
            oauth_post: true,
            idempotency_counts_auth: false,
            renamed: false,
            portal_url: None,
            oauth_url: None,
            redirect_uri: None,
            handler_url: None,
            event_url: None,
            redirect_uri_from_request: false,
            authorize_page: false,
            shuffle_redirect: false,
            browser_user: None,
            codes_work_once: true,
            page_application_token: true,
            installed: true,
            uninstalled_refresh_code: "NOT_INSTALLED".to_owned(),
            uninstalled_access_code: "APPLICATION_NOT_FOUND".to_owned(),
            oauth_answer: OauthAnswer::Json,
            oauth_wants_redirect_uri: false,
        }
    }
}

impl Switches {
    /// These switches with some of them thrown; an unknown name or a wrong type is an error.
    pub(super) fn with(&self, changes: &serde_json::Value) -> Result<Self, String> {
        let changes = changes.as_object().ok_or("switches come as a JSON object")?;
        let mut all = serde_json::to_value(self).map_err(|error| error.to_string())?;
        if let Some(all) = all.as_object_mut() {
            all.extend(changes.clone());
        }
        serde_json::from_value(all).map_err(|error| error.to_string())
    }

    pub(super) fn token_ttl(&self) -> Duration {
        Duration::from_millis(self.token_ttl_ms)
    }

    pub(super) fn refresh_ttl(&self) -> Duration {
        Duration::from_millis(self.refresh_ttl_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_switch_is_refused_and_the_others_stay() {
        let switches = Switches::default();
        assert!(switches.with(&serde_json::json!({"gzipp": true})).is_err());
        let thrown = switches.with(
            &serde_json::json!({"gzip": true, "limits": {"per_second": 5.0, "burst": 250.0}}),
        );
        let thrown = thrown.unwrap();
        assert!(thrown.gzip && thrown.old_access_dies);
        assert!(thrown.limits.unwrap().burst > 249.0);
    }
}
