-- +goose Up

-- What an agent was granted when it was made; '' for one without a class.
ALTER TABLE agent ADD COLUMN granted TEXT NOT NULL DEFAULT '';

-- A version of a class never changes, but for its state: 1 in use, 2 retired.
CREATE TABLE class (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    document TEXT NOT NULL,
    state INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    reason TEXT NOT NULL,
    made_by INTEGER NOT NULL,
    made_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    UNIQUE (name, version)
) STRICT;

-- A mandate as it is now: state 1 open, 2 closed.
CREATE TABLE mandate (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    owner INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    statement TEXT NOT NULL,
    success TEXT NOT NULL,
    stop TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    grace INTEGER NOT NULL,
    state INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    outcomes INTEGER NOT NULL,
    reason TEXT NOT NULL,
    made_by INTEGER NOT NULL,
    made_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL
) STRICT;

CREATE INDEX mandate_expires ON mandate (expires_at, id) WHERE expires_at <> 0 AND state = 1;

-- What a mandate said in each of its revisions.
CREATE TABLE revision (
    mandate INTEGER NOT NULL,
    n INTEGER NOT NULL,
    statement TEXT NOT NULL,
    success TEXT NOT NULL,
    stop TEXT NOT NULL,
    expires_at INTEGER NOT NULL,
    reason TEXT NOT NULL,
    made_by INTEGER NOT NULL,
    made_at INTEGER NOT NULL,
    PRIMARY KEY (mandate, n)
) STRICT;

CREATE TABLE outcome (
    mandate INTEGER NOT NULL,
    n INTEGER NOT NULL,
    agent INTEGER NOT NULL,
    revision INTEGER NOT NULL,
    metric TEXT NOT NULL,
    value INTEGER NOT NULL,
    task INTEGER NOT NULL,
    made_at INTEGER NOT NULL,
    PRIMARY KEY (mandate, n)
) STRICT;

-- What an agent may use up, of each kind that is bounded: carved is what its children
-- were given of it.
CREATE TABLE budget (
    agent INTEGER NOT NULL,
    kind INTEGER NOT NULL,
    granted INTEGER NOT NULL,
    used INTEGER NOT NULL,
    carved INTEGER NOT NULL,
    PRIMARY KEY (agent, kind)
) STRICT;

CREATE TABLE lease (
    agent INTEGER PRIMARY KEY,
    until_at INTEGER NOT NULL
) STRICT;

CREATE INDEX lease_until ON lease (until_at, agent);

-- How many different people have to approve, 0 where the policy alone asks for one, and
-- who has so far.
ALTER TABLE approval ADD COLUMN quorum INTEGER NOT NULL DEFAULT 0;

CREATE TABLE assent (
    approval INTEGER NOT NULL,
    operator INTEGER NOT NULL,
    reason TEXT NOT NULL,
    made_at INTEGER NOT NULL,
    PRIMARY KEY (approval, operator)
) STRICT;
