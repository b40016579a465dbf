-- +goose Up

CREATE TABLE queue (
    id INTEGER PRIMARY KEY,
    owner INTEGER NOT NULL,
    name TEXT NOT NULL,
    acts TEXT NOT NULL,
    subjects TEXT NOT NULL,
    seq INTEGER NOT NULL,
    visibility INTEGER NOT NULL,
    max_receives INTEGER NOT NULL,
    dead INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    UNIQUE (owner, name)
) STRICT;

CREATE TABLE queue_item (
    queue INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    subject INTEGER NOT NULL,
    receives INTEGER NOT NULL,
    receipt INTEGER NOT NULL,
    visible_at INTEGER NOT NULL,
    PRIMARY KEY (queue, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE queue_dead (
    queue INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    subject INTEGER NOT NULL,
    receives INTEGER NOT NULL,
    dead_at INTEGER NOT NULL,
    PRIMARY KEY (queue, seq)
) STRICT, WITHOUT ROWID;
