-- Who called what, when, and what became of it.

CREATE TABLE call (
    -- In the order in which calls ended.
    id       INTEGER PRIMARY KEY,
    -- When it came, unix milliseconds.
    at       INTEGER NOT NULL,
    client   TEXT,
    uid      INTEGER,
    portal   TEXT,
    method   TEXT,
    -- NULL when the client left before an answer.
    status   INTEGER,
    ms       INTEGER,
    replayed TEXT,
    executed TEXT CHECK (executed IN ('yes', 'no', 'unknown')),
    code     TEXT,
    -- Of a row that is no call: so many were not kept.
    not_kept INTEGER
) STRICT;

CREATE INDEX call_at ON call (at);
