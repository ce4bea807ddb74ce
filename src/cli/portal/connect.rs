//! `b24gate portal connect`: a login with a browser, from the link to how it ended.

use std::io::{BufRead as _, Read as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use tokio::time::Instant;
use zeroize::Zeroizing;

use super::{Failure, ask_running, failed, unclear};
use crate::cli::output::say;
use crate::control::{Reply, Request};
use crate::credential::Secret;

/// How the login is to go.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    pub(super) paste: bool,
    pub(super) replace: bool,
}

/// Whether the link is opened here, too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Browser {
    Open,
    Leave,
}

/// Begins a login and waits until it has ended. A command that is stopped leaves it to expire.
pub(super) async fn run(
    state: &Path,
    name: &str,
    wish: Wish,
    browser: Browser,
) -> Result<String, Failure> {
    let Wish { paste, replace } = wish;
    let request = Request::Connect { portal: name.to_owned(), paste, replace };
    let Reply::Login { id, link, expires_in } = ask_running(state, &request).await? else {
        return Err(unclear());
    };
    let minutes = expires_in / 60;
    if paste {
        say(&format!(
            "Open this link in a browser, log in to the portal and let the application in:\n\n  \
             {link}\n\nThe browser ends on an address with code=... in it, whether a page comes up \
             there or not. Paste\nthat address here within 30 seconds, or the code that the \
             portal shows:"
        ));
        return ended(name, paste_in(state, id).await?);
    }
    let opened = browser == Browser::Open && open(&link, &|name| std::env::var(name).ok());
    let how = if opened {
        "A browser opens this link; log in to the portal there"
    } else {
        "Open this link in a browser and log in to the portal"
    };
    say(&format!(
        "{how}. It works once, for {minutes} minutes:\n\n  {link}\n\nWaiting for the login; Ctrl-C \
         leaves it to expire."
    ));
    wait(state, name, id, Duration::from_secs(expires_in)).await
}

async fn wait(state: &Path, name: &str, id: String, life: Duration) -> Result<String, Failure> {
    let request = Request::LoginOutcome { id };
    let end = Instant::now() + life + EXCHANGE;
    while Instant::now() < end {
        match ask_running(state, &request).await? {
            Reply::UnderWay => tokio::time::sleep(STEP).await,
            reply => return ended(name, reply),
        }
    }
    Err(failed(format!("portal {name}: nobody finished the login; begin it again")))
}

async fn paste_in(state: &Path, id: String) -> Result<Reply, Failure> {
    let mut line = Zeroizing::new(String::with_capacity(LINE_MAX));
    let read = std::io::stdin().lock().take(LINE_MAX as u64).read_line(&mut line);
    read.map_err(|error| failed(format!("standard input: {error}")))?;
    if line.trim().is_empty() {
        return Err(failed("nothing was pasted; begin the login again"));
    }
    ask_running(state, &Request::Paste { id, pasted: Secret::new(line.trim()) }).await
}

fn ended(name: &str, reply: Reply) -> Result<String, Failure> {
    match reply {
        Reply::Connected(text) => Ok(format!("portal {name}: {text}")),
        Reply::NotConnected(text) => Err(failed(format!("portal {name}: {text}"))),
        _ => Err(unclear()),
    }
}

/// Opens the link where there is a browser to look at; says whether it tried.
fn open(link: &str, variable: &dyn Fn(&str) -> Option<String>) -> bool {
    let Some(program) = browser(rustix::process::geteuid().is_root(), variable) else {
        return false;
    };
    let mut command = Command::new(program);
    // What browsers say is not for this terminal.
    command.arg(link).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().is_ok()
}

/// The program that opens a link for the person in front of it, by what the environment tells. As
/// root over ssh it would be root's browser on the screen of somebody else.
fn browser(is_root: bool, variable: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let given = |name: &str| variable(name).filter(|value| !value.is_empty());
    let remote = given("SSH_CONNECTION").is_some() || given("SSH_TTY").is_some();
    let graphical = given("DISPLAY").is_some() || given("WAYLAND_DISPLAY").is_some();
    if !graphical || (is_root && remote) {
        return None;
    }
    // A list, whose first entry is preferred, or a pattern for shells, which is left to xdg-open.
    let named = given("BROWSER").and_then(|list| list.split(':').next().map(str::to_owned));
    let plain = named.filter(|name| !name.is_empty() && !name.contains(['%', ' ']));
    Some(plain.unwrap_or_else(|| "xdg-open".to_owned()))
}

/// Longest line read, bytes; a redirected address has about 400.
const LINE_MAX: usize = 8 * 1024;

/// Between two questions.
const STEP: Duration = Duration::from_millis(300);

/// A login that was finished in its last second may still be exchanging its code.
const EXCHANGE: Duration = Duration::from_mins(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_is_opened_only_for_a_person_in_front_of_it() {
        let here = [("DISPLAY", ":0")];
        let wayland = [("WAYLAND_DISPLAY", "wayland-0"), ("BROWSER", "firefox:lynx")];
        let over_ssh = [("DISPLAY", "localhost:10"), ("SSH_CONNECTION", "a b"), ("BROWSER", "")];
        let shell = [("DISPLAY", ":0"), ("BROWSER", "sh -c '%s'")];
        let terminal = [("BROWSER", "lynx")];
        for (is_root, environment, want) in [
            (false, &here[..], Some("xdg-open")),
            (true, &here, Some("xdg-open")),
            (false, &wayland, Some("firefox")),
            (false, &over_ssh, Some("xdg-open")),
            (true, &over_ssh, None),
            (false, &shell, Some("xdg-open")),
            (false, &terminal, None),
            (false, &[], None),
        ] {
            let variable = |name: &str| {
                let found = environment.iter().find(|(own, _)| *own == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            let found = browser(is_root, &variable);
            assert_eq!(found.as_deref(), want, "{is_root} {environment:?}");
        }
    }
}
