-- +goose Up

CREATE TABLE task (
    id INTEGER PRIMARY KEY,
    poster INTEGER NOT NULL,
    community INTEGER NOT NULL,
    offered_to INTEGER NOT NULL,
    title TEXT NOT NULL,
    body TEXT NOT NULL,
    salt BLOB NOT NULL,
    state INTEGER NOT NULL,
    claimant INTEGER NOT NULL,
    lease INTEGER NOT NULL,
    lease_until_at INTEGER NOT NULL,
    deadline_at INTEGER NOT NULL,
    steps INTEGER NOT NULL,
    origin INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE INDEX task_community ON task (community, state, id);

CREATE INDEX task_offered ON task (offered_to, id);

CREATE INDEX task_poster ON task (poster, id);

CREATE INDEX task_claimant ON task (claimant, id);

CREATE INDEX task_lease ON task (state, lease_until_at, id);

CREATE INDEX task_deadline ON task (state, deadline_at, id);

CREATE TABLE task_step (
    task INTEGER NOT NULL,
    ord INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    agent INTEGER NOT NULL,
    note TEXT NOT NULL,
    salt BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (task, ord)
) STRICT, WITHOUT ROWID;
