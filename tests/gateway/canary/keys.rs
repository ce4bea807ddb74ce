//! The keys of clients: each is printed once, by the command that makes it.

use serde_json::Value;

use super::Run;
use crate::support::Gate;

impl Run {
    /// A client with two keys, which calls in all the ways there are.
    pub(super) async fn client(&mut self, gate: &Gate) {
        let first = self.key(&["client", "add", "canary", "--method", "profile"]);
        let second = self.key(&["client", "rotate", "canary", "--overlap", "1h"]);
        for key in [&first, &second] {
            let plain = "Host: localhost\r\n\r\n";
            for request in [
                format!("GET /rest/1/{key}/profile HTTP/1.1\r\n{plain}"),
                format!("GET /rest/1/{key}/crm.deal.list HTTP/1.1\r\n{plain}"),
                format!("GET /nobody/rest/1/{key}/profile HTTP/1.1\r\n{plain}"),
                format!("GET /rest/profile?auth={key} HTTP/1.1\r\n{plain}"),
                format!("GET /rest/no.such?access_token={key} HTTP/1.1\r\n{plain}"),
                format!("GET /rest/profile HTTP/1.1\r\nAuthorization: Bearer {key}\r\n{plain}"),
                format!("DELETE /rest/1/{key}/profile HTTP/1.1\r\n{plain}"),
            ] {
                self.call_with(key, gate, request).await;
            }
        }
        self.command(&["client", "list"], "");
        self.command(&["client", "list", "--json"], "");
        assert!(!self.command(&["client", "add", "canary"], "").status.success());
        self.pages(gate).await;
        assert!(self.command(&["client", "remove", "canary"], "").status.success());
    }

    /// Makes a key. What the command prints besides is searched like everything else.
    fn key(&mut self, arguments: &[&str]) -> String {
        let output = self.setup.command(&[arguments, &["--json"]].concat(), "");
        assert!(output.status.success(), "{output:?}");
        let said: Value = serde_json::from_slice(&output.stdout).unwrap();
        let key = said["key"].as_str().unwrap().to_owned();
        self.keep("what is complained of when a key is made", &output.stderr);
        self.tokens.insert(key.clone());
        key
    }

    /// A call whose request line, with the key in it, is not what is searched.
    async fn call_with(&mut self, key: &str, gate: &Gate, request: String) {
        let line = request.lines().next().unwrap_or_default().replace(key, "KEY");
        let answer = crate::support::http::send(gate.address, request).await;
        self.keep_answer(&line, &answer);
    }
}
