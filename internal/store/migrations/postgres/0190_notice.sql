-- +goose Up

-- What a rule of an agent's class has found about it and what came of that: does is the
-- response, epoch the agent's after it, ends_at when it is ended, 0 never.
CREATE TABLE notice (
    agent BIGINT NOT NULL,
    rule TEXT COLLATE "C" NOT NULL,
    does TEXT COLLATE "C" NOT NULL,
    evidence TEXT COLLATE "C" NOT NULL,
    epoch BIGINT NOT NULL,
    made_at BIGINT NOT NULL,
    ends_at BIGINT NOT NULL,
    PRIMARY KEY (agent, rule)
);

CREATE INDEX notice_made ON notice (made_at, agent, rule);

CREATE INDEX notice_ends ON notice (agent) WHERE ends_at <> 0;
