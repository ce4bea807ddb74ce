//! `b24gate portal import`: a pair from standard input, in whatever form it was kept.

use std::io::{IsTerminal as _, Read};
use std::path::Path;

use zeroize::Zeroizing;

use super::show::distance;
use super::{Failure, USAGE, ask, chain, failed, known, open, unclear};
use crate::config::Config;
use crate::control::{Reply, Request};
use crate::credential::{
    Admitted, Form, FormError, Grant, IntakeError, Replace, take_in, unix_now,
};

/// Longest input read, bytes.
const INPUT_MAX: u64 = 64 * 1024;

/// Reads a pair from standard input and brings it to the portal.
pub(super) async fn run(
    config: &Config,
    state: &Path,
    name: &str,
    replace: Replace,
) -> Result<String, Failure> {
    let input = std::io::stdin();
    if input.is_terminal() {
        let text = format!(
            "nothing is piped in; give the token response as JSON on standard input:\n  \
             b24gate portal import {name} < token.json"
        );
        return Err(Failure { code: USAGE, text });
    }
    import_from(config, state, name, replace, input).await
}

pub(super) async fn import_from(
    config: &Config,
    state: &Path,
    name: &str,
    replace: Replace,
    input: impl Read,
) -> Result<String, Failure> {
    known(config, name)?;
    let (grant, form) = read(input)?;
    let expires_at = grant.expires_at;
    let asked = replace == Replace::Yes;
    let request = Request::Import { portal: name.to_owned(), grant, replace: asked };
    let admitted = match ask(state, &request).await? {
        Some(Reply::Imported(admitted)) => admitted,
        Some(_) => return Err(unclear()),
        None => {
            let Request::Import { grant, .. } = request else {
                return Err(failed("no grant"));
            };
            let (_state, store) = open(config, state).await?;
            let taken = take_in(&store, name, &grant, replace).await;
            store.close().await;
            taken.map_err(|error| not_taken(name, &error))?
        }
    };
    Ok(format!("portal {name}: {} (read as {form})", outcome(&admitted, expires_at)))
}

fn not_taken(name: &str, error: &IntakeError) -> Failure {
    match error {
        IntakeError::Refused(refused) => failed(format!("portal {name}: {refused}")),
        IntakeError::Exchange(failure) => failed(format!("portal {name}: {failure}")),
        IntakeError::Store(error) => failed(chain(error)),
    }
}

fn read(input: impl Read) -> Result<(Grant, Form), Failure> {
    let mut body = Zeroizing::new(Vec::with_capacity(16 * 1024));
    input
        .take(INPUT_MAX + 1)
        .read_to_end(&mut body)
        .map_err(|error| failed(format!("standard input: {error}")))?;
    if body.len() as u64 > INPUT_MAX {
        return Err(failed("standard input is longer than 64 KiB: not a token response"));
    }
    Grant::read_stored(&body, unix_now()).map_err(|error| {
        let form_is_known = matches!(
            error,
            FormError::Missing { form: Some(_), .. }
                | FormError::Malformed { form: Some(_), .. }
                | FormError::Several(_)
        );
        let wanted = if form_is_known { "" } else { WANTED };
        failed(format!("standard input: {error}{wanted}"))
    })
}

fn outcome(admitted: &Admitted, expires_at: Option<u64>) -> String {
    match admitted {
        Admitted::Active { generation, old_kept } => {
            let old = if *old_kept { "; the one that was in use is kept as a spare" } else { "" };
            format!("credential stored, generation {generation}, {}{old}", expiry(expires_at))
        }
        Admitted::Spare { chain, dropped } => {
            let dropped = dropped.map_or_else(String::new, |dropped| {
                format!("; the oldest spare (chain {dropped}) made room for it")
            });
            format!(
                "kept as a spare (chain {chain}); it takes over when the one in use dies{dropped}"
            )
        }
        Admitted::Known { chain, generation, active: true, dead: false } => format!(
            "this pair is the one in use (chain {chain}, generation {generation}); nothing to do"
        ),
        Admitted::Known { chain, generation, active: true, dead: true } => format!(
            "this pair is the one in use (chain {chain}, generation {generation}), and it is dead: \
             bring another one, or have this one tried again with --replace"
        ),
        Admitted::Known { chain, generation, active: false, .. } => format!(
            "this pair is kept as a spare already (chain {chain}, generation {generation}); \
             nothing to do"
        ),
    }
}

fn expiry(expires_at: Option<u64>) -> String {
    let now = unix_now();
    match expires_at {
        None => "expiry unknown".to_owned(),
        Some(at) if at > now => format!("expires {}", distance(at, now)),
        Some(at) => format!("expired {} (it is renewed at its first use)", distance(at, now)),
    }
}

const WANTED: &str = "; a token response is wanted, such as {\"access_token\": \"...\", \
                      \"refresh_token\": \"...\", \"expires_in\": 3600}, or what CRest, b24phpsdk \
                      or b24jssdk stored";
