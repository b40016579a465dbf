-- +goose Up

-- The questions of the record that auditors have saved, each with all its versions. filter
-- is JSON; gone is 1 for the version that takes a question from the list.
CREATE TABLE audit_query (
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    title TEXT NOT NULL,
    filter TEXT NOT NULL,
    made_by INTEGER NOT NULL,
    made_at INTEGER NOT NULL,
    gone INTEGER NOT NULL,
    PRIMARY KEY (name, version)
) STRICT;
