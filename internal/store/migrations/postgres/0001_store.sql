-- +goose Up

CREATE TABLE meta (
    name TEXT COLLATE "C" PRIMARY KEY,
    value BYTEA NOT NULL
);

CREATE TABLE node (
    n BIGINT PRIMARY KEY,
    holder TEXT COLLATE "C" NOT NULL,
    lease_until_at BIGINT NOT NULL,
    ids_until BIGINT NOT NULL,
    fence BIGINT NOT NULL
);

CREATE TABLE leader (
    name TEXT COLLATE "C" PRIMARY KEY,
    holder TEXT COLLATE "C" NOT NULL,
    token BIGINT NOT NULL,
    lease_until_at BIGINT NOT NULL
);

CREATE TABLE cursor (
    name TEXT COLLATE "C" PRIMARY KEY,
    seq BIGINT NOT NULL,
    updated_at BIGINT NOT NULL
);

CREATE TABLE event (
    pos BIGINT PRIMARY KEY,
    seq BIGINT UNIQUE,
    act TEXT COLLATE "C" NOT NULL,
    ref BIGINT NOT NULL,
    version BIGINT NOT NULL,
    actor BIGINT NOT NULL,
    at BIGINT NOT NULL
);

CREATE TABLE fence (
    n BIGINT PRIMARY KEY,
    kind BIGINT NOT NULL,
    id BIGINT NOT NULL,
    at BIGINT NOT NULL
);

CREATE SEQUENCE position_seq;

CREATE INDEX event_unnumbered ON event (pos) WHERE seq IS NULL;

INSERT INTO node (n, holder, lease_until_at, ids_until, fence)
WITH RECURSIVE number (n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM number WHERE n < 127)
SELECT n, '', 0, 0, 0 FROM number;

INSERT INTO cursor (name, seq, updated_at) VALUES ('position', 0, 0);
