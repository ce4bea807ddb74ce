//! `[gateway]`, `[admin]`, `[callback]` and `[store]`.

use std::net::SocketAddr;
use std::time::Duration;

use toml::de::DeValue;

use super::document::{Findings, Flaws, Reported, Table};
use super::values::{GIB, KIB, TIB, Value};
use super::{Admin, Callback, Gateway, HostName, KeySource, Listen, ServerTls, Store};
use super::{address, clients, secrets, values};

/// `[gateway]`; the default portal is settled once the portals are known.
pub(super) fn gateway(
    table: &mut Table<'_>,
    found: &mut Findings<'_>,
) -> Result<Gateway, Reported> {
    let require_key = table.required(found, "require_key", values::boolean);
    // One that cannot be read is told of by itself.
    let listen = table_listen(table, found, require_key.unwrap_or(true));
    let default_portal = table.optional(found, "default_portal", values::text);
    let hosts = table.required(found, "hosts", |value| values::list(value, host));
    let origins = table.required(found, "origins", |value| values::list(value, origin));
    let behind_proxy = table.required(found, "behind_proxy", values::boolean);
    let allow_uids = table.required(found, "allow_uids", clients::allow_uids);
    let socket_mode = table.required(found, "socket_mode", clients::socket_mode);
    let base = found.base();
    let tls = table.optional(found, "tls", |value| clients::tls(value, &base));
    let max_body = table.required(found, "max_body", |value| values::size(value, KIB..=TIB));
    let replay_memory = table.required(found, "replay_memory", |value| {
        let bytes = values::size(value, 0..=GIB)?;
        usize::try_from(bytes).map_err(|_ignored| "is more than this machine can address".into())
    });
    let max_wait = table.required(found, "max_wait", |value| {
        values::duration(value, Duration::ZERO..=MAX_WAIT_MAX)
    });
    let portal_timeout = table.required(found, "portal_timeout", |value| {
        values::duration(value, PORTAL_TIMEOUT_MIN..=PORTAL_TIMEOUT_MAX)
    });
    Ok(Gateway {
        listen: listen?,
        default_portal: default_portal?,
        hosts: hosts?,
        origins: origins?,
        behind_proxy: behind_proxy?,
        require_key: require_key?,
        allow_uids: allow_uids?,
        socket_mode: socket_mode?,
        tls: tls?.unwrap_or(ServerTls::LocalCa),
        max_body: max_body?,
        replay_memory: replay_memory?,
        max_wait: max_wait?,
        portal_timeout: portal_timeout?,
    })
}

/// `[admin]`
pub(super) fn admin(table: &mut Table<'_>, found: &mut Findings<'_>) -> Result<Admin, Reported> {
    let guarded = table.gives("password_file");
    let listen = table.required(found, "listen", |value| {
        let address = address::socket(values::plain(value)?)?;
        if !guarded {
            address::require_loopback(address, NO_PASSWORD)?;
        }
        Ok(address)
    });
    let base = found.base();
    let password = table.optional(found, "password_file", |value| {
        let path = base.join(values::text(value)?);
        let password = secrets::from_file(&path)?;
        if password.expose().chars().count() < PASSWORD_CHARS_MIN {
            let path = path.display();
            let text =
                format!("{path} holds fewer than {PASSWORD_CHARS_MIN} characters; lengthen it");
            return Err(text.into());
        }
        Ok(password)
    });
    let expose_tokens = table.required(found, "expose_tokens", values::boolean);
    Ok(Admin { listen: listen?, password: password?, expose_tokens: expose_tokens? })
}

/// What works and should be better.
pub(super) fn warnings(gateway: &Gateway, admin: &Admin) -> Vec<String> {
    let open = gateway.listen.iter().filter_map(|listen| match listen {
        Listen::Tcp(address) => open(*address),
        Listen::Unix(_) => None,
    });
    open.chain(exposed(admin)).collect()
}

/// Who can reach a listener, where that is not this machine alone.
fn open(address: SocketAddr) -> Option<String> {
    let ip = address.ip().to_canonical();
    let through = match (ip.is_loopback(), ip.is_unspecified()) {
        (true, _) => return None,
        (false, true) => "any address of this one".to_owned(),
        (false, false) => ip.to_string(),
    };
    Some(format!(
        "gateway: listen {address} lets in every machine that reaches {through}, and who calls by \
         http:// shows a key on the way: have tools call https:// at the same port, and let no more \
         machines through than need it (a firewall, or 127.0.0.1 and a tunnel)"
    ))
}

fn exposed(admin: &Admin) -> Option<String> {
    admin.expose_tokens.then(|| {
        "admin: expose_tokens = true: whoever reaches the admin listener can have the access token of every \
         portal, and use it past the gateway; write expose_tokens = false unless you must"
            .to_owned()
    })
}

/// `[callback]`
pub(super) fn callback(
    table: &mut Table<'_>,
    found: &mut Findings<'_>,
) -> Result<Callback, Reported> {
    let listen =
        table.required(found, "listen", |value| Ok(address::socket(values::plain(value)?)?));
    let public_url = table.required(found, "public_url", |value| {
        let url = address::endpoint(values::plain(value)?)?;
        if !url.tls && !url.is_loopback() {
            return Err(PLAIN_PUBLIC_URL.into());
        }
        Ok(url.to_string())
    });
    Ok(Callback { listen: listen?, public_url: public_url? })
}

/// `[store]`
pub(super) fn store(table: &mut Table<'_>, found: &mut Findings<'_>) -> Result<Store, Reported> {
    let url = table.required(found, "url", store_url);
    let file = table.optional(found, "key_file", {
        let base = found.base();
        move |value| {
            let path = base.join(values::text(value)?);
            match secrets::unsafe_permissions(&path) {
                Some(problem) => Err(Flaws::unsafe_file(problem)),
                None => Ok(KeySource::File(path)),
            }
        }
    });
    let environment = table.optional(found, "key_env", |value| {
        secrets::from_environment(values::plain(value)?).map(KeySource::Environment)
    });
    if table.gives("key_env") {
        found.environment.push(table.name_of("key_env"));
    }
    if table.gives("key_file") && table.gives("key_env") {
        found.report(&table.place("key_env"), "key_file and key_env exclude each other; keep one");
        return Err(Reported);
    }
    let key = file?.or(environment?).unwrap_or(KeySource::StateDirectory);
    Ok(Store { url: url?, key })
}

/// Reports listeners that would get in each other's way.
pub(super) fn check_collisions(
    found: &mut Findings<'_>,
    gateway: (&Table<'_>, &Gateway),
    admin: (&Table<'_>, &Admin),
    callback: (&Table<'_>, &Callback),
) {
    let mut taken: Vec<(SocketAddr, &str)> = Vec::new();
    let mut claim = |table: &Table<'_>, address: SocketAddr, name: &'static str| {
        if let Some((_, other)) = taken.iter().find(|(other, _)| address::collide(*other, address))
        {
            let text = format!("listen: {address} is taken by [{other}] listen; use another port");
            found.report(&table.place("listen"), text);
        }
        taken.push((address, name));
    };
    for listen in &gateway.1.listen {
        if let Listen::Tcp(address) = listen {
            claim(gateway.0, *address, "gateway");
        }
    }
    claim(admin.0, admin.1.listen, "admin");
    claim(callback.0, callback.1.listen, "callback");
}

/// One address, or a list of them; `keyed` when nobody calls without a key.
fn table_listen(
    table: &mut Table<'_>,
    found: &mut Findings<'_>,
    keyed: bool,
) -> Result<Vec<Listen>, Reported> {
    let base = found.base();
    let one = |value: &Value<'_>| {
        let listen = address::listen(values::plain(value)?, |path| base.join(path))?;
        if let Listen::Tcp(address) = listen
            && !keyed
        {
            address::require_loopback(address, NO_KEYS)?;
        }
        Ok(listen)
    };
    table.required(found, "listen", |value| {
        let listen = match value.get_ref() {
            DeValue::String(_) => vec![one(value)?],
            _ => values::list(value, one)?,
        };
        if listen.is_empty() {
            return Err(r#"is empty; give at least one address, such as "127.0.0.1:8024""#.into());
        }
        Ok(listen)
    })
}

fn host(value: &Value<'_>) -> Result<HostName, Flaws> {
    Ok(address::host(values::plain(value)?)?)
}

fn origin(value: &Value<'_>) -> Result<String, Flaws> {
    let given = values::plain(value)?;
    if matches!(given, "*" | "null") {
        let given = values::echo(given);
        return Err(format!("{given} would let any web page call; name each origin").into());
    }
    Ok(address::endpoint(given)?.to_string())
}

fn store_url(value: &Value<'_>) -> Result<String, Flaws> {
    let url = values::text(value)?;
    let Some(path) = url.strip_prefix("sqlite:") else {
        // Not repeated: the URL of a database server holds its password.
        return Err("is not supported by this version unless it begins with sqlite:; \
                    write \"sqlite:b24gate.db\""
            .into());
    };
    let path = path.split('?').next().unwrap_or_default();
    if path.trim_start_matches('/').is_empty() {
        return Err(r#"names no file; write it as "sqlite:b24gate.db""#.into());
    }
    if path.starts_with(':') || url.contains("mode=memory") {
        return Err("would keep the tokens in memory and lose them; name a file".into());
    }
    Ok(url)
}

const NO_KEYS: &str = "calls need no key there; set require_key = true, or";
const NO_PASSWORD: &str = "no password is asked there; set password_file, or";
const PLAIN_PUBLIC_URL: &str = "http:// would show the codes of logins and the tokens of \
                                installations to everybody on the way; write https://, and have a \
                                reverse proxy or a tunnel speak it";
/// Shorter ones are guessed.
const PASSWORD_CHARS_MIN: usize = 8;
/// No client waits longer than this for an answer that may still be an error.
const MAX_WAIT_MAX: Duration = Duration::from_mins(10);
/// Shorter, and ordinary answers would be cut off.
const PORTAL_TIMEOUT_MIN: Duration = Duration::from_millis(100);
/// A connection that is silent for longer is dead.
const PORTAL_TIMEOUT_MAX: Duration = Duration::from_hours(1);
