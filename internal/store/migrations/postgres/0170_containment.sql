-- +goose Up

-- What operators have said of agents that are stopped together, a row for each scope and
-- order; name is the scope's as it was given. done_at is when the last agent of a scope
-- that is killed had ended, 0 before that.
CREATE TABLE containment (
    scope BIGINT NOT NULL,
    target BIGINT NOT NULL,
    label TEXT COLLATE "C" NOT NULL,
    does BIGINT NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    made_by BIGINT NOT NULL,
    made_at BIGINT NOT NULL,
    ended BIGINT NOT NULL,
    done_at BIGINT NOT NULL,
    PRIMARY KEY (scope, target, label, does)
);
