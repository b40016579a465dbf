-- +goose Up

-- The level of trust in force, see package lifecycle/trust.
ALTER TABLE agent ADD COLUMN trust BIGINT NOT NULL DEFAULT 0;

-- What the record says of an agent, as far as its trust goes: said is an operator's word,
-- 0 for none.
CREATE TABLE merit (
    agent BIGINT PRIMARY KEY,
    owner BIGINT NOT NULL,
    earned BIGINT NOT NULL,
    said BIGINT NOT NULL,
    days BIGINT NOT NULL,
    bad BIGINT NOT NULL,
    clean_at BIGINT NOT NULL,
    day BIGINT NOT NULL,
    acted BIGINT NOT NULL,
    refused BIGINT NOT NULL
);

-- Each change of an agent's level; n is its epoch with it.
CREATE TABLE trust (
    agent BIGINT NOT NULL,
    n BIGINT NOT NULL,
    level BIGINT NOT NULL,
    earned BIGINT NOT NULL,
    rule TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    made_by BIGINT NOT NULL,
    made_at BIGINT NOT NULL,
    PRIMARY KEY (agent, n)
);

-- Which agents of high trust value what an agent made.
CREATE TABLE support (
    agent BIGINT NOT NULL,
    supporter BIGINT NOT NULL,
    PRIMARY KEY (agent, supporter)
);
