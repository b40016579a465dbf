-- +goose Up

ALTER TABLE event ADD COLUMN target INTEGER NOT NULL DEFAULT 0;

ALTER TABLE event ADD COLUMN outcome INTEGER NOT NULL DEFAULT 0;

CREATE TABLE webhook (
    id INTEGER PRIMARY KEY,
    owner INTEGER NOT NULL,
    operator INTEGER NOT NULL,
    url TEXT NOT NULL,
    secret BLOB NOT NULL,
    acts TEXT NOT NULL,
    subjects TEXT NOT NULL,
    seq INTEGER NOT NULL,
    failures INTEGER NOT NULL,
    next_at INTEGER NOT NULL,
    disabled_at INTEGER NOT NULL,
    reason TEXT NOT NULL,
    epoch INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    updated_at INTEGER NOT NULL
) STRICT;

CREATE INDEX webhook_owner ON webhook (owner, id);

CREATE INDEX webhook_live ON webhook (disabled_at, id);

CREATE TABLE delivery (
    id INTEGER PRIMARY KEY,
    webhook INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    status INTEGER NOT NULL,
    error TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;

CREATE INDEX delivery_webhook ON delivery (webhook, id);
