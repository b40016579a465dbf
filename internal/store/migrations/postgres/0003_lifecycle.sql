-- +goose Up

CREATE TABLE agent (
    id BIGINT PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL,
    skeleton TEXT COLLATE "C" NOT NULL UNIQUE,
    owner BIGINT NOT NULL,
    state BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    invite BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    claimed_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL
);

CREATE INDEX agent_owner ON agent (owner, id);

CREATE INDEX agent_state ON agent (state, id);

CREATE TABLE invite (
    id BIGINT PRIMARY KEY,
    hash BYTEA NOT NULL UNIQUE,
    owner BIGINT NOT NULL,
    created_by BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT NOT NULL,
    used_by BIGINT NOT NULL
);

CREATE TABLE claim (
    agent BIGINT PRIMARY KEY,
    hash BYTEA NOT NULL UNIQUE,
    code TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL
);
