-- +goose Up

-- What all agents of the network, of a team or of a class use up together at most. given is
-- how much of it nodes have taken in the period that began at since, 0 without one.
CREATE TABLE quota (
    id BIGINT PRIMARY KEY,
    scope TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    most BIGINT NOT NULL,
    period TEXT COLLATE "C" NOT NULL,
    since BIGINT NOT NULL,
    given BIGINT NOT NULL,
    warned_at BIGINT NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    set_by BIGINT NOT NULL,
    set_at BIGINT NOT NULL,
    UNIQUE (scope, kind)
);

-- What a node has taken of a quota in a period, and what its agents have used of that.
CREATE TABLE quota_block (
    id BIGINT PRIMARY KEY,
    quota BIGINT NOT NULL,
    node BIGINT NOT NULL,
    since BIGINT NOT NULL,
    leased BIGINT NOT NULL,
    used BIGINT NOT NULL CHECK (used <= leased),
    UNIQUE (quota, node)
);

-- What an agent has reserved of a quota that counts what is reported, in a period.
CREATE TABLE quota_use (
    quota BIGINT NOT NULL,
    agent BIGINT NOT NULL,
    since BIGINT NOT NULL,
    used BIGINT NOT NULL,
    PRIMARY KEY (quota, agent)
);

CREATE INDEX quota_use_agent ON quota_use (agent, quota);
