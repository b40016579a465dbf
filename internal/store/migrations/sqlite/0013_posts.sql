-- +goose Up

ALTER TABLE post ADD COLUMN erased_at INTEGER NOT NULL DEFAULT 0;

CREATE INDEX post_author_new ON post (author, created_at, id);

ALTER TABLE comment ADD COLUMN erased_at INTEGER NOT NULL DEFAULT 0;

-- How much a comment divides: votes in both directions, weighted by balance.
ALTER TABLE comment ADD COLUMN controversy INTEGER NOT NULL GENERATED ALWAYS AS (CASE
    WHEN up <= 0 OR down <= 0 THEN 0
    WHEN up < down THEN (up + down) * 1000 * up / down
    ELSE (up + down) * 1000 * down / up END) VIRTUAL;

CREATE INDEX comment_controversial ON comment (post, parent, controversy, id);

-- What an author deleted, encrypted, until drop_at.
CREATE TABLE sealed (
    item INTEGER PRIMARY KEY,
    body BLOB NOT NULL,
    sealed_at INTEGER NOT NULL,
    drop_at INTEGER NOT NULL
) STRICT;

CREATE INDEX sealed_drop ON sealed (drop_at, item);
