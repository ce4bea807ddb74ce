//! Every section and key that a configuration file may hold, with the defaults that the parser
//! uses. The one table behind parsing, the hints in errors and `config.example.toml`.

/// A section of the file.
#[derive(Debug)]
pub(super) struct Section {
    /// The first part of its header.
    pub(super) name: &'static str,
    /// Whether it is written `[name.NAME]`, once per thing.
    pub(super) named: bool,
    /// What may stand in it.
    pub(super) keys: &'static [Key],
}

/// A key of a section.
#[derive(Debug)]
pub(super) struct Key {
    /// As written.
    pub(super) name: &'static str,
    /// What this version does with it.
    pub(super) support: Support,
    /// The value when it is left out, as TOML.
    pub(super) default: Option<&'static str>,
}

/// What this version does with a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Support {
    /// Reads it.
    Full,
    /// Knows only one way: any value but the default is refused, never ignored.
    DefaultOnly,
}

impl Section {
    /// How its header is written.
    pub(super) fn header(&self) -> String {
        if self.named { format!("[{}.NAME]", self.name) } else { format!("[{}]", self.name) }
    }

    /// The key of this name.
    pub(super) fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The keys that may be used, in the order of the table.
    pub(super) fn usable(&self) -> impl Iterator<Item = &'static Key> {
        self.keys.iter()
    }
}

const fn key(name: &'static str) -> Key {
    Key { name, support: Support::Full, default: None }
}

const fn defaults(name: &'static str, default: &'static str) -> Key {
    Key { name, support: Support::Full, default: Some(default) }
}

const fn only(name: &'static str, default: &'static str) -> Key {
    Key { name, support: Support::DefaultOnly, default: Some(default) }
}

/// Every section this version reads.
pub(super) static SECTIONS: &[&Section] =
    &[&GATEWAY, &ADMIN, &CALLBACK, &STORE, &AUDIT, &ALERTS, &APP, &PORTAL, &CLIENT];

/// `[gateway]`
pub(super) static GATEWAY: Section = Section {
    name: "gateway",
    named: false,
    keys: &[
        defaults("listen", r#"["127.0.0.1:8024"]"#),
        key("default_portal"),
        defaults("hosts", "[]"),
        defaults("origins", "[]"),
        defaults("behind_proxy", "false"),
        defaults("require_key", "false"),
        defaults("allow_uids", r#""any""#),
        defaults("socket_mode", r#""0600""#),
        defaults("max_body", r#""256MiB""#),
        defaults("replay_memory", r#""1MiB""#),
        // The shortest read time-out seen in clients is 10 s.
        defaults("max_wait", r#""8s""#),
        // The portal itself stops at 60 s.
        defaults("portal_timeout", r#""75s""#),
        key("tls"),
    ],
};

/// `[admin]`
pub(super) static ADMIN: Section = Section {
    name: "admin",
    named: false,
    keys: &[
        defaults("listen", r#""127.0.0.1:8025""#),
        key("password_file"),
        defaults("expose_tokens", "false"),
    ],
};

/// `[callback]`
pub(super) static CALLBACK: Section = Section {
    name: "callback",
    named: false,
    keys: &[
        defaults("listen", r#""127.0.0.1:8026""#),
        defaults("public_url", r#""http://localhost:8026""#),
    ],
};

/// `[store]`
pub(super) static STORE: Section = Section {
    name: "store",
    named: false,
    keys: &[defaults("url", r#""sqlite:b24gate.db""#), key("key_file"), key("key_env")],
};

/// `[audit]`
pub(super) static AUDIT: Section = Section {
    name: "audit",
    named: false,
    keys: &[defaults("keep", r#""30d""#), defaults("access_log", "false")],
};

/// `[alerts]`
pub(super) static ALERTS: Section = Section {
    name: "alerts",
    named: false,
    keys: &[key("webhook_file"), key("webhook_env"), key("webhook"), key("command")],
};

/// `[apps.NAME]`
pub(super) static APP: Section = Section {
    name: "apps",
    named: true,
    keys: &[
        key("client_id"),
        key("client_secret_file"),
        key("client_secret_env"),
        key("client_secret"),
        defaults("oauth_server", r#""https://oauth.bitrix24.tech""#),
        key("scope"),
        key("redirect_uri"),
        defaults("accept_installs", "false"),
    ],
};

/// `[portals.NAME]`
pub(super) static PORTAL: Section = Section {
    name: "portals",
    named: true,
    keys: &[
        key("url"),
        key("app"),
        key("webhook_url_file"),
        key("webhook_url_env"),
        key("webhook_url"),
        defaults("inject", r#""auto""#),
        defaults("refresh", r#""lazy""#),
        defaults("plan", r#""standard""#),
        only("batching", r#""off""#),
        key("ca_file"),
        defaults("allow_http", "false"),
    ],
};

/// `[clients.NAME]`
pub(super) static CLIENT: Section = Section {
    name: "clients",
    named: true,
    keys: &[
        key("portals"),
        key("methods"),
        defaults("read_only", "false"),
        key("expires"),
        defaults("weight", "1"),
        key("max_wait"),
    ],
};
