-- +goose Up

-- What clients ask humans for. A row is asked (0), given (1), refused (2) or
-- spent (3), and goes when its time has been over for a while.
CREATE TABLE consent (
    id INTEGER PRIMARY KEY,
    client TEXT NOT NULL,
    redirect TEXT NOT NULL,
    challenge TEXT NOT NULL,
    jkt TEXT NOT NULL,
    scope TEXT NOT NULL,
    audience TEXT NOT NULL,
    state INTEGER NOT NULL,
    operator INTEGER NOT NULL,
    credential INTEGER NOT NULL,
    granted INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    hash BLOB NOT NULL UNIQUE,
    user_hash BLOB
) STRICT;

CREATE UNIQUE INDEX consent_user ON consent (user_hash) WHERE user_hash IS NOT NULL;

CREATE INDEX consent_over ON consent (expires_at, id);
