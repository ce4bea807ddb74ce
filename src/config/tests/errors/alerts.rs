//! Mistakes in `[alerts]`.

use super::Row;

pub(super) const ALERTS: &[Row] = &[
    (
        "[alerts]\nwebhok = \"x\"",
        2,
        "alerts",
        &[r#"unknown key "webhok"; did you mean "webhook"?"#],
    ),
    ("[alerts]\nwebhook = 7", 2, "alerts", &["webhook: must be a text in quotes, not a number"]),
    ("[alerts]\nwebhook = \"\"", 2, "alerts", &["webhook: is empty"]),
    (
        "[alerts]\nwebhook = \"hooks.example.com/S-canary\"",
        2,
        "alerts",
        &["webhook: must be a URL that begins with https://"],
    ),
    (
        "[alerts]\nwebhook = \"ftp://hooks.example.com/S-canary\"",
        2,
        "alerts",
        &["webhook: must begin with https://"],
    ),
    (
        "[alerts]\nwebhook = \"http://hooks.example.com/S-canary\"",
        2,
        "alerts",
        &["webhook: http:// would send credentials unencrypted; write https://"],
    ),
    (
        "[alerts]\nwebhook = \"https://me:S-canary@hooks.example.com/\"",
        2,
        "alerts",
        &["webhook: must not hold a user name or a password"],
    ),
    (
        "[alerts]\nwebhook = \"https://hooks..com/S-canary\"",
        2,
        "alerts",
        &["webhook: has no valid host name"],
    ),
    (
        "[alerts]\nwebhook = \"https://hooks.example.com/S-canary#part\"",
        2,
        "alerts",
        &["webhook: has something behind the host that no URL has"],
    ),
    (
        "[alerts]\nwebhook = \"https://hooks.example.com/S-canary x\"",
        2,
        "alerts",
        &["webhook: holds a blank or a line break"],
    ),
    (
        "[alerts]\nwebhook = \"https://hooks.example.com/S-canary\"\nwebhook_env = \"PATH\"",
        2,
        "alerts",
        &["webhook is given 2 times; keep one of webhook_file, webhook_env or webhook"],
    ),
    (
        "[alerts]\nwebhook_env = \"https://hooks.example.com/S-canary\"",
        2,
        "alerts",
        &["webhook_env: must be the name of an environment variable"],
    ),
    (
        "[alerts]\nwebhook_env = \"CARGO_PKG_NAME\"",
        2,
        "alerts",
        &["webhook_env: must be a URL that begins with https://"],
    ),
    (
        "[alerts]\nwebhook_file = \"/nowhere/webhook.secret\"",
        2,
        "alerts",
        &["webhook_file: cannot read /nowhere/webhook.secret"],
    ),
    ("[alerts]\ncommand = \"/bin/sh\"", 2, "alerts", &["command: must be a list", "not a text"]),
    ("[alerts]\ncommand = []", 2, "alerts", &["command: names no program; write it as"]),
    ("[alerts]\ncommand = [\"\"]", 2, "alerts", &["command: names no program"]),
    (
        "[alerts]\ncommand = [\"/bin/sh\",\n  7]",
        3,
        "alerts",
        &["command: must be a text in quotes, not a number"],
    ),
    (
        "[alerts]\ncommand = [\"/bin/sh\", \"a\\nb\"]",
        2,
        "alerts",
        &["command: holds a control character"],
    ),
    (
        "[alerts]\ncommand = [\"bin/page-me\"]",
        2,
        "alerts",
        &["command: \"bin/page-me\" is not an absolute path; write it whole"],
    ),
    (
        "[alerts]\ncommand = [\"/nowhere/page-me\"]",
        2,
        "alerts",
        &["command: \"/nowhere/page-me\" cannot be started", "correct the path"],
    ),
    ("[alerts]\ncommand = [\"/tmp\"]", 2, "alerts", &["command: \"/tmp\" is not a program"]),
    (
        "[alerts]\ncommand = [\"/etc/passwd\"]",
        2,
        "alerts",
        &["command: \"/etc/passwd\" is not executable; chmod +x /etc/passwd"],
    ),
];
