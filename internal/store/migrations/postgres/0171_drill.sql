-- +goose Up

-- How each control held the last time that it was tried; fault is '' when it did.
CREATE TABLE drill (
    control TEXT COLLATE "C" PRIMARY KEY NOT NULL,
    fault TEXT COLLATE "C" NOT NULL,
    acts BIGINT NOT NULL,
    stop_us BIGINT NOT NULL,
    ack_us BIGINT NOT NULL,
    at BIGINT NOT NULL
);
