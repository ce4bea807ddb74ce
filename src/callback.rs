//! The one listener that may be public: `/oauth/start`, `/oauth/callback`, `/oauth/done`, `/install`,
//! `/events`. Nothing here can reach `/rest` or the operator's pages.
//!
//! A local application has one address in Bitrix24, to which both the authorization page (GET) and
//! the application's page (POST) lead; so `/oauth/callback` and `/install` take either. A query here
//! may hold a code, so no query is ever logged, and none stays in a browser's address bar.

mod page;

use std::sync::Arc;

use http::header::{ALLOW, COOKIE, LOCATION, RETRY_AFTER, SET_COOKIE};
use http::{HeaderValue, Method, StatusCode};
use tokio::net::TcpListener;

use crate::connect::{CallbackError, Connect, EventError, Form, InstallError, LoginId, Outcome};
use crate::door::{self, Answer, Asked};

use self::page::Frames;

/// Serves until it is aborted.
pub async fn serve(listener: TcpListener, connect: Arc<Connect>) {
    door::serve(listener, move |request| {
        let connect = connect.clone();
        async move { answer(&connect, &request).await }
    })
    .await;
}

async fn answer(connect: &Arc<Connect>, request: &Asked) -> Answer {
    let query = request.uri().query().unwrap_or_default();
    let (get, post) = (request.method() == Method::GET, request.method() == Method::POST);
    match request.uri().path() {
        "/oauth/start" if get => start(connect, query),
        "/oauth/callback" if get => come_back(connect, query, request).await,
        // Whoever looks whether the address is right has brought nothing.
        "/install" if get && !query.is_empty() => come_back(connect, query, request).await,
        "/oauth/callback" | "/install" if post => install(connect, query, request).await,
        "/oauth/done" if get => done(connect, query),
        "/events" if post => event(connect, request).await,
        "/oauth/start" | "/oauth/done" => wrong_verb("GET"),
        "/oauth/callback" => wrong_verb("GET, POST"),
        "/install" | "/events" => wrong_verb("POST"),
        _ => door::text(StatusCode::NOT_FOUND, "not found\n"),
    }
}

fn start(connect: &Connect, query: &str) -> Answer {
    let form = Form::parse(query.as_bytes());
    let ticket = form.text("ticket").ok_or(CallbackError::Malformed);
    let start = match ticket.and_then(|ticket| connect.start_login(ticket)) {
        Ok(start) => start,
        Err(error) => return refused(error),
    };
    let (name, value) = &start.cookie;
    let secure = if start.secure { "; Secure" } else { "" };
    let cookie = format!(
        "{name}={}; HttpOnly; SameSite=Lax; Path=/; Max-Age={}{secure}",
        value.expose(),
        start.expires_in
    );
    let mut answer = see_other(&start.authorize);
    if let Ok(mut cookie) = HeaderValue::from_str(&cookie) {
        cookie.set_sensitive(true);
        answer.headers_mut().insert(SET_COOKIE, cookie);
    }
    answer
}

async fn come_back(connect: &Arc<Connect>, query: &str, request: &Asked) -> Answer {
    let fields = request.headers().get_all(COOKIE).iter();
    let fields: Vec<_> = fields.filter_map(|field| field.to_str().ok()).collect();
    let cookies = fields.join("; ");
    match connect.finish_login(query, Some(&cookies)).await {
        // Away from the address that holds the code.
        Ok(LoginId(id)) => see_other(&format!("/oauth/done?id={id}")),
        Err(error) => refused(error),
    }
}

fn done(connect: &Connect, query: &str) -> Answer {
    let form = Form::parse(query.as_bytes());
    let id = LoginId(form.text("id").unwrap_or_default().to_owned());
    let (title, text) = match connect.login_outcome(&id) {
        Ok(Some(Outcome::Connected { portal, text })) => {
            (format!("{portal} is connected"), format!("Portal {portal}: {text}."))
        }
        Ok(Some(Outcome::Failed { portal, text })) => {
            (format!("{portal} is not connected"), format!("Portal {portal}: {text}."))
        }
        Ok(None) => (
            "A moment".to_owned(),
            "This login is still under way; load the page again.".to_owned(),
        ),
        Err(_forgotten) => {
            let text = "How this login ended is not known any more; `b24gate portal list` shows \
                        how the portals are now.";
            return page::plain(StatusCode::NOT_FOUND, "Not known", text, Frames::Nobody);
        }
    };
    page::plain(StatusCode::OK, &title, &(text + " You can close this page."), Frames::Nobody)
}

async fn install(connect: &Arc<Connect>, query: &str, request: &Asked) -> Answer {
    let form = Form::parse(query.as_bytes()).and(Form::parse(request.body()));
    match connect.install(&form).await {
        Ok(installed) => page::installed(&installed),
        Err(InstallError::Refused(reason)) => {
            tracing::info!(reason, "an installation is refused");
            let text = "The gateway cannot tell that this comes from a portal of its own. Whoever \
                        looks after the gateway finds the reason in its log.";
            page::plain(StatusCode::FORBIDDEN, "Not taken", text, Frames::Anybody)
        }
        Err(InstallError::Later(reason)) => {
            tracing::warn!(reason, "an installation has to wait");
            let text = "The gateway cannot check this now. Nothing is lost: open the application \
                        again in a minute.";
            again(page::plain(StatusCode::SERVICE_UNAVAILABLE, "Later", text, Frames::Anybody))
        }
    }
}

async fn event(connect: &Arc<Connect>, request: &Asked) -> Answer {
    let form = Form::parse(request.body());
    match connect.event(&form, request.body()).await {
        Ok(_whatever) => door::text(StatusCode::OK, "ok\n"),
        Err(EventError::Refused(reason)) => {
            tracing::debug!(reason, "an event is refused");
            door::text(StatusCode::FORBIDDEN, "not taken\n")
        }
        Err(EventError::Later(reason)) => {
            tracing::warn!(reason, "an event is not acknowledged");
            again(door::text(StatusCode::SERVICE_UNAVAILABLE, "later\n"))
        }
    }
}

fn refused(error: CallbackError) -> Answer {
    tracing::debug!(reason = %error, "a login is not taken");
    let text = format!("It was not taken: {error}. `b24gate portal connect NAME` begins a login.");
    page::plain(StatusCode::BAD_REQUEST, "Not logged in", &text, Frames::Nobody)
}

fn see_other(to: &str) -> Answer {
    let mut answer = door::text(StatusCode::SEE_OTHER, "");
    match HeaderValue::from_str(to) {
        Ok(to) => {
            answer.headers_mut().insert(LOCATION, to);
            answer
        }
        Err(_never) => refused(CallbackError::Unknown),
    }
}

fn wrong_verb(allowed: &'static str) -> Answer {
    let mut answer = door::text(StatusCode::METHOD_NOT_ALLOWED, format!("{allowed} only\n"));
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    answer
}

fn again(mut answer: Answer) -> Answer {
    answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("60"));
    answer
}
