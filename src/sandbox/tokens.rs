//! Tokens as the OAuth server issues them: chains of pairs, one chain per authorization.

mod history;

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use self::history::History;
use super::switches::{Rotation, Switches};
use super::text;

/// Every token that was issued and is not forgotten.
#[derive(Debug)]
pub(super) struct Tokens {
    access: HashMap<String, Access>,
    refresh: HashMap<String, Refresh>,
    codes: HashMap<String, (Owner, Instant)>,
    order: VecDeque<String>,
    chains: u64,
    /// What happened to refresh tokens, the latest last.
    pub(super) history: History,
}

/// Whose rights a token has.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Owner {
    pub(super) member_id: String,
    pub(super) user_id: u32,
}

/// An access token.
#[derive(Clone, Debug)]
pub(super) struct Access {
    pub(super) owner: Owner,
    pub(super) issued: Instant,
    pub(super) expires: Instant,
    end: Option<End>,
    /// The number of the event that it was issued in.
    event: usize,
}

/// Why an access token is no good before its time is over.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Replaced,
    Uninstalled,
}

#[derive(Clone, Debug)]
struct Refresh {
    owner: Owner,
    chain: u64,
    expires: Instant,
    used: Option<Instant>,
    dead: bool,
    access: String,
}

/// A pair as it goes onto the wire.
#[derive(Clone, Debug)]
pub(super) struct Pair {
    pub(super) access_token: String,
    pub(super) refresh_token: String,
    pub(super) owner: Owner,
    pub(super) expires_in: u64,
    pub(super) expires: u64,
}

/// What the portal finds out about an access token.
#[derive(Clone, Debug)]
pub(super) enum Verdict {
    /// It is good.
    Good(Access),
    /// Its time is over.
    Expired,
    /// A refresh has replaced it.
    Replaced,
    /// Nobody has issued it, or an uninstallation has ended it.
    Unknown,
}

impl Tokens {
    pub(super) fn new() -> Self {
        Self {
            access: HashMap::new(),
            refresh: HashMap::new(),
            codes: HashMap::new(),
            order: VecDeque::new(),
            chains: 0,
            history: History::new(),
        }
    }

    /// Starts a chain.
    pub(super) fn issue(&mut self, owner: Owner, switches: &Switches) -> Pair {
        self.chains += 1;
        let pair = self.pair(owner, self.chains, switches);
        self.history.note(self.chains, None, Some(&pair.refresh_token), "seeded");
        pair
    }

    /// An access token that comes without a refresh token, as events bring it.
    pub(super) fn issue_access(&mut self, owner: Owner, switches: &Switches) -> Pair {
        self.chains += 1;
        let pair = self.pair(owner, self.chains, switches);
        self.refresh.remove(&pair.refresh_token);
        pair
    }

    /// Issues an authorization code; it lives 30 s and works once (Bitrix24 REST docs, OAuth).
    pub(super) fn issue_code(&mut self, owner: Owner) -> String {
        self.codes.retain(|_, (_, expires)| *expires > Instant::now());
        let code = text::random_hex(35);
        self.codes.insert(code.clone(), (owner, Instant::now() + CODE_TTL));
        code
    }

    /// As [`Tokens::issue_code`], of six digits: what a person types in when the app has no address
    /// that a browser could be sent to.
    pub(super) fn issue_short_code(&mut self, owner: Owner) -> String {
        let code = self.issue_code(owner);
        let number = u32::from_str_radix(code.get(..8).unwrap_or_default(), 16).unwrap_or(0);
        let short = format!("{:06}", number % 1_000_000);
        if let Some(entry) = self.codes.remove(&code) {
            self.codes.insert(short.clone(), entry);
        }
        short
    }

    /// Exchanges a code; `Err` is the error code.
    pub(super) fn redeem(&mut self, code: &str, switches: &Switches) -> Result<Pair, &'static str> {
        let found = self.codes.remove(code);
        if let Some(entry) = found.clone().filter(|_| !switches.codes_work_once) {
            self.codes.insert(code.to_owned(), entry);
        }
        match found {
            Some((owner, expires)) if expires > Instant::now() => Ok(self.issue(owner, switches)),
            Some(_) => Err("expired_token"),
            None => Err("invalid_grant"),
        }
    }

    /// Who would get the next pair for this refresh token; `Err` is the error code.
    pub(super) fn examine(&mut self, token: &str, switches: &Switches) -> Result<Owner, String> {
        let now = Instant::now();
        let grace = Duration::from_millis(switches.reuse_grace_ms);
        let found = self.refresh.get(token).cloned();
        let verdict = match &found {
            None => Err("invalid_grant".to_owned()),
            Some(known) if known.dead => Err("invalid_grant".to_owned()),
            Some(known) if known.expires <= now => Err(switches.expired_refresh_code.clone()),
            Some(known) => match (known.used, switches.rotation) {
                (Some(used), Rotation::Strict) if used + grace <= now => {
                    Err("invalid_grant".to_owned())
                }
                _ => Ok(known.owner.clone()),
            },
        };
        if let Err(code) = &verdict {
            let chain = found.as_ref().map_or(0, |known| known.chain);
            self.history.note(chain, Some(token), None, code);
            let reused = found.is_some_and(|known| known.used.is_some());
            if reused && switches.reuse_kills_chain {
                self.kill(|known| known.chain == chain);
            }
        }
        verdict
    }

    /// Commits a refresh that [`Tokens::examine`] found good: the rotation itself.
    pub(super) fn rotate(&mut self, token: &str, switches: &Switches) -> Option<Pair> {
        let used = self.refresh.get_mut(token)?;
        used.used.get_or_insert_with(Instant::now);
        let (owner, chain, old) = (used.owner.clone(), used.chain, used.access.clone());
        if switches.old_access_dies
            && let Some(access) = self.access.get_mut(&old)
        {
            access.end = Some(End::Replaced);
        }
        let pair = self.pair(owner, chain, switches);
        self.history.note(chain, Some(token), Some(&pair.refresh_token), "rotated");
        Some(pair)
    }

    /// A new access token beside an unchanged refresh token.
    pub(super) fn renew_access(&mut self, token: &str, switches: &Switches) -> Option<Pair> {
        let known = self.refresh.get(token)?.clone();
        let mut pair = self.pair(known.owner, known.chain, switches);
        self.refresh.remove(&pair.refresh_token);
        token.clone_into(&mut pair.refresh_token);
        self.history.note(known.chain, Some(token), None, "kept");
        Some(pair)
    }

    /// What the portal finds out about an access token.
    pub(super) fn judge(&self, token: &str) -> Verdict {
        match self.access.get(token) {
            None => Verdict::Unknown,
            Some(access) if access.end == Some(End::Uninstalled) => Verdict::Unknown,
            Some(access) if access.end == Some(End::Replaced) => Verdict::Replaced,
            Some(access) if access.expires <= Instant::now() => Verdict::Expired,
            Some(access) => Verdict::Good(access.clone()),
        }
    }

    /// When an access token expires, unix seconds.
    pub(super) fn expires(&self, token: &str) -> u64 {
        let left = |access: &Access| access.expires.saturating_duration_since(Instant::now());
        text::unix_seconds() + self.access.get(token).map_or(0, |access| left(access).as_secs())
    }

    /// Whose access token this is or was.
    pub(super) fn owner_of_access(&self, token: &str) -> Option<&Owner> {
        self.access.get(token).map(|access| &access.owner)
    }

    /// Whose refresh token or code this is or was.
    pub(super) fn owner_of_grant(&self, token: &str) -> Option<&Owner> {
        let refresh = self.refresh.get(token).map(|known| &known.owner);
        refresh.or_else(|| self.codes.get(token).map(|(owner, _)| owner))
    }

    /// Notes that a refresh token was refused for what has become of its portal.
    pub(super) fn turn_away(&mut self, token: &str, code: &str) {
        let chain = self.refresh.get(token).map_or(0, |known| known.chain);
        self.history.note(chain, Some(token), None, code);
    }

    /// Ends every token and code of a portal for good.
    pub(super) fn uninstall(&mut self, member_id: &str) {
        let mine = |owner: &Owner| owner.member_id == member_id;
        let accesses = self.access.values_mut().filter(|access| mine(&access.owner));
        accesses.for_each(|access| access.end = Some(End::Uninstalled));
        self.kill(|known| mine(&known.owner));
        self.codes.retain(|_, (owner, _)| !mine(owner));
    }

    /// Notes that the portal took an access token.
    pub(super) fn note_use(&mut self, token: &str) {
        if let Some(access) = self.access.get(token) {
            self.history.note_use(access.event);
        }
    }

    /// How many events there were.
    pub(super) fn events(&self) -> usize {
        self.history.count()
    }

    /// Notes which fault hit the answer to the latest event.
    pub(super) fn note_fault(&mut self, name: String) {
        self.history.note_fault(name);
    }

    /// The text of every token that is not forgotten.
    pub(super) fn texts(&self) -> Vec<String> {
        self.order.iter().cloned().collect()
    }

    /// Ends the life of every access token.
    pub(super) fn expire_all(&mut self) {
        let now = Instant::now();
        self.access.values_mut().for_each(|access| access.expires = access.expires.min(now));
    }

    /// Makes every refresh token invalid.
    pub(super) fn kill_all(&mut self) {
        self.kill(|_| true);
    }

    /// Forgets an access token, as if it had never been issued.
    pub(super) fn forget(&mut self, token: &str) {
        self.access.remove(token);
    }

    /// The access tokens that would be accepted, youngest first: fingerprint, age, time left.
    pub(super) fn live(&self) -> Vec<(String, u64, u64)> {
        let now = Instant::now();
        let good =
            self.access.iter().filter(|(_, access)| access.end.is_none() && access.expires > now);
        let mut live: Vec<_> = good
            .map(|(token, access)| {
                let age = text::millis(now - access.issued);
                (text::fingerprint(token), age, text::millis(access.expires - now))
            })
            .collect();
        live.sort_by_key(|(_, age, _)| *age);
        live
    }

    fn kill(&mut self, which: impl Fn(&Refresh) -> bool) {
        self.refresh.values_mut().filter(|known| which(known)).for_each(|known| known.dead = true);
    }

    fn pair(&mut self, owner: Owner, chain: u64, switches: &Switches) -> Pair {
        let (ttl, now) = (switches.token_ttl(), Instant::now());
        let (lifetime, user) = (switches.token_ttl_ms.div_ceil(1_000), owner.user_id);
        let expires = text::unix_seconds() + lifetime;
        let access_token = wire_token(expires, user);
        let refresh_token =
            wire_token(text::unix_seconds() + switches.refresh_ttl_ms / 1_000, user);
        let access = Access {
            owner: owner.clone(),
            issued: now,
            expires: now + ttl,
            end: None,
            event: self.events(),
        };
        let refresh = Refresh {
            owner: owner.clone(),
            chain,
            expires: now + switches.refresh_ttl(),
            used: None,
            dead: false,
            access: access_token.clone(),
        };
        self.access.insert(access_token.clone(), access);
        self.refresh.insert(refresh_token.clone(), refresh);
        self.order.push_back(access_token.clone());
        self.order.push_back(refresh_token.clone());
        while self.order.len() > TOKENS_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.access.remove(&oldest);
                self.refresh.remove(&oldest);
            }
        }
        Pair { access_token, refresh_token, owner, expires_in: lifetime, expires }
    }
}

/// A token of today's wire format, 35 bytes in hex: expiry (little endian), app, portal and user
/// (big endian), time zone offset, event hops, and 16 bytes that are a signature there and random
/// here. Undocumented, but stable from 2021 to 2026.
fn wire_token(expires: u64, user: u32) -> String {
    let mut bytes = Vec::with_capacity(35);
    bytes.extend_from_slice(&u32::try_from(expires).unwrap_or(u32::MAX).to_le_bytes());
    for number in [APP_NUMBER, PORTAL_NUMBER, user] {
        bytes.extend_from_slice(&number.to_be_bytes());
    }
    bytes.extend_from_slice(&[0; 3]);
    let mut signature = [0; 16];
    text::fill_random(&mut signature);
    bytes.extend_from_slice(&signature);
    text::hex(&bytes)
}

/// Bitrix24 REST docs, OAuth: a code must be exchanged within 30 seconds.
const CODE_TTL: Duration = Duration::from_secs(30);
const TOKENS_MAX: usize = 200_000;
const APP_NUMBER: u32 = 0x0001_4e2f;
const PORTAL_NUMBER: u32 = 0x0000_a3c1;
