-- +goose Up

-- The versions of the wrapping key from the second on. The keys themselves are in the
-- network's ring; mark tells a key from another of its number. active_at is 0 for one
-- that was asked for and is not in use yet.
CREATE TABLE wrapping_key (
    version BIGINT PRIMARY KEY,
    mark BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    active_at BIGINT NOT NULL
);

ALTER TABLE sealed ADD COLUMN key_version BIGINT NOT NULL DEFAULT 1;

ALTER TABLE webhook ADD COLUMN key_version BIGINT NOT NULL DEFAULT 1;

-- What is wrapped under an older version is found by it and wrapped anew.
CREATE INDEX conversation_key ON conversation (key_version, id);

CREATE INDEX sealed_key ON sealed (key_version, item);

CREATE INDEX webhook_key ON webhook (key_version, id);
