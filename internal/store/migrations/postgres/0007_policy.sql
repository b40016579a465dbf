-- +goose Up

CREATE TABLE policy_bundle (
    version BIGINT PRIMARY KEY,
    body BYTEA NOT NULL,
    digest BYTEA NOT NULL,
    active_at BIGINT NOT NULL
);
