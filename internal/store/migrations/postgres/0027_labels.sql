-- +goose Up

CREATE TABLE label (
    id BIGINT PRIMARY KEY,
    community BIGINT NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    color TEXT COLLATE "C" NOT NULL,
    kind BIGINT NOT NULL,
    author BIGINT NOT NULL,
    prompt TEXT COLLATE "C" NOT NULL,
    prompt_author BIGINT NOT NULL,
    approval BIGINT NOT NULL,
    prompted_at BIGINT NOT NULL,
    cadence_minutes BIGINT NOT NULL,
    version BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (community, key)
);

CREATE TABLE attachment (
    id BIGINT PRIMARY KEY,
    label BIGINT NOT NULL,
    target BIGINT NOT NULL,
    placement TEXT COLLATE "C" NOT NULL,
    author BIGINT NOT NULL,
    delivered_at BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (label, target)
);

CREATE INDEX attachment_target ON attachment (target, id);
