//! The local authority in the long run, and its key among what nobody may see.

use std::process::Command;

use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::pki_types::pem::PemObject;

use crate::support::{Gate, hex};

use super::Run;
use super::search::Needle;

impl Run {
    /// The command, a handshake that fails, and a call behind one that does not.
    pub(super) async fn calls_in_tls(&mut self, gate: &Gate) {
        self.command(&["ca"], "");
        self.command(&["ca", "--pem"], "");
        let url = format!("https://{}/rest/profile", gate.address);
        let authority = self.setup.state().join("ca.pem");
        for trusted in ["/dev/null", authority.to_str().unwrap()] {
            let mut curl = Command::new("curl");
            curl.args(["-vsi", "--noproxy", "*", "--max-time", "20", "--cacert", trusted, &url]);
            let output = tokio::task::spawn_blocking(move || curl.output().unwrap()).await.unwrap();
            assert_eq!(output.status.success(), trusted != "/dev/null", "{output:?}");
            self.keep(format!("https with {trusted}"), &[output.stdout, output.stderr].concat());
        }
    }

    /// The authority's key as it lies in its file, and the number in it.
    pub(super) fn authority(&self) -> [Needle; 2] {
        let file = self.setup.state().join("ca.key");
        let pem = std::fs::read_to_string(&file).unwrap();
        let key = PrivatePkcs8KeyDer::from_pem_slice(pem.as_bytes()).unwrap();
        // Neither the frame of every key nor the public half of this one.
        let number = key.secret_pkcs8_der().get(36..68).unwrap();
        [
            Needle::of("the authority's key", pem.lines().nth(2).unwrap()),
            Needle::of("the number in the authority's key", &hex(number)),
        ]
    }
}
