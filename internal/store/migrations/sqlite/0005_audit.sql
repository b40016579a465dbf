-- +goose Up

CREATE TABLE leaf (
    pos INTEGER PRIMARY KEY,
    body BLOB NOT NULL
) STRICT;
