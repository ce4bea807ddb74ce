//! A pair in the words of the OAuth server, so that whoever reads the journal knows one language.

use serde::Serialize;
use zeroize::Zeroizing;

use crate::credential::{Generation, Grant, RawAnswer, Secret, unix_now};
use crate::store::StoredCredential;

/// A pair and what was said about it.
#[derive(Clone, Copy)]
pub(in crate::store) struct Pair<'a> {
    access: &'a Secret,
    refresh: &'a Secret,
    expires_at: Option<u64>,
    member_id: Option<&'a str>,
    user_id: Option<u64>,
    client_endpoint: Option<&'a str>,
    issued_at: u64,
}

#[derive(Serialize)]
struct Response<'a> {
    access_token: &'a str,
    refresh_token: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    member_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_id: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client_endpoint: Option<&'a str>,
}

impl Pair<'_> {
    /// The answer that would have brought this pair.
    pub(super) fn answer(&self) -> Result<RawAnswer, serde_json::Error> {
        let response = Response {
            access_token: self.access.expose(),
            refresh_token: self.refresh.expose(),
            expires: self.expires_at,
            member_id: self.member_id,
            user_id: self.user_id,
            client_endpoint: self.client_endpoint,
        };
        let texts = [self.access.expose(), self.refresh.expose()];
        // Room for all of it at once: a growing buffer would leave pieces of the tokens behind.
        let room = 8 * 1024 + 6 * texts.iter().map(|text| text.len()).sum::<usize>();
        let mut body = Zeroizing::new(Vec::with_capacity(room));
        serde_json::to_writer(&mut *body, &response)?;
        Ok(RawAnswer { status: 200, retry_after: None, at: self.issued_at, complete: true, body })
    }

    pub(super) fn issued_at(&self) -> u64 {
        self.issued_at
    }
}

/// The generation whose exchange brings `generation`.
pub(super) fn before(generation: Generation) -> Generation {
    Generation(generation.0.saturating_sub(1))
}

impl<'a> From<&'a Grant> for Pair<'a> {
    fn from(grant: &'a Grant) -> Self {
        Self {
            access: &grant.access,
            refresh: &grant.refresh,
            expires_at: grant.expires_at,
            member_id: grant.member_id.as_deref(),
            user_id: grant.user_id,
            client_endpoint: grant.client_endpoint.as_deref(),
            issued_at: unix_now(),
        }
    }
}

impl<'a> From<&'a StoredCredential> for Pair<'a> {
    fn from(stored: &'a StoredCredential) -> Self {
        Self {
            access: &stored.access,
            refresh: &stored.refresh,
            expires_at: stored.expires_at,
            member_id: stored.member_id.as_deref(),
            user_id: stored.user_id,
            client_endpoint: stored.client_endpoint.as_deref(),
            issued_at: stored.issued_at,
        }
    }
}
