-- +goose Up

CREATE TABLE approval (
    id BIGINT PRIMARY KEY,
    agent BIGINT NOT NULL,
    act TEXT COLLATE "C" NOT NULL,
    target BIGINT NOT NULL,
    target_version BIGINT NOT NULL,
    demand TEXT COLLATE "C" NOT NULL,
    asks TEXT COLLATE "C" NOT NULL,
    policy TEXT COLLATE "C" NOT NULL,
    digest BYTEA NOT NULL,
    sealed BYTEA NOT NULL,
    answer BYTEA NOT NULL,
    slot BIGINT NOT NULL,
    state BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    owner BIGINT NOT NULL,
    decided_by BIGINT NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    made BIGINT NOT NULL,
    made_version BIGINT NOT NULL,
    code TEXT COLLATE "C" NOT NULL,
    rule TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    decided_at BIGINT NOT NULL,
    ended_at BIGINT NOT NULL
);

CREATE UNIQUE INDEX approval_alike ON approval (agent, digest) WHERE state < 3;

CREATE UNIQUE INDEX approval_slot ON approval (agent, slot) WHERE state < 3;

CREATE INDEX approval_agent ON approval (agent, id);

CREATE INDEX approval_state ON approval (state, id);

CREATE INDEX approval_open ON approval (expires_at, id) WHERE state < 3;

CREATE TABLE trial (
    agent BIGINT PRIMARY KEY,
    failures BIGINT NOT NULL,
    failed_at BIGINT NOT NULL,
    cool_until_at BIGINT NOT NULL
);
