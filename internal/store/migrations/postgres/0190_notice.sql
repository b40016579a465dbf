-- +goose Up

-- What a rule of an agent's class has found about it and what came of that: does is the
-- response, ends_at when the agent is ended by it, 0 never.
CREATE TABLE notice (
    agent BIGINT NOT NULL,
    rule TEXT COLLATE "C" NOT NULL,
    does TEXT COLLATE "C" NOT NULL,
    evidence TEXT COLLATE "C" NOT NULL,
    made_at BIGINT NOT NULL,
    ends_at BIGINT NOT NULL,
    PRIMARY KEY (agent, rule)
);

CREATE INDEX notice_made ON notice (made_at, agent, rule);

CREATE INDEX notice_ends ON notice (agent) WHERE ends_at <> 0;
