-- +goose Up

CREATE TABLE agent (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    skeleton TEXT NOT NULL UNIQUE,
    owner INTEGER NOT NULL,
    state INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    reason TEXT NOT NULL,
    invite INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    claimed_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL
) STRICT;

CREATE INDEX agent_owner ON agent (owner, id);

CREATE INDEX agent_state ON agent (state, id);

CREATE TABLE invite (
    id INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    owner INTEGER NOT NULL,
    created_by INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at INTEGER NOT NULL,
    used_by INTEGER NOT NULL
) STRICT;

CREATE TABLE claim (
    agent INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    code TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
