-- +goose Up

CREATE TABLE leaf (
    pos BIGINT PRIMARY KEY,
    body BYTEA NOT NULL
);
