//! One portal's credential: what requests read, what people see, and who may change it.
//!
//! Reading is wait-free and may happen on any runtime. Everything that changes the pair goes
//! through one lock, so that a refresh that is under way and an import cannot overwrite each other.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::config::App;
use crate::credential::arrival::Arriving;
use crate::credential::flight::{Crashed, Flight};
use crate::credential::hold::{Hold, Pace};
use crate::credential::recovery::{Held, Settled};
use crate::credential::refresh::Chains;
use crate::credential::rotation::Chain;
use crate::credential::{
    Admitted, Flights, Generation, Grant, IntakeError, OAuth, Replace, Status, Token,
    TokenEndpoint, Unavailable, unix_now,
};
use crate::metrics::Metrics;
use crate::store::{Record, Store, StoreError};

/// What all portals' credentials share.
#[derive(Debug)]
pub struct Custody {
    pub(super) store: Arc<dyn Store>,
    oauth: OAuth,
    pub(super) endpoint: Arc<dyn TokenEndpoint>,
    pub(super) flights: Flights,
    pub(super) pace: Pace,
    pub(super) metrics: Metrics,
    /// Whether the last write failed.
    store_fails: AtomicBool,
}

/// The credential of one portal.
pub struct Credential {
    pub(super) portal: String,
    pub(super) custody: Arc<Custody>,
    app: ArcSwap<App>,
    token: ArcSwapOption<Token>,
    status: ArcSwap<Status>,
    hold: Mutex<Option<Hold>>,
    flight: Flight<Result<Arc<Token>, Unavailable>>,
    pub(super) chains: tokio::sync::Mutex<Chains>,
}

impl Custody {
    /// Refreshes run on `runtime`, whichever runtime asks for them.
    pub fn new(store: Arc<dyn Store>, oauth: OAuth, runtime: Handle) -> Self {
        let endpoint = Arc::new(oauth.clone());
        Self {
            store,
            oauth,
            endpoint,
            flights: Flights::new(runtime),
            pace: Pace::default(),
            metrics: Metrics::default(),
            store_fails: AtomicBool::new(false),
        }
    }

    /// Exchanges at another endpoint than the OAuth client's.
    #[must_use]
    pub fn with_endpoint(self, endpoint: Arc<dyn TokenEndpoint>) -> Self {
        Self { endpoint, ..self }
    }

    /// The numbers of this process.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Whether the last write to the store failed: until one succeeds, nothing can be refreshed.
    pub fn is_store_failing(&self) -> bool {
        self.store_fails.load(Ordering::Relaxed)
    }

    pub(super) fn store_fails(&self) {
        self.store_fails.store(true, Ordering::Relaxed);
    }

    pub(super) fn store_works(&self) {
        self.store_fails.store(false, Ordering::Relaxed);
    }

    /// The store, for what else is remembered of a portal.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// The OAuth client, for tokens that arrive by other ways than a refresh.
    pub fn oauth(&self) -> &OAuth {
        &self.oauth
    }

    /// The exchanges and writes that a shutdown waits for.
    pub fn flights(&self) -> &Flights {
        &self.flights
    }
}

impl Credential {
    /// The credential of `portal` as the store and the journal have it, settled if a crash left
    /// something open.
    pub async fn open(
        portal: String,
        app: Arc<App>,
        custody: Arc<Custody>,
        record: Option<Record>,
    ) -> Arc<Self> {
        let settled = match record {
            // Boxed: it is large, and done once.
            Some(record) => Box::pin(custody.settle(record)).await,
            None => Settled::default(),
        };
        let mut credential = Self {
            portal,
            custody,
            app: ArcSwap::new(app),
            token: ArcSwapOption::empty(),
            status: ArcSwap::from_pointee(Status::default()),
            hold: Mutex::new(None),
            flight: Flight::new(),
            chains: tokio::sync::Mutex::new(Chains::default()),
        };
        let spares = settled.spares.iter().map(Held::chain).filter(|chain| !chain.is_dead());
        let spares: Vec<Chain> = spares.collect();
        let arriving = settled.arriving.iter().map(Arriving::left).collect();
        let mut chains = Chains { active: None, spares, arriving };
        match settled.active {
            None => {}
            Some(Err(error)) => {
                tracing::error!(portal = %credential.portal, %error, "credential not opened");
                credential.note(|status| status.last_error = Some(error.to_string()));
            }
            Some(Ok(held)) => {
                let chain = held.chain();
                credential.take_stored(&mut chains.active, held.stored);
                chains.active = Some(chain);
            }
        }
        // The store would promote the pair that it has.
        let stored = chains.spares.iter().all(|spare| spare.unsaved.is_none());
        if chains.active.is_none()
            && stored
            && let Err(error) = Box::pin(credential.take_over(&mut chains)).await
        {
            tracing::error!(portal = %credential.portal, %error, "no spare has taken over");
        }
        let arriving = chains.arriving.iter().map(|it| &it.chain);
        let held = chains.active.iter().chain(&chains.spares).chain(arriving);
        let unsaved = held.filter(|chain| chain.unsaved.is_some()).count();
        credential.note(|status| {
            status.spares = chains.spares.len();
            status.unsaved = unsaved > 0;
        });
        credential.chains = tokio::sync::Mutex::new(chains);
        let credential = Arc::new(credential);
        if unsaved > 0 {
            credential.custody.store_fails();
            credential.keep_saving();
        }
        credential
    }

    /// The token to lend, if there is one; wait-free. It may have expired: that is the portal's
    /// to say, or [`Token::is_past_expiry`]'s.
    pub fn current(&self) -> Guard<Option<Arc<Token>>> {
        self.token.load()
    }

    /// What people are shown.
    pub fn state(&self) -> Arc<Status> {
        let status = self.status.load_full();
        if self.flight.is_in_the_air() {
            return Arc::new(Status { refreshing: true, ..Status::clone(&status) });
        }
        status
    }

    /// Why there is nothing to lend, when [`Credential::current`] is empty.
    pub fn why_unavailable(&self) -> Unavailable {
        Unavailable::NotConnected(self.status.load().state.clone())
    }

    /// A token newer than `seen`: at once if there is one, else the outcome of the one exchange
    /// that everybody shares. Dropping the future leaves the exchange running.
    pub async fn renew(self: &Arc<Self>, seen: Generation) -> Result<Arc<Token>, Unavailable> {
        // A flight that took off for an older generation may land with the very one we have seen.
        for _ in 0..3 {
            if let Some(token) = self.newer_than(seen) {
                return Ok(token);
            }
            if !self.flight.is_in_the_air()
                && let Some(obstacle) = self.obstacle(seen)
            {
                return Err(obstacle);
            }
            // Boxed: this future is part of every request, and hardly any gets here.
            let refresh = Box::pin(Arc::clone(self).refresh(seen));
            match self.flight.board(&self.custody.flights, refresh).await {
                Ok(Ok(token)) if token.generation <= seen => {}
                Ok(outcome) => return outcome,
                Err(Crashed) => {
                    tracing::error!(
                        portal = %self.portal,
                        "token refresh ended without an outcome"
                    );
                    break;
                }
            }
        }
        let reason = "the gateway could not finish the refresh".to_owned();
        Err(Unavailable::Later { retry_after: self.custody.pace.backoff_min, reason })
    }

    /// Takes a pair in that somebody brings, as [`admit`] decides: after a refresh that is under way,
    /// and durably before it is used. Dropping the future does not stop it.
    ///
    /// [`admit`]: crate::credential::admit
    pub async fn adopt(
        self: &Arc<Self>,
        grant: Grant,
        replace: Replace,
    ) -> Result<Admitted, IntakeError> {
        self.detached(Arc::clone(self).take_in(grant, replace)).await
    }

    /// As [`Credential::adopt`], for a pair of which whoever brought it may have a copy (a page in a
    /// browser, an event): stored as arriving, exchanged at once, and seated with the pair that came
    /// of it, which only this gateway knows. A pair whose refresh token is of no use is turned away
    /// and changes nothing. Dropping the future does not stop it.
    pub async fn adopt_exchanged(
        self: &Arc<Self>,
        grant: Grant,
        replace: Replace,
    ) -> Result<Admitted, IntakeError> {
        self.detached(Arc::clone(self).arrive(grant, replace)).await
    }

    async fn detached<T: Send + 'static>(
        &self,
        task: impl Future<Output = Result<T, IntakeError>> + Send + 'static,
    ) -> Result<T, IntakeError> {
        let (told, outcome) = oneshot::channel();
        self.custody.flights.spawn(async move {
            // Whoever asked may have left.
            drop(told.send(task.await));
        });
        let cut_short = |_closed| StoreError::Unavailable("the import was cut short".into());
        outcome.await.map_err(cut_short)?
    }

    /// Lets the next call try again at once, whatever the last attempt said.
    pub fn retry(&self) {
        self.set_hold(None);
    }

    /// Lends nothing any more and forgets its chains, which the store has taken out of use.
    pub async fn forget(&self) {
        // What is under way first: its outcome must not come back.
        let mut chains = self.chains.lock().await;
        *chains = Chains::default();
        self.token.store(None);
        self.set_hold(None);
        self.status.store(Arc::default());
        // A pair that was still to be stored has no place any more.
        self.custody.store_works();
    }

    /// Takes a changed application over. With another id, secret or server, what was refused may
    /// be tried again at once.
    pub fn set_app(&self, app: Arc<App>) {
        let before = self.app.load_full();
        let same = before.client_id == app.client_id
            && before.client_secret.matches(app.client_secret.expose())
            && before.oauth_server == app.oauth_server;
        self.app.store(app);
        if !same {
            self.set_hold(None);
        }
    }

    /// The application in use.
    pub fn app(&self) -> Arc<App> {
        self.app.load_full()
    }

    pub(super) fn newer_than(&self, seen: Generation) -> Option<Arc<Token>> {
        self.token.load_full().filter(|token| token.generation > seen)
    }

    /// What forbids an exchange right now.
    pub(super) fn obstacle(&self, seen: Generation) -> Option<Unavailable> {
        let hold = self.hold.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(obstacle) = hold.as_ref().and_then(Hold::answer) {
            return Some(obstacle);
        }
        drop(hold);
        let token = self.token.load_full()?;
        let fresh = self.custody.pace.fresh;
        // A portal that refuses what was just issued will refuse the next one too; refreshing in
        // a circle gets an application blocked by the vendor.
        let in_vain = token.generation == seen
            && token.is_younger_than(fresh)
            && !token.was_accepted()
            && !token.is_past_expiry();
        in_vain.then(|| Unavailable::Later {
            retry_after: fresh,
            reason: "the portal refuses a token that was renewed moments ago".to_owned(),
        })
    }

    pub(super) fn set_hold(&self, hold: Option<Hold>) {
        *self.hold.lock().unwrap_or_else(PoisonError::into_inner) = hold;
    }

    pub(super) fn set_token(&self, token: Arc<Token>) {
        self.token.store(Some(token));
    }

    /// Changes what people are shown. Callers hold the chain's lock, or are the only owner.
    pub(super) fn note(&self, change: impl FnOnce(&mut Status)) {
        let mut status = Status::clone(&self.status.load());
        change(&mut status);
        self.status.store(Arc::new(status));
    }
}

/// Whole seconds from now to `expires_at`, zero when it has passed.
pub(super) fn seconds_left(expires_at: Option<u64>) -> Option<Duration> {
    expires_at.map(|at| Duration::from_secs(at.saturating_sub(unix_now())))
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { portal, status, .. } = self;
        f.debug_struct("Credential")
            .field("portal", portal)
            .field("status", &status.load())
            .finish_non_exhaustive()
    }
}
