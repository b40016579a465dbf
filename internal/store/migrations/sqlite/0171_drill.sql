-- +goose Up

-- How each control held the last time that it was tried; fault is '' when it did.
CREATE TABLE drill (
    control TEXT PRIMARY KEY NOT NULL,
    fault TEXT NOT NULL,
    acts INTEGER NOT NULL,
    stop_us INTEGER NOT NULL,
    ack_us INTEGER NOT NULL,
    at INTEGER NOT NULL
) STRICT;
