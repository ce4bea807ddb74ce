-- How portals come and go: installations, arrivals, the operator's switch, and the inbox of events.

-- The operator took it out of service.
ALTER TABLE portal ADD COLUMN disabled INTEGER NOT NULL DEFAULT 0 CHECK (disabled IN (0, 1));

-- The application was removed there, and not installed since.
ALTER TABLE portal ADD COLUMN uninstalled INTEGER NOT NULL DEFAULT 0 CHECK (uninstalled IN (0, 1));

-- Times of the latest of each, by Bitrix24's clock where it tells one.
ALTER TABLE portal ADD COLUMN installed_at INTEGER;
ALTER TABLE portal ADD COLUMN uninstalled_at INTEGER;

-- Sealed: what events of this portal must carry.
ALTER TABLE portal ADD COLUMN application_token BLOB;

-- Whose rights its credential carries.
ALTER TABLE portal ADD COLUMN user_id INTEGER;
ALTER TABLE portal ADD COLUMN user_name TEXT;

-- Of a portal that came by itself: the application through which, and its stable key.
ALTER TABLE portal ADD COLUMN arrived_client_id TEXT;
ALTER TABLE portal ADD COLUMN arrived_member_id TEXT;

-- A chain that gets a seat after its first exchange, because whoever brought it may have a copy.
ALTER TABLE chain ADD COLUMN arriving INTEGER NOT NULL DEFAULT 0 CHECK (arriving IN (0, 1));

-- What has no seat any more and does not wait for one either.
ALTER TABLE chain ADD COLUMN history INTEGER NOT NULL
    GENERATED ALWAYS AS (active = 0 AND spare = 0 AND arriving = 0) VIRTUAL;

-- Events that were acknowledged and wait to be worked on, sealed. The number is part of the seal.
CREATE TABLE inbox (
    id    INTEGER PRIMARY KEY AUTOINCREMENT,
    at    INTEGER NOT NULL,
    event BLOB NOT NULL
) STRICT;
