//! The lines that are pasted into tools, with a key in them.

use std::fmt::Write as _;

use zeroize::Zeroizing;

use crate::secret::Secret;

/// Where a key is shown.
#[derive(Debug)]
pub(super) struct Place {
    door: Door,
    /// What stands before `/rest/`.
    prefix: String,
    /// The portal that has to be named.
    portal: Option<String>,
}

#[derive(Debug)]
enum Door {
    /// A host, with its port.
    Tcp(String),
    /// A path.
    Unix(String),
}

/// A name and what is written behind it.
type Line = (&'static str, String);

impl Place {
    /// The first of `addresses` that tools of all kinds can use.
    pub(super) fn new(addresses: &[String], portal: Option<&str>) -> Self {
        let tcp = addresses.iter().find_map(|address| address.strip_prefix("http://"));
        let unix = addresses.iter().find_map(|address| address.strip_prefix("unix:"));
        let door = match (tcp, unix) {
            (Some(authority), _) => Door::Tcp(shown(authority)),
            (None, Some(path)) => Door::Unix(path.to_owned()),
            (None, None) => Door::Tcp("localhost".to_owned()),
        };
        let prefix = portal.map_or_else(String::new, |portal| format!("/{portal}"));
        Self { door, prefix, portal: portal.map(str::to_owned) }
    }

    /// For people.
    pub(super) fn text(&self, name: &str, key: &Secret) -> Zeroizing<String> {
        let mut text = room();
        let key_text = key.expose();
        // Writing to a String cannot fail.
        writeln!(
            text,
            "The key of client {name}. It is shown this once and kept nowhere; if it is lost: \
             b24gate client rotate {name}\n\n  {key_text}\n"
        )
        .unwrap_or_default();
        let (shapes, tools) = (self.shapes(key), self.tools(key));
        for (title, lines) in [("What tools ask for:", shapes), ("Ready to paste:", tools)] {
            if lines.is_empty() {
                continue;
            }
            writeln!(text, "{title}").unwrap_or_default();
            for (what, line) in lines.iter() {
                writeln!(text, "  {what:<16}{line}").unwrap_or_default();
            }
            writeln!(text).unwrap_or_default();
        }
        if let Some(portal) = &self.portal {
            writeln!(
                text,
                "It may call several portals, and none of them is the default: {portal} stands for \
                 the one to call.\nA client of one portal (--portal NAME) does not have to name it. \
                 Where {portal}.localhost is not\nfound, /etc/hosts needs the line: 127.0.0.1 \
                 {portal}.localhost\n"
            )
            .unwrap_or_default();
        }
        text.push_str(match self.door {
            Door::Tcp(_) => HTTPS,
            Door::Unix(_) => ONLY_UNIX,
        });
        text.push('\n');
        text
    }

    /// For scripts.
    pub(super) fn json(&self, name: &str, key: &Secret) -> Zeroizing<String> {
        let words = |lines: &[Line]| -> serde_json::Map<String, serde_json::Value> {
            let word = |what: &str| what.to_lowercase().replace(' ', "_");
            lines.iter().map(|(what, line)| (word(what), line.clone().into())).collect()
        };
        let told = serde_json::json!({
            "client": name,
            "key": key.expose(),
            "portal": self.portal,
            "shapes": words(&self.shapes(key)),
            "tools": words(&self.tools(key)),
        });
        let mut text = room();
        writeln!(text, "{told:#}").unwrap_or_default();
        text
    }

    /// The three places in which a tool can hold it.
    fn shapes(&self, key: &Secret) -> Zeroized {
        let (key, prefix) = (key.expose(), &self.prefix);
        let mut lines = Vec::new();
        if let Door::Tcp(host) = &self.door {
            lines.push(("webhook", format!("http://{host}{prefix}/rest/1/{key}/")));
            lines.push(("webhook https", format!("https://{host}{prefix}/rest/1/{key}/")));
            lines.push(("client_endpoint", format!("http://{host}{prefix}/rest/")));
            lines.push(("access_token", key.to_owned()));
        }
        lines.push(("header", format!("Authorization: Bearer {key}")));
        Zeroized(lines)
    }

    /// Constructors and commands.
    fn tools(&self, key: &Secret) -> Zeroized {
        let (key, prefix) = (key.expose(), &self.prefix);
        let host = match &self.door {
            Door::Tcp(host) => host,
            Door::Unix(path) => {
                let curl = format!(
                    "curl --unix-socket {path} http://localhost{prefix}/rest/1/{key}/profile"
                );
                return Zeroized(vec![("curl", curl)]);
            }
        };
        let hook = format!("{host}{prefix}/rest/1/{key}");
        // These take a host, and no path before `/rest/`.
        let domain = self.portal.as_ref().map_or_else(
            || host.clone(),
            |portal| {
                host.strip_prefix("localhost")
                    .map_or_else(|| host.clone(), |port| format!("{portal}.localhost{port}"))
            },
        );
        Zeroized(vec![
            ("fast_bitrix24", format!(r#"Bitrix("http://{hook}/")"#)),
            (
                "b24pysdk",
                format!(
                    r#"BitrixWebhook(domain="{domain}", webhook_token="1/{key}")   # REQUESTS_CA_BUNDLE"#
                ),
            ),
            (
                "b24jssdk",
                format!(
                    r#"B24Hook.fromWebhookUrl("https://{domain}/rest/1/{key}")   // NODE_EXTRA_CA_CERTS"#
                ),
            ),
            ("CRest", format!("define('C_REST_WEB_HOOK_URL', 'http://{hook}/');")),
            (
                "restCommand",
                format!(
                    "['client_endpoint' => 'http://{host}{prefix}/rest/', 'access_token' => '{key}']"
                ),
            ),
            ("curl", format!("curl http://{hook}/profile")),
        ])
    }
}

/// Lines that are wiped when they go.
struct Zeroized(Vec<Line>);

impl std::ops::Deref for Zeroized {
    type Target = [Line];

    fn deref(&self) -> &[Line] {
        &self.0
    }
}

impl Drop for Zeroized {
    fn drop(&mut self) {
        use zeroize::Zeroize as _;
        self.0.iter_mut().for_each(|(_, line)| line.zeroize());
    }
}

/// A host as people write it: what is listened on everywhere is called from here.
fn shown(authority: &str) -> String {
    let Some((host, port)) = authority.rsplit_once(':') else { return authority.to_owned() };
    match host {
        "127.0.0.1" | "0.0.0.0" | "[::]" => format!("localhost:{port}"),
        _ => authority.to_owned(),
    }
}

/// More than all lines have, so that no buffer is left behind that was too small.
fn room() -> Zeroizing<String> {
    Zeroizing::new(String::with_capacity(8 * 1024))
}

const HTTPS: &str = "Over https the tool has to trust the gateway's authority: `b24gate ca` says how, \
                     for each language.";
const ONLY_UNIX: &str = "The gateway listens on a unix socket only: most tools need a TCP address, \
                         too (listen in [gateway]).";
