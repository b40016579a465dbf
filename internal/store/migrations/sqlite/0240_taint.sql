-- +goose Up

-- How an agent or a thing is labelled, beyond what comes with who and where it is:
-- integrity and secrecy by number, path what that comes from (a list of items), made_by
-- the operator who said so, 0 where it was carried over from what was shown.
CREATE TABLE taint (
    subject INTEGER PRIMARY KEY,
    integrity INTEGER NOT NULL,
    secrecy INTEGER NOT NULL,
    path BLOB NOT NULL,
    made_at INTEGER NOT NULL,
    made_by INTEGER NOT NULL
) STRICT;
