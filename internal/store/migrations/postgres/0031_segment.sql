-- +goose Up

-- Parts of the log of exposures that have been sealed, in the order of the
-- sequence. The numbers beside head and body are the body's own, for those who
-- look for a part.
CREATE TABLE segment (
    id BIGINT PRIMARY KEY,
    kind BIGINT NOT NULL,
    first_seq BIGINT NOT NULL,
    last_seq BIGINT NOT NULL,
    first_at BIGINT NOT NULL,
    last_at BIGINT NOT NULL,
    pages BIGINT NOT NULL,
    items BIGINT NOT NULL,
    head BYTEA NOT NULL,
    body BYTEA NOT NULL
);

-- They are compressed already.
ALTER TABLE segment ALTER COLUMN head SET STORAGE EXTERNAL;

ALTER TABLE segment ALTER COLUMN body SET STORAGE EXTERNAL;

-- The order in which the log is sealed, which differs from that of positions.
CREATE INDEX exposure_order ON exposure (after_seq, pos);
