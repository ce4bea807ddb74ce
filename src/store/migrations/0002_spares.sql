-- Spare chains, the age of a pair, the identity of the store, and what people were alerted to.

-- A spare waits for the active chain of its portal to die. What is neither active nor spare is
-- history.
ALTER TABLE chain ADD COLUMN spare INTEGER NOT NULL DEFAULT 0 CHECK (spare IN (0, 1));

-- When the pair was issued; 'updated_at' moves with its state, too.
ALTER TABLE chain ADD COLUMN issued_at INTEGER NOT NULL DEFAULT 0;

UPDATE chain SET issued_at = updated_at;

-- Which store this is: journal slots name it, and a backup shares it with what it was made from.
-- A retired store is never served again: its chains go on elsewhere.
CREATE TABLE identity (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    store       BLOB NOT NULL CHECK (length(store) = 16),
    retired_at  INTEGER,
    retired_for TEXT
) STRICT;

-- The condition that people were last alerted to.
CREATE TABLE alert (
    subject   TEXT NOT NULL PRIMARY KEY,
    condition TEXT NOT NULL,
    at        INTEGER NOT NULL
) STRICT;

CREATE INDEX ledger_portal ON ledger (portal, id);
