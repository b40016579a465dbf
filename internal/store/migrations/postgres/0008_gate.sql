-- +goose Up

CREATE TABLE idempotency (
    principal BIGINT NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    act TEXT COLLATE "C" NOT NULL,
    hash BYTEA NOT NULL,
    ref BIGINT NOT NULL,
    version BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (principal, name)
);

CREATE INDEX idempotency_age ON idempotency (created_at, principal, name);
