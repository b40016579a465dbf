-- +goose Up

-- What a rule of an agent's class has found about it and what came of that: does is the
-- response, ends_at when the agent is ended by it, 0 never.
CREATE TABLE notice (
    agent INTEGER NOT NULL,
    rule TEXT NOT NULL,
    does TEXT NOT NULL,
    evidence TEXT NOT NULL,
    made_at INTEGER NOT NULL,
    ends_at INTEGER NOT NULL,
    PRIMARY KEY (agent, rule)
) STRICT;

CREATE INDEX notice_made ON notice (made_at, agent, rule);

CREATE INDEX notice_ends ON notice (agent) WHERE ends_at <> 0;
