-- +goose Up

-- The last roll-out of each class: class is the version that it leads to, base the version
-- that new agents are made of meanwhile, steps how many agents have it by and by. n counts
-- the roll-outs of the class. State 1 runs, 2 is paused, 3 is done, 4 is taken back.
CREATE TABLE rollout (
    name TEXT PRIMARY KEY NOT NULL,
    n INTEGER NOT NULL,
    class INTEGER NOT NULL,
    version INTEGER NOT NULL,
    base INTEGER NOT NULL,
    steps TEXT NOT NULL,
    step INTEGER NOT NULL,
    bake INTEGER NOT NULL,
    window_us INTEGER NOT NULL,
    most INTEGER NOT NULL,
    state INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    rule TEXT NOT NULL,
    evidence TEXT NOT NULL,
    reason TEXT NOT NULL,
    made_by INTEGER NOT NULL,
    made_at INTEGER NOT NULL,
    step_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL
) STRICT;

-- Who was bound to another version by it, what they were before, and what has gone wrong
-- with them since; fault is '' for nothing.
CREATE TABLE rebinding (
    agent INTEGER PRIMARY KEY,
    name TEXT NOT NULL,
    was INTEGER NOT NULL,
    granted TEXT NOT NULL,
    bound_at INTEGER NOT NULL,
    fault TEXT NOT NULL,
    fault_at INTEGER NOT NULL
) STRICT;

CREATE INDEX rebinding_name ON rebinding (name, bound_at, agent);

CREATE INDEX rebinding_fault ON rebinding (name, fault_at, agent) WHERE fault <> '';
