-- +goose Up

CREATE TABLE label (
    id INTEGER PRIMARY KEY,
    community INTEGER NOT NULL,
    key TEXT NOT NULL,
    name TEXT NOT NULL,
    color TEXT NOT NULL,
    kind INTEGER NOT NULL,
    author INTEGER NOT NULL,
    prompt TEXT NOT NULL,
    prompt_author INTEGER NOT NULL,
    approval INTEGER NOT NULL,
    prompted_at INTEGER NOT NULL,
    cadence_minutes INTEGER NOT NULL,
    version INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (community, key)
) STRICT;

CREATE TABLE attachment (
    id INTEGER PRIMARY KEY,
    label INTEGER NOT NULL,
    target INTEGER NOT NULL,
    placement TEXT NOT NULL,
    author INTEGER NOT NULL,
    delivered_at INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (label, target)
) STRICT;

CREATE INDEX attachment_target ON attachment (target, id);
