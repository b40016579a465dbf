-- +goose Up

-- What operators have contained of what something spread to: the agents that were
-- quarantined for it, the things that are withheld, and the agents that had been shown
-- one of them, as lists of ids. undone_at is 0 while it is in force.
CREATE TABLE recall (
    n INTEGER PRIMARY KEY,
    subject INTEGER NOT NULL,
    level TEXT NOT NULL,
    reason TEXT NOT NULL,
    made_by INTEGER NOT NULL,
    made_at INTEGER NOT NULL,
    until_at INTEGER NOT NULL,
    undone_at INTEGER NOT NULL,
    through INTEGER NOT NULL,
    agents BLOB NOT NULL,
    items BLOB NOT NULL,
    shown BLOB NOT NULL
) STRICT;

CREATE INDEX recall_active ON recall (undone_at, n);
