-- +goose Up

CREATE TABLE exposure (
    pos BIGINT PRIMARY KEY,
    after_seq BIGINT,
    agent BIGINT NOT NULL,
    at BIGINT NOT NULL,
    channel TEXT COLLATE "C" NOT NULL,
    again BIGINT NOT NULL,
    count BIGINT NOT NULL,
    items BYTEA NOT NULL,
    trace TEXT COLLATE "C" NOT NULL
);

CREATE INDEX exposure_agent ON exposure (agent, after_seq, pos);

CREATE TABLE derivation (
    pos BIGINT NOT NULL,
    ord BIGINT NOT NULL,
    source BIGINT NOT NULL,
    source_version BIGINT NOT NULL,
    made BIGINT NOT NULL,
    made_version BIGINT NOT NULL,
    level BIGINT NOT NULL,
    kind BIGINT NOT NULL,
    PRIMARY KEY (pos, ord)
);

CREATE INDEX derivation_source ON derivation (source, pos);

CREATE INDEX exposure_unnumbered ON exposure (pos) WHERE after_seq IS NULL;
