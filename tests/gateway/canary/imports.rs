//! Pairs that are brought in, in every way that there is.

use b24gate::sandbox::Seed;
use serde_json::json;

use super::Run;

impl Run {
    /// A pair that is used from now on.
    pub(super) fn import(&mut self) {
        let pair = self.seed().token_response.to_string();
        assert!(self.command(&["portal", "import", "acme", "--replace"], &pair).status.success());
    }

    /// Pairs that wait, that are here already, and that are refused for whose they are.
    pub(super) fn import_more(&mut self) {
        let seed = self.seed();
        let pair = seed.token_response.to_string();
        let stranger = pair.replace(&seed.member_id, &"f".repeat(32));
        let kept = json!({"AUTH_ID": seed.access_token, "REFRESH_ID": seed.refresh_token});
        for (input, done) in
            [(stranger, false), (kept.to_string(), false), (pair.clone(), true), (pair, true)]
        {
            let output = self.command(&["portal", "import", "acme"], &input);
            assert_eq!(output.status.success(), done);
        }
        self.command(&["portal", "show", "acme", "--ledger", "1000"], "");
    }

    /// Imports that are refused, with a good pair's tokens in them.
    pub(super) fn import_wrongly(&mut self) {
        let Seed { access_token: access, refresh_token: refresh, .. } = self.seed();
        for input in [
            format!("{{\"access_token\": \"{access}\", \"refresh_token\": \"{refresh}\""),
            format!("{{\"access_token\": \"{access}\"}}"),
            format!("{{\"access_token\": \"{access}\", \"refresh_token\": [\"{refresh}\"]}}"),
            format!("{{\"access_token\": \"{access}\\r\\n\", \"refresh_token\": \"{refresh}\"}}"),
            format!("{{\"error\": \"{refresh}\", \"error_description\": \"{access}\"}}"),
            format!("<html>{access} {refresh}</html>"),
            format!("https://acme.bitrix24.com/rest/1/{refresh}/"),
            format!("{{\"accessToken\": \"{access}\", \"userId\": 1, \"refreshToken\": 7}}"),
            format!("{{\"AUTH_ID\": \"{access}\", \"APP_SID\": \"{refresh}\"}}"),
            format!("\"{refresh}\""),
        ] {
            assert!(!self.command(&["portal", "import", "acme"], &input).status.success());
        }
    }
}
