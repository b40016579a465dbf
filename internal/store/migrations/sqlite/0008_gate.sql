-- +goose Up

CREATE TABLE idempotency (
    principal INTEGER NOT NULL,
    name TEXT NOT NULL,
    act TEXT NOT NULL,
    hash BLOB NOT NULL,
    ref INTEGER NOT NULL,
    version INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (principal, name)
) STRICT, WITHOUT ROWID;

CREATE INDEX idempotency_age ON idempotency (created_at, principal, name);
