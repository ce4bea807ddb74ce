//! A portal, a gateway and a browser that find each other as they do outside: the portal under one
//! host, the gateway's callback under another, Bitrix24's library behind TLS.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use b24gate::sandbox::{Options, Sandbox, Seed};
use rcgen::{CertificateParams, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};

use crate::support::browser::{Browser, Manner};
use crate::support::front::Front;
use crate::support::{Gate, Setup};

pub(crate) struct World {
    pub(crate) portal: Sandbox,
    pub(crate) seed: Seed,
    pub(crate) gate: Gate,
    /// The gateway's public address.
    pub(crate) public_url: String,
    /// Where the portal stands when it is behind TLS.
    pub(crate) front: Front,
    /// Its certificate is in there.
    _folder: tempfile::TempDir,
}

impl World {
    /// A portal that is configured and not connected. `secure` is a portal behind TLS.
    pub(crate) async fn start(secure: bool) -> Self {
        let portal = Sandbox::start(Options::apart()).await.unwrap();
        let (tls, certificate) = certificate();
        let front = Front::before(portal.address(), tls).await;
        let (door, gateway) = door().await;
        let public_url = format!("http://localhost:{}", door.port());
        let control = portal.control();
        let settings = json!({
            "redirect_uri": format!("{public_url}/oauth/callback"),
            "handler_url": format!("{public_url}/install"),
            "event_url": format!("{public_url}/events"),
            "authorize_page": true, "installed": false,
        });
        control.switch(&settings).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut setup = Setup::of(&portal.seed()).portal("inject = \"bearer\"");
        if secure {
            let url = format!("https://localhost:{}", front.address.port());
            control.switch(&json!({"portal_url": url})).unwrap();
            let file = folder.path().join("portal.pem");
            std::fs::write(&file, certificate).unwrap();
            setup = setup.only_portal(&format!(
                "url = \"{url}\"\ninject = \"bearer\"\nca_file = \"{}\"",
                file.display()
            ));
        }
        let seed = portal.seed();
        let gate = setup.callback(&format!("public_url = \"{public_url}\"")).start();
        gateway.set(gate.callback).unwrap();
        Self { portal, seed, gate, public_url, front, _folder: folder }
    }

    /// A browser that looks for Bitrix24's library at the portal.
    pub(crate) fn browser(&self) -> Browser {
        self.manner().start()
    }

    pub(crate) fn manner(&self) -> Manner {
        Manner::default().map("api.bitrix24.com", self.front.address).trusting()
    }

    pub(crate) fn status_page(&self) -> String {
        format!("http://{}/", self.gate.admin)
    }

    /// The portal connected, as by an import.
    pub(crate) async fn connected() -> Self {
        let world = Self::start(false).await;
        world.gate.setup().import(&world.seed);
        world
    }
}

/// What the console has to complain about, besides of icons.
pub(crate) fn complaints(browser: &Browser) -> Vec<String> {
    let said = browser.console();
    said.into_iter().filter(|line| !line.contains("favicon.ico")).collect()
}

/// An address that is known before the gateway has one, and leads to it.
async fn door() -> (SocketAddr, Arc<OnceLock<SocketAddr>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, target) = (listener.local_addr().unwrap(), Arc::new(OnceLock::new()));
    let known: Arc<OnceLock<SocketAddr>> = target.clone();
    tokio::spawn(async move {
        while let Ok((mut near, _)) = listener.accept().await {
            let Some(&to) = known.get() else { continue };
            tokio::spawn(async move {
                let Ok(mut far) = TcpStream::connect(to).await else { return };
                drop(tokio::io::copy_bidirectional(&mut near, &mut far).await);
            });
        }
    });
    (address, target)
}

fn certificate() -> (Arc<ServerConfig>, String) {
    let names = ["localhost", "api.bitrix24.com"].map(str::to_owned);
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(names).unwrap().self_signed(&key).unwrap();
    let secret = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
    let server = builder.with_single_cert(vec![certificate.der().clone()], secret).unwrap();
    (Arc::new(server), certificate.pem())
}
