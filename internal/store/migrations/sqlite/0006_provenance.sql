-- +goose Up

CREATE TABLE exposure (
    pos INTEGER PRIMARY KEY,
    after_seq INTEGER,
    agent INTEGER NOT NULL,
    at INTEGER NOT NULL,
    channel TEXT NOT NULL,
    again INTEGER NOT NULL,
    count INTEGER NOT NULL,
    items BLOB NOT NULL,
    trace TEXT NOT NULL
) STRICT;

CREATE INDEX exposure_agent ON exposure (agent, after_seq, pos);

CREATE TABLE derivation (
    pos INTEGER NOT NULL,
    ord INTEGER NOT NULL,
    source INTEGER NOT NULL,
    source_version INTEGER NOT NULL,
    made INTEGER NOT NULL,
    made_version INTEGER NOT NULL,
    level INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    PRIMARY KEY (pos, ord)
) STRICT, WITHOUT ROWID;

CREATE INDEX derivation_source ON derivation (source, pos);
