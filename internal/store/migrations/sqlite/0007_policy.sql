-- +goose Up

CREATE TABLE policy_bundle (
    version INTEGER PRIMARY KEY,
    body BLOB NOT NULL,
    digest BLOB NOT NULL,
    active_at INTEGER NOT NULL
) STRICT;
