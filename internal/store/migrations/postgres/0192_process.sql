-- +goose Up

-- Runtime processes that hold agents: keeper is the agent that renews the lease, in
-- microseconds, for all of them.
CREATE TABLE process (
    id BIGINT PRIMARY KEY,
    keeper BIGINT NOT NULL,
    owner BIGINT NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    lease BIGINT NOT NULL,
    until_at BIGINT NOT NULL,
    opened_at BIGINT NOT NULL
);

CREATE INDEX process_keeper ON process (keeper, until_at, id);

CREATE INDEX process_until ON process (until_at, id);

CREATE TABLE hosted (
    agent BIGINT PRIMARY KEY,
    process BIGINT NOT NULL
);

CREATE INDEX hosted_process ON hosted (process, agent);

-- When an agent lost its lease, and whose child it was: who dies again and again is not
-- brought back.
CREATE TABLE death (
    agent BIGINT NOT NULL,
    at BIGINT NOT NULL,
    parent BIGINT NOT NULL,
    PRIMARY KEY (agent, at),
    UNIQUE (at, agent)
);

CREATE INDEX death_parent ON death (parent, at, agent);
