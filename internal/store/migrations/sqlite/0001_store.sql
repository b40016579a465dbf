-- +goose Up

CREATE TABLE meta (
    name TEXT PRIMARY KEY NOT NULL,
    value BLOB NOT NULL
) STRICT;

CREATE TABLE node (
    n INTEGER PRIMARY KEY,
    holder TEXT NOT NULL,
    lease_until_at INTEGER NOT NULL,
    ids_until INTEGER NOT NULL,
    fence INTEGER NOT NULL
) STRICT;

CREATE TABLE leader (
    name TEXT PRIMARY KEY NOT NULL,
    holder TEXT NOT NULL,
    token INTEGER NOT NULL,
    lease_until_at INTEGER NOT NULL
) STRICT;

CREATE TABLE cursor (
    name TEXT PRIMARY KEY NOT NULL,
    seq INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE event (
    pos INTEGER PRIMARY KEY,
    seq INTEGER UNIQUE,
    act TEXT NOT NULL,
    ref INTEGER NOT NULL,
    version INTEGER NOT NULL,
    actor INTEGER NOT NULL,
    at INTEGER NOT NULL
) STRICT;

CREATE TABLE fence (
    n INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    id INTEGER NOT NULL,
    at INTEGER NOT NULL
) STRICT;

INSERT INTO node (n, holder, lease_until_at, ids_until, fence)
WITH RECURSIVE number (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n < 127)
SELECT n, '', 0, 0, 0 FROM number;

INSERT INTO cursor (name, seq, updated_at) VALUES ('position', 0, 0);
