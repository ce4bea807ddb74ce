//! Mistakes in `[clients.NAME]` and `[audit]`.

use super::Row;

/// Behind an application and the portal acme, which have five lines.
pub(super) const CLIENTS: &[Row] = &[
    (
        "[clients.erp]\nportal = [\"acme\"]",
        7,
        "clients.erp",
        &[r#"unknown key "portal"; did you mean "portals"?"#],
    ),
    ("[clients.erp]\nportals = \"acme\"", 7, "clients.erp", &["portals: must be a list"]),
    (
        "[clients.erp]\nportals = [\"acne\"]",
        7,
        "clients.erp",
        &["there is no section [portals.NAME] for \"acne\"; did you mean \"acme\"?"],
    ),
    (
        "[clients.erp]\nportals = [\"acme\", \"zzz\"]",
        7,
        "clients.erp",
        &["there is no section [portals.NAME] for \"zzz\""],
    ),
    (
        "[clients.erp]\nmethods = [\"crm deal\"]",
        7,
        "clients.erp",
        &["\"crm deal\" is not a pattern of methods; write \"crm.*\", or \"!*.delete\""],
    ),
    ("[clients.erp]\nmethods = [\"!\"]", 7, "clients.erp", &["is not a pattern of methods"]),
    ("[clients.erp]\nmethods = [\"!!a\"]", 7, "clients.erp", &["is not a pattern of methods"]),
    ("[clients.erp]\nmethods = [\"/crm/\"]", 7, "clients.erp", &["is not a pattern of methods"]),
    ("[clients.erp]\nread_only = 1", 7, "clients.erp", &["read_only: must be true or false"]),
    (
        "[clients.erp]\nexpires = \"2027-01-31\"",
        7,
        "clients.erp",
        &["expires: must be a date without quotes, such as 2027-01-31"],
    ),
    ("[clients.erp]\nexpires = 12:30:00", 7, "clients.erp", &["expires: must be a date"]),
    ("[clients.erp]\nexpires = 1969-01-01", 7, "clients.erp", &["expires: must be a date"]),
    (
        "[clients.erp]\nweight = 0",
        7,
        "clients.erp",
        &["weight: 0 is out of bounds; it goes from 1 to 100"],
    ),
    ("[clients.erp]\nweight = 101", 7, "clients.erp", &["it goes from 1 to 100"]),
    ("[clients.erp]\nweight = \"2\"", 7, "clients.erp", &["must be a number without quotes"]),
    ("[clients.erp]\nmax_wait = \"11m\"", 7, "clients.erp", &["out of bounds"]),
    ("[clients.erp]\nmax_wait = \"soon\"", 7, "clients.erp", &["is not a duration"]),
    (
        "[clients.ERP]\n",
        6,
        "clients",
        &["the name \"ERP\" does not do; use up to 63 lower-case letters, digits and hyphens"],
    ),
    ("[clients.rest]\n", 6, "clients", &["the name \"rest\" is where calls go"]),
    (
        "[clients.anonymous]\n",
        6,
        "clients",
        &["the name \"anonymous\" is what those are called who have no key"],
    ),
    ("[clients]\nread_only = true", 7, "clients", &["stands outside a section [clients.NAME]"]),
    ("[client.erp]\nread_only = true", 6, "client", &["did you mean [clients.NAME]?"]),
    ("[audit]\nkeep = \"10m\"", 7, "audit", &["keep: ", "out of bounds"]),
    ("[audit]\nkeep = 30", 7, "audit", &["keep: ", "is not a duration"]),
    ("[audit]\naccess_log = \"yes\"", 7, "audit", &["access_log: must be true or false"]),
];
