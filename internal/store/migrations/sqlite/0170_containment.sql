-- +goose Up

-- What operators have said of agents that are stopped together, a row for each scope and
-- order; name is the scope's as it was given. done_at is when the last agent of a scope
-- that is killed had ended, 0 before that.
CREATE TABLE containment (
    scope INTEGER NOT NULL,
    target INTEGER NOT NULL,
    label TEXT NOT NULL,
    does INTEGER NOT NULL,
    name TEXT NOT NULL,
    reason TEXT NOT NULL,
    made_by INTEGER NOT NULL,
    made_at INTEGER NOT NULL,
    ended INTEGER NOT NULL,
    done_at INTEGER NOT NULL,
    PRIMARY KEY (scope, target, label, does)
) STRICT;
