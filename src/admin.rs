//! The operator's listener: is it alive, is it ready, what are the portals doing, and what an
//! operator does to them. No token is shown, but where `expose_tokens` says so.

mod api;
mod calls;
mod deeds;
mod page;
mod password;
mod plain;
mod readiness;
mod refusal;
mod route;
mod token;
mod wall;
mod words;

pub use readiness::Readiness;

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, StatusCode};
use tokio::net::TcpListener;
use tokio::time::Instant;

use crate::audit::Archive;
use crate::client::Register;
use crate::config::Config;
use crate::connect::Connect;
use crate::credential::Custody;
use crate::door::{self, Answer, Asked};
use crate::metrics::{self, TokenFigures};
use crate::portal::{Portal, Portals};
use crate::secret::Secret;

use self::password::Lock;
use self::refusal::{Refusal, Voice};
use self::route::{Health, Route};

/// What the operator's pages are about.
#[derive(Debug)]
pub struct Means {
    /// Whether calls can be served.
    pub readiness: Arc<Readiness>,
    /// The portals being served.
    pub portals: Arc<Portals>,
    /// Their credentials.
    pub custody: Arc<Custody>,
    /// What an operator may do to them.
    pub connect: Arc<Connect>,
    /// Who may call.
    pub clients: Arc<Register>,
    /// The configuration in force.
    pub config: Arc<ArcSwap<Config>>,
    /// The calls that are kept.
    pub calls: Archive,
    /// Where tools call.
    pub addresses: Vec<String>,
}

/// The operator's pages.
#[derive(Debug)]
pub struct Admin {
    means: Means,
    /// What a page of ours has and a page of somebody else cannot read.
    csrf: Secret,
    lock: Lock,
    started: Instant,
}

impl Admin {
    /// Pages about `means`. Fails where the system has no randomness.
    pub fn new(means: Means) -> std::io::Result<Self> {
        let mut bytes = [[0; 16]; 2];
        for half in &mut bytes {
            getrandom::fill(half).map_err(std::io::Error::other)?;
        }
        let [one, two] = bytes.map(u128::from_le_bytes);
        let csrf = Secret::new(format!("{one:032x}{two:032x}"));
        Ok(Self { means, csrf, lock: Lock::default(), started: Instant::now() })
    }

    /// Serves until it is aborted.
    pub async fn serve(self, listener: TcpListener) {
        let admin = Arc::new(self);
        door::serve(listener, move |asked| {
            let admin = admin.clone();
            async move { admin.answer(asked).await }
        })
        .await;
    }

    async fn answer(self: &Arc<Self>, asked: Asked) -> Answer {
        let voice = Voice::of(&asked);
        // A refusal is a page too, in the words that whoever asked can read.
        let answered = Box::pin(self.try_answer(&asked, voice)).await;
        answered.unwrap_or_else(|refusal| refusal.answer(voice))
    }

    /// One step after the other, and whichever refuses ends it.
    async fn try_answer(self: &Arc<Self>, asked: &Asked, voice: Voice) -> Result<Answer, Refusal> {
        let route = route::find(asked.uri().path());
        wall::check(asked, self.hosts(), matches!(route, Ok(Route::Page | Route::Calls)))?;
        let unlocked = self.unlock(asked).await;
        if let Ok(Route::Health(health)) = route {
            route::check_method(&Route::Health(health), asked.method())?;
            return Ok(self.health(health, unlocked.is_ok()));
        }
        unlocked?;
        let route = route?;
        route::check_method(&route, asked.method())?;
        match route {
            Route::Health(health) => Ok(self.health(health, true)),
            Route::Page if voice == Voice::Page => self.page(asked.uri().query()).await,
            Route::Page => Ok(door::text(StatusCode::OK, self.overview())),
            Route::Calls => self.calls_page(asked.uri().query()).await,
            Route::Part(part) => Ok(page::part(part)),
            Route::Form(deed, name) => self.form(deed, name, asked).await,
            Route::Metrics => Ok(self.metrics()),
            Route::Api(api) => self.api(api, asked).await,
        }
    }

    /// What the operator logs in with is asked for at every request, so that a reload is enough to
    /// change it.
    async fn unlock(&self, asked: &Asked) -> Result<(), Refusal> {
        match &self.means.config.load().admin.password {
            None => Ok(()),
            Some(password) => {
                let password = password.clone();
                self.lock.open(&password, asked.headers()).await
            }
        }
    }

    /// By which names this listener may be called. A page that gives its own name our address has
    /// no password, so where there is one and other machines may come, any name will do.
    fn hosts(&self) -> wall::Hosts {
        let admin = &self.means.config.load().admin;
        match &admin.password {
            Some(_) if !admin.listen.ip().is_loopback() => wall::Hosts::Any,
            Some(_) => wall::Hosts::LoopbackBehindPassword,
            None => wall::Hosts::Loopback,
        }
    }

    fn health(&self, health: Health, whole: bool) -> Answer {
        match health {
            Health::Live => door::text(StatusCode::OK, "ok\n"),
            Health::Ready => match self.means.readiness.reasons() {
                reasons if reasons.is_empty() => door::text(StatusCode::OK, "ready\n"),
                reasons if whole => {
                    door::text(StatusCode::SERVICE_UNAVAILABLE, reasons.join("\n") + "\n")
                }
                _ => door::text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
            },
        }
    }

    fn metrics(&self) -> Answer {
        let Means { portals, custody, .. } = &self.means;
        let figures: Vec<_> = portals.all().iter().map(|it| figures(it)).collect();
        let failing = custody.is_store_failing();
        let mut page = door::text(StatusCode::OK, custody.metrics().page(&figures, failing));
        page.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(metrics::CONTENT_TYPE));
        page
    }

    fn portal(&self, name: &str) -> Result<Arc<Portal>, Refusal> {
        self.means.portals.by_name(name).ok_or_else(|| {
            let names = self.means.portals.names();
            let known = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            Refusal::not_found(format!("there is no such portal; there are: {known}"))
        })
    }
}

/// Whether a method only looks.
fn only_looks(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

fn figures(portal: &Portal) -> TokenFigures {
    let status = portal.status();
    TokenFigures {
        portal: portal.name.clone(),
        state: status.state.word(),
        generation: status.generation.map(|generation| generation.0),
        expires_at: status.expires_at,
        spares: status.spares,
        unsaved: status.unsaved,
    }
}
