-- +goose Up

-- What operators have contained of what something spread to: the agents that were
-- quarantined for it, the things that are withheld, and the agents that had been shown
-- one of them, as lists of ids. undone_at is 0 while it is in force.
CREATE TABLE recall (
    n BIGINT PRIMARY KEY,
    subject BIGINT NOT NULL,
    level TEXT COLLATE "C" NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    made_by BIGINT NOT NULL,
    made_at BIGINT NOT NULL,
    until_at BIGINT NOT NULL,
    undone_at BIGINT NOT NULL,
    through BIGINT NOT NULL,
    agents BYTEA NOT NULL,
    items BYTEA NOT NULL,
    shown BYTEA NOT NULL
);

CREATE INDEX recall_active ON recall (undone_at, n);
