-- +goose Up

-- What can be found by its words. It holds marks of words (keyed hashes), no text.
CREATE TABLE findable (
    id BIGINT PRIMARY KEY,
    words TSVECTOR NOT NULL
);

CREATE INDEX findable_words ON findable USING GIN (words);
