-- Who may call: the tools that have a key, and what those that a command made may do.

CREATE TABLE client (
    name    TEXT PRIMARY KEY,
    -- What it may do, as JSON; NULL where the configuration says it.
    rules   TEXT,
    made_at INTEGER NOT NULL
) STRICT;

-- A key is known by its SHA-256 only.
CREATE TABLE client_key (
    digest     BLOB PRIMARY KEY CHECK (length(digest) = 32),
    client     TEXT NOT NULL REFERENCES client (name) ON DELETE CASCADE,
    made_at    INTEGER NOT NULL,
    expires_at INTEGER
) STRICT;

-- That there was a client once, which stays when the last one is gone.
CREATE TABLE closed (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    since INTEGER NOT NULL
) STRICT;
