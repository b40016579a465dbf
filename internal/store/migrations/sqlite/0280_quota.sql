-- +goose Up

-- What all agents of the network, of a team or of a class use up together at most. given is
-- how much of it nodes have taken in the period that began at since, 0 without one.
CREATE TABLE quota (
    id INTEGER PRIMARY KEY,
    scope TEXT NOT NULL,
    kind TEXT NOT NULL,
    most INTEGER NOT NULL,
    period TEXT NOT NULL,
    since INTEGER NOT NULL,
    given INTEGER NOT NULL,
    warned_at INTEGER NOT NULL,
    reason TEXT NOT NULL,
    set_by INTEGER NOT NULL,
    set_at INTEGER NOT NULL,
    UNIQUE (scope, kind)
) STRICT;

-- What a node has taken of a quota in a period, and what its agents have used of that.
CREATE TABLE quota_block (
    id INTEGER PRIMARY KEY,
    quota INTEGER NOT NULL,
    node INTEGER NOT NULL,
    since INTEGER NOT NULL,
    leased INTEGER NOT NULL,
    used INTEGER NOT NULL CHECK (used <= leased),
    UNIQUE (quota, node)
) STRICT;

-- What an agent has reserved of a quota that counts what is reported, in a period.
CREATE TABLE quota_use (
    quota INTEGER NOT NULL,
    agent INTEGER NOT NULL,
    since INTEGER NOT NULL,
    used INTEGER NOT NULL,
    PRIMARY KEY (quota, agent)
) STRICT;

CREATE INDEX quota_use_agent ON quota_use (agent, quota);
