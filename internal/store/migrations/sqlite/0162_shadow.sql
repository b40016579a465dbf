-- +goose Up

-- Bundles that decide, or decided, beside the one in force; ended_at is 0 for the one
-- that does.
CREATE TABLE policy_shadow (
    id INTEGER PRIMARY KEY,
    body BLOB NOT NULL,
    operator INTEGER NOT NULL,
    reason TEXT NOT NULL,
    began_at INTEGER NOT NULL,
    ended_at INTEGER NOT NULL
) STRICT;

CREATE INDEX policy_shadow_ended ON policy_shadow (ended_at, id);

-- What one would have decided otherwise, with how often. body is of one of them.
CREATE TABLE policy_flip (
    shadow INTEGER NOT NULL,
    digest BLOB NOT NULL,
    principal INTEGER NOT NULL,
    act TEXT NOT NULL,
    body BLOB NOT NULL,
    was TEXT NOT NULL,
    rule TEXT NOT NULL,
    now TEXT NOT NULL,
    by_policy TEXT NOT NULL,
    place TEXT NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (shadow, digest)
) STRICT, WITHOUT ROWID;
