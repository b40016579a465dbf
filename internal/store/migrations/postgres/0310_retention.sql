-- +goose Up

-- What operators have said of how long rows are kept that are dropped for their age, each
-- time they said something else: for so many days, 0 for as long as the settings say; it
-- holds from from_at on, and until then it is was days.
CREATE TABLE retention (
    n BIGINT PRIMARY KEY,
    term TEXT COLLATE "C" NOT NULL,
    days BIGINT NOT NULL,
    was BIGINT NOT NULL,
    from_at BIGINT NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    made_by BIGINT NOT NULL,
    made_at BIGINT NOT NULL
);

CREATE INDEX retention_term ON retention (term, n);
