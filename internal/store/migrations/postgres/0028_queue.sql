-- +goose Up

CREATE TABLE queue (
    id BIGINT PRIMARY KEY,
    owner BIGINT NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    acts TEXT COLLATE "C" NOT NULL,
    subjects TEXT COLLATE "C" NOT NULL,
    seq BIGINT NOT NULL,
    visibility BIGINT NOT NULL,
    max_receives BIGINT NOT NULL,
    dead BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    UNIQUE (owner, name)
);

CREATE TABLE queue_item (
    queue BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    subject BIGINT NOT NULL,
    receives BIGINT NOT NULL,
    receipt BIGINT NOT NULL,
    visible_at BIGINT NOT NULL,
    PRIMARY KEY (queue, seq)
);

CREATE TABLE queue_dead (
    queue BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    subject BIGINT NOT NULL,
    receives BIGINT NOT NULL,
    dead_at BIGINT NOT NULL,
    PRIMARY KEY (queue, seq)
);
