-- Custody of the portals' credentials. Tokens are sealed outside of the database; times are unix
-- seconds.

-- What is known of a portal besides its credential.
CREATE TABLE portal (
    name          TEXT NOT NULL PRIMARY KEY,
    inject        TEXT CHECK (inject IN ('bearer', 'parameter')),
    endpoint_tls  INTEGER CHECK (endpoint_tls IN (0, 1)),
    endpoint_host TEXT,
    endpoint_port INTEGER CHECK (endpoint_port BETWEEN 0 AND 65535)
) STRICT;

-- A chain is one authorisation and the pairs that came from it by rotation. Its number is part of
-- what the seals authenticate, so it is never given out twice (AUTOINCREMENT).
CREATE TABLE chain (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    portal          TEXT NOT NULL REFERENCES portal (name),
    active          INTEGER NOT NULL CHECK (active IN (0, 1)),
    generation      INTEGER NOT NULL CHECK (generation > 0),
    access          BLOB NOT NULL,
    refresh         BLOB NOT NULL,
    -- Sealed as the refresh token of the generation before.
    prev_refresh    BLOB,
    -- The first eight hexadecimal digits of the refresh token's SHA-256, for the ledger.
    refresh_hash    TEXT NOT NULL,
    expires_at      INTEGER,
    member_id       TEXT,
    user_id         INTEGER,
    client_endpoint TEXT,
    state           TEXT NOT NULL CHECK (state IN ('connected', 'suspect', 'paused', 'dead')),
    code            TEXT,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX chain_active ON chain (portal) WHERE active = 1;

-- An exchange that was begun and has no outcome yet.
CREATE TABLE intent (
    chain      INTEGER NOT NULL PRIMARY KEY REFERENCES chain (id),
    generation INTEGER NOT NULL,
    begun_at   INTEGER NOT NULL
) STRICT;

-- What happened to every refresh token, append-only.
CREATE TABLE ledger (
    id           INTEGER PRIMARY KEY AUTOINCREMENT,
    at           INTEGER NOT NULL,
    portal       TEXT NOT NULL,
    chain        INTEGER NOT NULL,
    generation   INTEGER NOT NULL,
    outcome      TEXT NOT NULL,
    refresh_hash TEXT NOT NULL
) STRICT;

CREATE TRIGGER ledger_keeps_texts BEFORE UPDATE ON ledger
BEGIN
    SELECT RAISE(ABORT, 'the ledger is append-only');
END;

-- A fixed text, sealed: by it the right key is known.
CREATE TABLE seal (
    id    INTEGER PRIMARY KEY CHECK (id = 1),
    proof BLOB NOT NULL
) STRICT;
