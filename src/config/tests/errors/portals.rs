//! Mistakes in `[portals.NAME]`, `[apps.NAME]` and in the headers of sections.

use super::Row;

pub(super) const SECTIONS: &[Row] = &[
    ("[gatway]\n", 1, "gatway", &["unknown section; did you mean [gateway]?"]),
    ("\n[portal.acme]\nurl = 1", 2, "portal", &["did you mean [portals.NAME]?"]),
    (
        "[xyzzy]\n",
        1,
        "xyzzy",
        &["there are [gateway], [admin], [callback], [store], [audit], [alerts], [apps.NAME]"],
    ),
    ("gateway = 1\n", 1, "gateway", &["must be a section; write [gateway] on a line of its own"]),
    ("[[portals]]\nurl = 1", 1, "portals", &["write [portals.NAME]"]),
    (
        "[portals]\nurl = \"https://a.example\"",
        2,
        "portals",
        &["\"url\" stands outside a section [portals.NAME]"],
    ),
];

/// Behind an application of three lines, so that the first line here is the fourth.
pub(super) const PORTALS: &[Row] = &[
    (
        "[portals.acme]\nurll = \"https://a.example\"\nurl = \"https://a.example\"",
        5,
        "portals.acme",
        &[r#"unknown key "urll"; did you mean "url"?"#],
    ),
    ("[portals.acme]\n", 4, "portals.acme", &["url is missing"]),
    (
        "[portals.acme]\nurl = 7",
        5,
        "portals.acme",
        &["url: must be a text in quotes, not a number"],
    ),
    (
        "[portals.acme]\nurl = \"acme.bitrix24.com\"",
        5,
        "portals.acme",
        &["must begin with https://; write it as \"https://acme.bitrix24.com\""],
    ),
    (
        "[portals.acme]\nurl = \"ftp://acme.bitrix24.com\"",
        5,
        "portals.acme",
        &["must begin with https://"],
    ),
    (
        "[portals.acme]\nurl = \"http://acme.bitrix24.com\"",
        5,
        "portals.acme",
        &["unencrypted", "allow_http = true"],
    ),
    (
        "[portals.acme]\nurl = \"https://acme.bitrix24.com/rest/1/S-canary/\"",
        5,
        "portals.acme",
        &["incoming webhook", "write \"https://acme.bitrix24.com\""],
    ),
    (
        "[portals.acme]\nurl = \"https://acme.bitrix24.com/?auth=S-canary\"",
        5,
        "portals.acme",
        &["must end after the host"],
    ),
    (
        "[portals.acme]\nurl = \"https://me:S-canary@acme.bitrix24.com\"",
        5,
        "portals.acme",
        &["user name or a password"],
    ),
    ("[portals.acme]\nurl = \"https://acme..com\"", 5, "portals.acme", &["no valid host name"]),
    ("[portals.acme]\nurl = \"https://10.0.0\"", 5, "portals.acme", &["no valid host name"]),
    ("[portals.acme]\nurl = \"https://acme.com:0\"", 5, "portals.acme", &["no valid port"]),
    ("[portals.acme]\nurl = \"https://[::1\"", 5, "portals.acme", &["a [ without its ]"]),
    (
        "[portals.acme]\nurl = \"https://a.example\"\napp = \"mein\"",
        6,
        "portals.acme",
        &["no app is called \"mein\"; did you mean \"main\"?"],
    ),
    (
        "[portals.acme]\nurl = \"https://a.example\"\ninject = \"barer\"",
        6,
        "portals.acme",
        &["\"barer\" is not one of \"auto\", \"bearer\", \"parameter\"; did you mean \"bearer\"?"],
    ),
    (
        "[portals.acme]\nurl = \"https://a.example\"\nplan = \"gold\"",
        6,
        "portals.acme",
        &["is not one of \"standard\", \"enterprise\", \"unlimited\""],
    ),
    (
        "[portals.acme]\nurl = \"https://a.example\"\nrefresh = \"56m\"",
        6,
        "portals.acme",
        &["refresh: \"56m\" is out of bounds; it goes from 1m to 55m"],
    ),
    (
        "[portals.acme]\nurl = \"https://a.example\"\nrefresh = \"59s\"",
        6,
        "portals.acme",
        &["refresh: \"59s\" is out of bounds"],
    ),
    (
        "[portals.acme]\nurl = \"https://a.example\"\nrefresh = \"hourly\"",
        6,
        "portals.acme",
        &["refresh: \"hourly\" is neither \"lazy\" nor an interval such as \"25m\""],
    ),
    (
        "[portals.acme]\nurl = \"https://a.example\"\nrefresh = 25",
        6,
        "portals.acme",
        &["refresh: must be a text in quotes, not a number"],
    ),
    (
        "[portals.acme]\nurl = \"https://a.example\"\nbatching = \"reads\"",
        6,
        "portals.acme",
        &["batching other than \"off\" is not supported by this version"],
    ),
    (
        "[portals.acme]\nurl = \"https://a.example\"\nallow_http = 1",
        6,
        "portals.acme",
        &["must be true or false"],
    ),
    (
        "[portals.acme]\nurl = \"https://a.example\"\nwebhook_url = \"https://a.example/S-canary/\"",
        6,
        "portals.acme",
        &[
            "webhook_url: is not the URL of an incoming webhook; write it as \"https://a.example/rest/<user>/<secret>/\"",
        ],
    ),
    (
        "[portals.acme]\nwebhook_url = \"https://a.example/rest/1/S-canary/profile.json\"",
        5,
        "portals.acme",
        &[
            "webhook_url: has something behind the secret",
            "https://a.example/rest/<user>/<secret>/",
        ],
    ),
    (
        "[portals.acme]\nwebhook_url = \"https://a.example/rest/S-canary/\"",
        5,
        "portals.acme",
        &["webhook_url: has no number of a user"],
    ),
    (
        "[portals.acme]\nwebhook_url = \"https://a.example/rest/0/S-canary/\"",
        5,
        "portals.acme",
        &["webhook_url: has no number of a user"],
    ),
    (
        "[portals.acme]\nwebhook_url = \"https://a.example/rest/1/S-canary%2f/\"",
        5,
        "portals.acme",
        &["webhook_url: has no secret of letters and digits"],
    ),
    (
        "[portals.acme]\nwebhook_url = \"https://a.example/rest/1\"",
        5,
        "portals.acme",
        &["webhook_url: has no secret"],
    ),
    (
        "[portals.acme]\nwebhook_url = \"https://a.example/rest/1/S-canary/?a=1\"",
        5,
        "portals.acme",
        &["webhook_url: has something behind the secret"],
    ),
    (
        "[portals.acme]\nwebhook_url = \"a.example/rest/1/S-canary/\"",
        5,
        "portals.acme",
        &["webhook_url: must be a URL that begins with https://"],
    ),
    (
        "[portals.acme]\nwebhook_url = \"http://a.example/rest/1/S-canary/\"",
        5,
        "portals.acme",
        &["webhook_url: http:// would send", "allow_http = true"],
    ),
    (
        "[portals.acme]\nwebhook_url_env = \"https://a.example/rest/1/S-canary/\"",
        5,
        "portals.acme",
        &["webhook_url_env: must be the name of an environment variable"],
    ),
    (
        "[portals.acme]\nwebhook_url_env = \"CARGO_PKG_NAME\"",
        5,
        "portals.acme",
        &["webhook_url_env: must be a URL"],
    ),
    (
        "[portals.acme]\nwebhook_url_file = \"/nowhere/acme.secret\"",
        5,
        "portals.acme",
        &["webhook_url_file: cannot read /nowhere/acme.secret"],
    ),
    (
        "[portals.acme]\nwebhook_url_env = \"PATH\"\nwebhook_url = \"https://a.example/rest/1/S-canary/\"",
        6,
        "portals.acme",
        &["webhook_url is given 2 times; keep one of webhook_url_file, webhook_url_env or"],
    ),
    (
        "[portals.acme]\nwebhook_url = \"https://a.example/rest/1/S-canary/\"\napp = \"main\"",
        6,
        "portals.acme",
        &["app and webhook_url exclude each other; keep one"],
    ),
    (
        "[portals.acme]\nwebhook_url = \"https://a.example/rest/1/S-canary/\"\nurl = \"https://b.example\"",
        6,
        "portals.acme",
        &["url: is not where the webhook leads, https://a.example; leave it out"],
    ),
    (
        "[portals.acme]\nwebhook_url = \"https://a.example/rest/1/S-canary/\"\ninject = \"bearer\"",
        6,
        "portals.acme",
        &["inject: a webhook holds no token to inject; leave it out"],
    ),
    (
        "[portals.acme]\nwebhook_url = \"https://a.example/rest/1/S-canary/\"\nrefresh = \"25m\"",
        6,
        "portals.acme",
        &["refresh: a webhook holds no token to refresh; leave it out"],
    ),
    (
        "[portals.a]\nurl = \"https://a.example\"\n[portals.b]\nwebhook_url = \"https://a.example/rest/1/S-canary/\"",
        7,
        "portals.b",
        &["webhook_url: is the url of [portals.a] too"],
    ),
    (
        "[portals.acme]\nurl = \"https://a.example\"\nclient_id = \"1\"",
        6,
        "portals.acme",
        &["it belongs in [apps.NAME]"],
    ),
    (
        "[portals.a]\nurl = \"https://a.example\"\n[portals.b]\nurl = \"https://A.example:443/\"",
        7,
        "portals.b",
        &["is the url of [portals.a] too"],
    ),
    (
        "[portals.Acme]\nurl = \"https://a.example\"",
        4,
        "portals",
        &["the name \"Acme\" does not do", "lower-case letters"],
    ),
    (
        "[portals.rest]\nurl = \"https://a.example\"",
        4,
        "portals",
        &["the name \"rest\" is where calls go"],
    ),
    (
        "[portals.acme]\nurl = \"https://a.example\"\n[gateway]\ndefault_portal = \"acmee\"",
        7,
        "gateway",
        &["no portal is called \"acmee\"; did you mean \"acme\"?"],
    ),
    (
        "[apps.second]\nclient_id = \"2\"\nclient_secret = \"S-canary\"\n[portals.acme]\nurl = \"https://a.example\"",
        7,
        "portals.acme",
        &[
            "app is missing, and there are several; write app = \"main\", or give the portal a webhook_url",
        ],
    ),
];

pub(super) const APPS: &[Row] = &[
    ("[apps.main]\nclient_secret = \"S-canary\"", 1, "apps.main", &["client_id is missing"]),
    (
        "[apps.main]\nclient_id = \"a b\"\nclient_secret = \"S-canary\"",
        2,
        "apps.main",
        &["holds a blank"],
    ),
    (
        "[apps.main]\nclient_id = \"a\"",
        1,
        "apps.main",
        &["client_secret is missing; give one of client_secret_file"],
    ),
    (
        "[apps.main]\nclient_id = \"a\"\nclient_secret = \"S-canary\"\nclient_secret_env = \"PATH\"",
        3,
        "apps.main",
        &["given 2 times; keep one"],
    ),
    (
        "[apps.main]\nclient_id = \"a\"\nclient_secret = 12345",
        3,
        "apps.main",
        &["client_secret: must be a text in quotes"],
    ),
    (
        "[apps.main]\nclient_id = \"a\"\nclient_secret = \"S-canary S-canary\"",
        3,
        "apps.main",
        &["holds a blank"],
    ),
    (
        "[apps.main]\nclient_id = \"a\"\nclient_secret = \"\"",
        3,
        "apps.main",
        &["client_secret: is empty"],
    ),
    (
        "[apps.main]\nclient_id = \"a\"\nclient_secret_env = \"B24GATE_TEST_UNSET\"",
        3,
        "apps.main",
        &["variable B24GATE_TEST_UNSET is not set"],
    ),
    (
        "[apps.main]\nclient_id = \"a\"\nclient_secret_env = \"S-canary\"",
        3,
        "apps.main",
        &["in capital letters"],
    ),
    (
        "[apps.main]\nclient_id = \"a\"\nsecret = \"S-canary\"\nclient_secret = \"x\"",
        3,
        "apps.main",
        &[r#"unknown key "secret"; did you mean "client_secret"#],
    ),
    (
        "[apps.main]\nclient_id = \"a\"\nclient_secret = \"x\"\noauth_server = \"http://oauth.bitrix.info\"",
        4,
        "apps.main",
        &["unencrypted; write https://"],
    ),
    (
        "[apps.main]\nclient_id = \"a\"\nclient_secret = \"x\"\noauth_server = \"https://oauth.bitrix.info/oauth/token/\"",
        4,
        "apps.main",
        &["write it as \"https://oauth.bitrix.info\""],
    ),
    (
        "[apps.main]\nclient_id = \"a\"\nclient_secret = \"x\"\nscope = \"\"",
        4,
        "apps.main",
        &["scope: is empty"],
    ),
    (
        "[apps.main]\nclient_id = \"a\"\nclient_secret = \"x\"\naccept_installs = \"yes\"",
        4,
        "apps.main",
        &["accept_installs: must be true or false"],
    ),
    (
        "[apps.old]\nclient_id = \"a\"\nclient_secret = \"x\"\noauth_server = \"http://my.example.com\"\n\
         [portals.acme]\nurl = \"http://my.example.com:8080\"\nallow_http = true",
        4,
        "apps.old",
        &[
            "write https://, or, for an old portal that issues its own tokens, give it a [portals.NAME]",
            "app = \"old\", url = \"http://my.example.com\" and allow_http = true",
        ],
    ),
    (
        "[apps.old]\nclient_id = \"a\"\nclient_secret = \"x\"\noauth_server = \"http://my.example.com\"\n\
         [apps.new]\nclient_id = \"b\"\nclient_secret = \"x\"\n\
         [portals.acme]\napp = \"new\"\nurl = \"http://my.example.com\"\nallow_http = true",
        4,
        "apps.old",
        &["oauth_server: http:// would send credentials unencrypted"],
    ),
    (
        "[portals.acme]\nurl = \"https://a.example\"",
        1,
        "portals.acme",
        &["there is no app; add [apps.main]", "or give the portal a webhook_url_file"],
    ),
];
