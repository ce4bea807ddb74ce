//! Signed links: `download.json?auth=<token>&token=<scope>|<query>|<payload>.<signature>`, with the
//! last three in base64 (Bitrix24 REST docs, disk.file.get).
//!
//! The signature covers the credential of the call that produced the link. A call with a Bearer
//! header leaves none: its links carry no token, and any later Bearer opens them (rest module,
//! rest.php, `getTokenCheckSignature`).

use sha2::{Digest, Sha256};

use super::params;
use super::text;
use super::value::Value;

/// A link to a method with the query baked in.
pub(super) fn sign(key: &[u8; 32], base: &str, link: &Link<'_>) -> String {
    let payload = format!("{}|{}|{}|{}", link.method, link.scope, link.query, link.credential);
    let signature = signature(key, &payload);
    let token = format!(
        "{}|{}|{}.{}",
        link.scope,
        text::base64(link.query.as_bytes()),
        text::base64(payload.as_bytes()),
        text::base64(&signature),
    );
    let token = params::encode(&token);
    match (link.webhook, link.credential) {
        (Some(path), _) => format!("{base}/rest/{path}/{}.json?token={token}", link.method),
        (None, "") => format!("{base}/rest/{}.json?token={token}", link.method),
        (None, auth) => format!("{base}/rest/{}.json?auth={auth}&token={token}", link.method),
    }
}

/// What a link says.
#[derive(Debug)]
pub(super) struct Link<'a> {
    /// The method that it calls.
    pub(super) method: &'a str,
    /// The scope of that method.
    pub(super) scope: &'a str,
    /// Its parameters, urlencoded.
    pub(super) query: &'a str,
    /// The `auth` parameter of the producing call; empty if there was none.
    pub(super) credential: &'a str,
    /// `<user>/<secret>` when a webhook produced it.
    pub(super) webhook: Option<&'a str>,
}

/// The parameters in a link's token; `None` is "Link check failed".
pub(super) fn check(key: &[u8; 32], token: &str, method: &str, credential: &str) -> Option<Value> {
    let (payload, given) = token.rsplit_once('|')?.1.split_once('.')?;
    let payload = String::from_utf8(text::from_base64(payload)?).ok()?;
    let mut parts = payload.splitn(4, '|');
    let (named, _scope, query) = (parts.next()?, parts.next()?, parts.next()?);
    let good = text::from_base64(given)? == signature(key, &payload)
        && named.eq_ignore_ascii_case(method)
        && parts.next()? == credential;
    good.then(|| params::parse_str(query.as_bytes()))
}

fn signature(key: &[u8; 32], payload: &str) -> [u8; 32] {
    Sha256::new().chain_update(key).chain_update(payload).finalize().into()
}
