-- +goose Up

-- Runtime processes that hold agents: keeper is the agent that renews the lease, in
-- microseconds, for all of them.
CREATE TABLE process (
    id INTEGER PRIMARY KEY,
    keeper INTEGER NOT NULL,
    owner INTEGER NOT NULL,
    name TEXT NOT NULL,
    lease INTEGER NOT NULL,
    until_at INTEGER NOT NULL,
    opened_at INTEGER NOT NULL
) STRICT;

CREATE INDEX process_keeper ON process (keeper, until_at, id);

CREATE INDEX process_until ON process (until_at, id);

CREATE TABLE hosted (
    agent INTEGER PRIMARY KEY,
    process INTEGER NOT NULL
) STRICT;

CREATE INDEX hosted_process ON hosted (process, agent);

-- When an agent lost its lease, and whose child it was: who dies again and again is not
-- brought back.
CREATE TABLE death (
    agent INTEGER NOT NULL,
    at INTEGER NOT NULL,
    parent INTEGER NOT NULL,
    PRIMARY KEY (agent, at),
    UNIQUE (at, agent)
) STRICT;

CREATE INDEX death_parent ON death (parent, at, agent);
