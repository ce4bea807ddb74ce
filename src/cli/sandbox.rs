//! `b24gate sandbox`: the whole thing on one machine, with nothing to set up and nothing kept.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use time::OffsetDateTime;

use super::output::{complain, say};
use super::{Exit, Global, SandboxOptions, control_runtime};
use crate::app::{App, Source, StartError};
use crate::ca::Authority;
use crate::config::Config;
use crate::credential::{Grant, Replace, unix_now};
use crate::sandbox::{self, Options, Sandbox, Seed};
use crate::store::StateDirectory;

/// Runs the simulated portal, and the gateway before it unless it is not wanted.
pub(super) fn run(_global: &Global, options: &SandboxOptions) -> Exit {
    let runtime = match control_runtime() {
        Ok(runtime) => runtime,
        Err(exit) => return exit,
    };
    let listen = options.listen.unwrap_or_else(|| SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let outcome = runtime.block_on(async {
        if options.portal_only {
            return sandbox::run_portal_only(listen)
                .await
                .map_err(|source| StartError::System { what: "starting the portal", source });
        }
        Box::pin(with_gateway(listen)).await
    });
    match outcome {
        Ok(()) => Exit::Done,
        Err(error) => {
            complain(&error.to_string());
            Exit::of_code(error.exit_code())
        }
    }
}

async fn with_gateway(listen: SocketAddr) -> Result<(), StartError> {
    let failed = |what| move |source| StartError::System { what, source };
    let portal =
        Sandbox::start(Options::for_people(listen)).await.map_err(failed("starting the portal"))?;
    let seed = portal.seed();
    let directory = tempfile::tempdir().map_err(failed("making a state directory"))?;
    let config = Config::parse(&configuration(&seed), Path::new("sandbox.toml"))
        .map_err(|error| StartError::Sandbox(error.to_string()))?;
    let callback = config.callback.public_url.trim_end_matches('/').to_owned();
    let settings = serde_json::json!({
        "redirect_uri": format!("{callback}/oauth/callback"),
        "handler_url": format!("{callback}/install"),
        "event_url": format!("{callback}/events"),
        "authorize_page": true,
    });
    portal.control().switch(&settings).map_err(StartError::Sandbox)?;
    let state = StateDirectory::open(&directory.path().join("state"))
        .map_err(|error| StartError::Sandbox(error.to_string()))?;
    Authority::open(state.path(), OffsetDateTime::now_utc())?;
    let certificate = Authority::path(state.path()).display().to_string();
    let app = Box::pin(App::start(config, state)).await?;
    let response = seed.token_response.to_string();
    let grant = Grant::parse(response.as_bytes(), unix_now())
        .map_err(|error| StartError::Sandbox(error.to_string()))?;
    let portal = app.portals().by_name(NAME);
    if let Some(credential) = portal.as_ref().and_then(|portal| portal.credential()) {
        let adopted = credential.adopt(grant, Replace::No).await;
        adopted.map_err(|error| StartError::Sandbox(error.to_string()))?;
    }
    let address = app.addresses().first().cloned().unwrap_or_default();
    say(&introduction(&address, app.admin_url(), &seed, &certificate));
    Box::pin(app.run(Source::Fixed)).await;
    Ok(())
}

fn configuration(seed: &Seed) -> String {
    format!(
        "[apps.sandbox]\nclient_id = \"{}\"\nclient_secret = \"{}\"\noauth_server = \"{}\"\n\n\
         [portals.{NAME}]\nurl = \"{}\"\n",
        seed.client_id, seed.client_secret, seed.oauth_url, seed.portal_url
    )
}

fn introduction(gateway: &str, admin: &str, seed: &Seed, certificate: &str) -> String {
    let portal = &seed.portal_url;
    let secure = gateway.replacen("http://", "https://", 1);
    let lives = seed.expires_in;
    format!(
        "
  The gateway listens on       {gateway}
  Its status page is           {admin}
  A simulated portal stands at {portal}
  Its access tokens live {lives} seconds; nothing here is kept.

  Try, in another terminal:

    1.  curl {gateway}/rest/profile
        No token goes in, an answer comes out.

    2.  while sleep 1; do curl -s -o /dev/null -w '%{{http_code}} ' {gateway}/rest/profile; done
        Watch the log below: every {lives} s the token expires and is renewed; the answers stay 200.

    3.  curl -X POST {portal}/sandbox/expire; curl -i {gateway}/rest/profile
        The portal refuses the token of this very call; see X-B24-Replayed in the answer.

    4.  Open {admin} in a browser and click \"Connect\".
        The portal asks whether you allow it, and the gateway holds a token that you gave it.

    5.  Open {portal}/sandbox/app in a browser.
        That is the application as a portal shows it: it installs itself in the frame.

    6.  curl {portal}/sandbox/event -d '{{\"event\": \"ONAPPINSTALL\"}}'
        Bitrix24 tells the gateway of an installation; see the log below and the status page.

    7.  curl --cacert {certificate} {secure}/rest/profile
        The same port speaks https; `b24gate ca` says how tools come to trust a gateway of yours.

  More to switch: {portal}/sandbox/     Stop with Ctrl-C.
"
    )
}

/// The portal's name in the gateway.
const NAME: &str = "sandbox";
