-- +goose Up

-- What was decided, by hour (since 1970) and by everything it was made of, with how
-- often. principal is 0 where only the number is kept.
CREATE TABLE policy_decision (
    hour INTEGER NOT NULL,
    digest BLOB NOT NULL,
    principal INTEGER NOT NULL,
    act TEXT NOT NULL,
    body BLOB NOT NULL,
    bundle INTEGER NOT NULL,
    result TEXT NOT NULL,
    rule TEXT NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (hour, digest)
) STRICT, WITHOUT ROWID;
