-- +goose Up

-- The last roll-out of each class: class is the version that it leads to, base the version
-- that new agents are made of meanwhile, steps how many agents have it by and by. n counts
-- the roll-outs of the class. State 1 runs, 2 is paused, 3 is done, 4 is taken back.
CREATE TABLE rollout (
    name TEXT COLLATE "C" PRIMARY KEY,
    n BIGINT NOT NULL,
    class BIGINT NOT NULL,
    version BIGINT NOT NULL,
    base BIGINT NOT NULL,
    steps TEXT COLLATE "C" NOT NULL,
    step BIGINT NOT NULL,
    bake BIGINT NOT NULL,
    window_us BIGINT NOT NULL,
    most BIGINT NOT NULL,
    state BIGINT NOT NULL,
    epoch BIGINT NOT NULL,
    rule TEXT COLLATE "C" NOT NULL,
    evidence TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    made_by BIGINT NOT NULL,
    made_at BIGINT NOT NULL,
    step_at BIGINT NOT NULL,
    changed_at BIGINT NOT NULL
);

-- Who was bound to another version by it, what they were before, and what has gone wrong
-- with them since; fault is '' for nothing.
CREATE TABLE rebinding (
    agent BIGINT PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL,
    was BIGINT NOT NULL,
    granted TEXT COLLATE "C" NOT NULL,
    bound_at BIGINT NOT NULL,
    fault TEXT COLLATE "C" NOT NULL,
    fault_at BIGINT NOT NULL
);

CREATE INDEX rebinding_name ON rebinding (name, bound_at, agent);

CREATE INDEX rebinding_fault ON rebinding (name, fault_at, agent) WHERE fault <> '';
