-- +goose Up

-- Parts of the log of exposures that have been sealed, in the order of the
-- sequence. The numbers beside head and body are the body's own, for those who
-- look for a part.
CREATE TABLE segment (
    id INTEGER PRIMARY KEY,
    kind INTEGER NOT NULL,
    first_seq INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    first_at INTEGER NOT NULL,
    last_at INTEGER NOT NULL,
    pages INTEGER NOT NULL,
    items INTEGER NOT NULL,
    head BLOB NOT NULL,
    body BLOB NOT NULL
) STRICT;
