//! The raw access token, for tools that cannot call through the gateway. Off unless the operator has
//! said otherwise, and never for a browser. The refresh token is shown to nobody.

use http::{HeaderMap, StatusCode};
use serde_json::json;

use crate::credential::{Token, Unavailable};
use crate::door::Answer;

use super::Admin;
use super::refusal::{self, Refusal};
use super::wall;

impl Admin {
    /// A token that has not expired as far as is known; renewed first if it has.
    pub(super) async fn token(&self, name: &str, headers: &HeaderMap) -> Result<Answer, Refusal> {
        if wall::may_be_a_browser(headers) {
            return Err(Refusal::forbidden("tokens are not shown to browsers"));
        }
        if !self.means.config.load().admin.expose_tokens {
            return Err(Refusal::forbidden(
                "tokens are not shown: call through the gateway, which needs none; or set \
                 expose_tokens = true in [admin] and send the gateway SIGHUP",
            ));
        }
        let portal = self.portal(name)?;
        let Some(credential) = portal.credential() else {
            return Err(Refusal::conflict("an incoming webhook opens this portal, no token"));
        };
        if portal.standing.closed().is_some() {
            return Err(Refusal::conflict(super::plain::describe(&portal.status())));
        }
        let Some(current) = credential.current().clone() else {
            return Err(unavailable(credential.why_unavailable()));
        };
        let token = if current.is_past_expiry() {
            Box::pin(credential.renew(current.generation)).await.map_err(unavailable)?
        } else {
            current
        };
        let status = portal.status();
        tracing::info!(portal = %portal.name, generation = token.generation.0, "access token shown");
        let Token { access, expires_at, generation, .. } = &*token;
        let shown = json!({
            "access_token": access.expose(),
            "expires_at": expires_at,
            "generation": generation.0,
            "url": portal.site().endpoint.to_string(),
            "user_id": status.user_id,
            "member_id": status.member_id,
        });
        Ok(refusal::json(StatusCode::OK, &shown))
    }
}

fn unavailable(why: Unavailable) -> Refusal {
    match why {
        Unavailable::NotConnected(state) => {
            let code = state.code().map(|code| format!(" ({code})")).unwrap_or_default();
            Refusal::conflict(format!("the portal is {}{code}", state.word()))
        }
        Unavailable::Later { retry_after, reason } => Refusal::later(reason).after(retry_after),
    }
}
