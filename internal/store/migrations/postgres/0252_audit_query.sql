-- +goose Up

-- The questions of the record that auditors have saved, each with all its versions. filter
-- is JSON; gone is 1 for the version that takes a question from the list.
CREATE TABLE audit_query (
    name TEXT COLLATE "C" NOT NULL,
    version BIGINT NOT NULL,
    title TEXT COLLATE "C" NOT NULL,
    filter TEXT COLLATE "C" NOT NULL,
    made_by BIGINT NOT NULL,
    made_at BIGINT NOT NULL,
    gone BIGINT NOT NULL,
    PRIMARY KEY (name, version)
);
