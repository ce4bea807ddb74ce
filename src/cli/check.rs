//! `b24gate check`: looks at everything that can be looked at without a token, and says of each
//! thing in one line whether it is right, and if not, how to mend it.

mod certificate;
mod listeners;
mod openings;
mod reach;

use std::path::Path;

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::config::{Access, Callback, Config, Endpoint, Fault, Plan, Portal};

use super::output::{complain, say};
use super::{Exit, Global};

/// What was found out about one thing.
#[derive(Debug, PartialEq, Eq)]
enum Finding {
    /// It is right.
    Right(String),
    /// It is right, and good to know.
    Note(String),
    /// It has to be mended, and what that makes of the exit code.
    Wrong(Exit, String),
}

/// Prints findings and keeps the gravest.
#[derive(Debug)]
struct Report {
    exit: Exit,
}

/// Runs every check.
pub(super) fn run(global: &Global) -> Exit {
    let mut report = Report { exit: Exit::Done };
    let config = match Config::load(global.config.as_deref()) {
        Ok(config) => Some(config),
        Err(error) => {
            for problem in error.problems() {
                let exit = match problem.fault {
                    Fault::Invalid => Exit::Usage,
                    Fault::UnsafeFile => Exit::UnsafeFiles,
                };
                report.add(Finding::Wrong(exit, problem.to_string()));
            }
            None
        }
    };
    let directory = global.state_directory();
    match &directory {
        Ok(directory) => report.all(state(directory)),
        Err(exit) => report.exit = report.exit.or_graver(*exit),
    }
    if let Some(config) = config {
        report.all(settings(&config));
        report
            .all(directory.map_or_else(|_told| Vec::new(), |it| certificate::check(&config, &it)));
        report.all(openings::check(&config, &openings::Machine::look(&config)));
        if let Err(error) = on_the_network(&config, &mut report) {
            complain(&format!("cannot check ports and portals: {error}"));
            report.exit = report.exit.or_graver(Exit::Failed);
        }
    }
    report.exit
}

fn settings(config: &Config) -> Vec<Finding> {
    let mut findings = vec![Finding::Right(match &config.source {
        Some(file) => format!("configuration: {}", file.display()),
        None => "configuration: there is no file, the defaults hold".to_owned(),
    })];
    findings.extend(config.warnings.iter().cloned().map(Finding::Note));
    if config.admin.password.is_some() {
        findings.push(Finding::Right("admin: password_file holds a password".to_owned()));
    }
    findings.extend(callback(config).map(Finding::Note));
    let open = config.open_apps();
    findings.extend(open.map(|app| {
        let (name, url) = (&app.name, config.install_url());
        Finding::Note(format!("apps.{name}: portals that install it are taken in at {url}"))
    }));
    if config.portals.is_empty() && config.open_apps().next().is_none() {
        let text =
            "portals: there is none; add [apps.main] and [portals.NAME] to the configuration";
        findings.push(Finding::Note(text.to_owned()));
    }
    for portal in config.portals.values() {
        let name = &portal.name;
        if let Access::IncomingWebhook(webhook) = &portal.access {
            let user = webhook.user_id;
            findings.push(Finding::Note(format!(
                "portals.{name}: calls run with the rights of user {user}, whose incoming webhook it \
                 holds; nobody renews it, and it ends when it is deleted in the portal"
            )));
        }
        findings.extend(portal.ca_file.as_deref().map(|file| ca_file(portal, file)));
        if portal.plan != Plan::Unlimited {
            findings.push(Finding::Note(format!(
                "portals.{name}: plan is recorded; this version does not hold calls back by it yet"
            )));
        }
    }
    findings
}

/// Where Bitrix24 and browsers come back to, seen from outside.
fn callback(config: &Config) -> Option<String> {
    let Callback { listen, public_url } = &config.callback;
    let here = listen.ip().to_canonical().is_loopback();
    let public = Endpoint::of_url(public_url).is_some_and(|url| !url.is_loopback());
    match (here, public) {
        (true, true) => Some(format!(
            "callback: {listen} is reached from this machine only; a reverse proxy or a tunnel has to \
             pass on to it what comes to {public_url}"
        )),
        (false, true) => Some(format!(
            "callback: {listen} speaks HTTP; something in front of it has to speak https:// for \
             {public_url}"
        )),
        (false, false) => Some(format!(
            "callback: {listen} is reached from other machines, and public_url {public_url} leads \
             them to themselves; write the address that is entered in Bitrix24"
        )),
        (true, false) => None,
    }
}

fn on_the_network(config: &Config, report: &mut Report) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_io()
        .enable_time()
        .build()?;
    runtime.block_on(async {
        report.all(listeners::check(config).await);
        report.all(reach::check(config).await);
    });
    // A name server that does not answer must not hold up the end.
    runtime.shutdown_background();
    Ok(())
}

fn ca_file(portal: &Portal, file: &Path) -> Finding {
    let name = format!("portals.{}: ca_file {}", portal.name, file.display());
    let wrong = |text: &str| Finding::Wrong(Exit::Usage, format!("{name} {text}"));
    let certificates = match CertificateDer::pem_file_iter(file) {
        Ok(certificates) => certificates,
        Err(rustls::pki_types::pem::Error::Io(error)) => {
            return wrong(&format!("cannot be read: {error}"));
        }
        Err(_) => return wrong(NOT_PEM),
    };
    let mut roots = RootCertStore::empty();
    for certificate in certificates {
        let Ok(certificate) = certificate else {
            return wrong(NOT_PEM);
        };
        if roots.add(certificate).is_err() {
            return wrong("holds a certificate that cannot be used; export it again");
        }
    }
    match roots.len() {
        0 => wrong(NOT_PEM),
        1 => Finding::Right(format!("{name} holds a certificate")),
        count => Finding::Right(format!("{name} holds {count} certificates")),
    }
}

fn state(directory: &Path) -> Vec<Finding> {
    let shown = directory.display();
    if !directory.exists() {
        let text = format!("state: {shown} does not exist yet; it is made at the first start");
        return vec![Finding::Note(text)];
    }
    let problems = crate::store::inspect(directory);
    if problems.is_empty() {
        return vec![Finding::Right(format!("state: {shown}"))];
    }
    let wrong = |problem| Finding::Wrong(Exit::UnsafeFiles, format!("state: {problem}"));
    problems.into_iter().map(wrong).collect()
}

// === impl Report ===

impl Report {
    fn all(&mut self, findings: Vec<Finding>) {
        for finding in findings {
            self.add(finding);
        }
    }

    fn add(&mut self, finding: Finding) {
        match finding {
            Finding::Right(text) => say(&format!("ok     {text}")),
            Finding::Note(text) => say(&format!("note   {text}")),
            Finding::Wrong(exit, text) => {
                say(&format!("WRONG  {text}"));
                self.exit = self.exit.or_graver(exit);
            }
        }
    }
}

impl Exit {
    /// A wrong configuration outweighs unsafe files, and those outweigh everything else.
    fn or_graver(self, other: Self) -> Self {
        let weight = |exit: Self| match exit {
            Self::Done => 0,
            Self::Failed => 1,
            Self::UnsafeFiles => 2,
            Self::Usage => 3,
        };
        if weight(other) > weight(self) { other } else { self }
    }
}

const NOT_PEM: &str = "holds no PEM certificate; it begins with -----BEGIN CERTIFICATE-----";

#[cfg(test)]
mod tests;
