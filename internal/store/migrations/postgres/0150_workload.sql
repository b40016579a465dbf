-- +goose Up

-- What ties an agent to its class, its mandate and its parent; 0 where it has none.
-- class is one version of a class, revision that of the mandate which it was bound to,
-- root the first of its line, ends_at the end of its life.
ALTER TABLE agent ADD COLUMN class BIGINT NOT NULL DEFAULT 0;
ALTER TABLE agent ADD COLUMN mandate BIGINT NOT NULL DEFAULT 0;
ALTER TABLE agent ADD COLUMN revision BIGINT NOT NULL DEFAULT 0;
ALTER TABLE agent ADD COLUMN parent BIGINT NOT NULL DEFAULT 0;
ALTER TABLE agent ADD COLUMN root BIGINT NOT NULL DEFAULT 0;
ALTER TABLE agent ADD COLUMN depth BIGINT NOT NULL DEFAULT 0;
ALTER TABLE agent ADD COLUMN ends_at BIGINT NOT NULL DEFAULT 0;

CREATE INDEX agent_class ON agent (class, id) WHERE class <> 0;

CREATE INDEX agent_mandate ON agent (mandate, id) WHERE mandate <> 0;

CREATE INDEX agent_parent ON agent (parent, id) WHERE parent <> 0;

CREATE INDEX agent_root ON agent (root, id) WHERE root <> 0;

CREATE INDEX agent_ends ON agent (ends_at, id) WHERE ends_at <> 0;

-- Which agents are stopped together. The row with scope 0 counts the changes.
CREATE TABLE halt (
    scope BIGINT NOT NULL,
    target BIGINT NOT NULL,
    label TEXT COLLATE "C" NOT NULL,
    does BIGINT NOT NULL,
    least BIGINT NOT NULL,
    n BIGINT NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    made_by BIGINT NOT NULL,
    made_at BIGINT NOT NULL,
    PRIMARY KEY (scope, target, label)
);
