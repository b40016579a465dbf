-- +goose Up

CREATE TABLE approval (
    id INTEGER PRIMARY KEY,
    agent INTEGER NOT NULL,
    act TEXT NOT NULL,
    target INTEGER NOT NULL,
    target_version INTEGER NOT NULL,
    demand TEXT NOT NULL,
    asks TEXT NOT NULL,
    policy TEXT NOT NULL,
    digest BLOB NOT NULL,
    sealed BLOB NOT NULL,
    answer BLOB NOT NULL,
    slot INTEGER NOT NULL,
    state INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    owner INTEGER NOT NULL,
    decided_by INTEGER NOT NULL,
    reason TEXT NOT NULL,
    made INTEGER NOT NULL,
    made_version INTEGER NOT NULL,
    code TEXT NOT NULL,
    rule TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    decided_at INTEGER NOT NULL,
    ended_at INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX approval_alike ON approval (agent, digest) WHERE state < 3;

CREATE UNIQUE INDEX approval_slot ON approval (agent, slot) WHERE state < 3;

CREATE INDEX approval_agent ON approval (agent, id);

CREATE INDEX approval_state ON approval (state, id);

CREATE INDEX approval_open ON approval (expires_at, id) WHERE state < 3;

CREATE TABLE trial (
    agent INTEGER PRIMARY KEY,
    failures INTEGER NOT NULL,
    failed_at INTEGER NOT NULL,
    cool_until_at INTEGER NOT NULL
) STRICT;
