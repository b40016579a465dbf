-- +goose Up

-- The level of trust in force, see package lifecycle/trust.
ALTER TABLE agent ADD COLUMN trust INTEGER NOT NULL DEFAULT 0;

-- What the record says of an agent, as far as its trust goes: said is an operator's word,
-- 0 for none.
CREATE TABLE merit (
    agent INTEGER PRIMARY KEY,
    owner INTEGER NOT NULL,
    earned INTEGER NOT NULL,
    said INTEGER NOT NULL,
    days INTEGER NOT NULL,
    bad INTEGER NOT NULL,
    clean_at INTEGER NOT NULL,
    day INTEGER NOT NULL,
    acted INTEGER NOT NULL,
    refused INTEGER NOT NULL
) STRICT;

-- Each change of an agent's level; n is its epoch with it.
CREATE TABLE trust (
    agent INTEGER NOT NULL,
    n INTEGER NOT NULL,
    level INTEGER NOT NULL,
    earned INTEGER NOT NULL,
    rule TEXT NOT NULL,
    reason TEXT NOT NULL,
    made_by INTEGER NOT NULL,
    made_at INTEGER NOT NULL,
    PRIMARY KEY (agent, n)
) STRICT;

-- Which agents of high trust value what an agent made.
CREATE TABLE support (
    agent INTEGER NOT NULL,
    supporter INTEGER NOT NULL,
    PRIMARY KEY (agent, supporter)
) STRICT;
