-- +goose Up

-- What an agent was granted when it was made; '' for one without a class.
ALTER TABLE agent ADD COLUMN granted TEXT COLLATE "C" NOT NULL DEFAULT '';

-- A version of a class never changes, but for its state: 1 in use, 2 retired.
CREATE TABLE class (
    id BIGINT PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    document TEXT COLLATE "C" NOT NULL,
    state BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    made_by BIGINT NOT NULL,
    made_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    UNIQUE (name, version)
);

-- A mandate as it is now: state 1 open, 2 closed.
CREATE TABLE mandate (
    id BIGINT PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL UNIQUE,
    owner BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    statement TEXT COLLATE "C" NOT NULL,
    success TEXT COLLATE "C" NOT NULL,
    stop TEXT COLLATE "C" NOT NULL,
    expires_at BIGINT NOT NULL,
    grace BIGINT NOT NULL,
    state BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    outcomes BIGINT NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    made_by BIGINT NOT NULL,
    made_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL
);

CREATE INDEX mandate_expires ON mandate (expires_at, id) WHERE expires_at <> 0 AND state = 1;

-- What a mandate said in each of its revisions.
CREATE TABLE revision (
    mandate BIGINT NOT NULL,
    n BIGINT NOT NULL,
    statement TEXT COLLATE "C" NOT NULL,
    success TEXT COLLATE "C" NOT NULL,
    stop TEXT COLLATE "C" NOT NULL,
    expires_at BIGINT NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    made_by BIGINT NOT NULL,
    made_at BIGINT NOT NULL,
    PRIMARY KEY (mandate, n)
);

CREATE TABLE outcome (
    mandate BIGINT NOT NULL,
    n BIGINT NOT NULL,
    agent BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    metric TEXT COLLATE "C" NOT NULL,
    value BIGINT NOT NULL,
    task BIGINT NOT NULL,
    made_at BIGINT NOT NULL,
    PRIMARY KEY (mandate, n)
);

-- What an agent may use up, of each kind that is bounded: carved is what its children
-- were given of it.
CREATE TABLE budget (
    agent BIGINT NOT NULL,
    kind BIGINT NOT NULL,
    granted BIGINT NOT NULL,
    used BIGINT NOT NULL,
    carved BIGINT NOT NULL,
    PRIMARY KEY (agent, kind)
);

CREATE TABLE lease (
    agent BIGINT PRIMARY KEY,
    until_at BIGINT NOT NULL
);

CREATE INDEX lease_until ON lease (until_at, agent);

-- How many different people have to approve, 0 where the policy alone asks for one, and
-- who has so far.
ALTER TABLE approval ADD COLUMN quorum BIGINT NOT NULL DEFAULT 0;

CREATE TABLE assent (
    approval BIGINT NOT NULL,
    operator BIGINT NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    made_at BIGINT NOT NULL,
    PRIMARY KEY (approval, operator)
);
