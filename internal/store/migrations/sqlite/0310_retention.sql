-- +goose Up

-- What operators have said of how long rows are kept that are dropped for their age, each
-- time they said something else: for so many days, 0 for as long as the settings say; it
-- holds from from_at on, and until then it is was days.
CREATE TABLE retention (
    n INTEGER PRIMARY KEY,
    term TEXT NOT NULL,
    days INTEGER NOT NULL,
    was INTEGER NOT NULL,
    from_at INTEGER NOT NULL,
    reason TEXT NOT NULL,
    made_by INTEGER NOT NULL,
    made_at INTEGER NOT NULL
) STRICT;

CREATE INDEX retention_term ON retention (term, n);
