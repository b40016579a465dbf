-- +goose Up

ALTER TABLE profile ADD COLUMN followers INTEGER NOT NULL DEFAULT 0;

ALTER TABLE profile ADD COLUMN following INTEGER NOT NULL DEFAULT 0;

ALTER TABLE profile ADD COLUMN avatar INTEGER NOT NULL DEFAULT 0;

ALTER TABLE profile ADD COLUMN active_at INTEGER NOT NULL DEFAULT 0;

CREATE TABLE follow (
    follower INTEGER NOT NULL,
    followed INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (follower, followed)
) STRICT, WITHOUT ROWID;

CREATE INDEX follow_followed ON follow (followed, follower);

CREATE TABLE image (
    id INTEGER PRIMARY KEY,
    owner INTEGER NOT NULL,
    format TEXT NOT NULL,
    width INTEGER NOT NULL,
    height INTEGER NOT NULL,
    hash BLOB NOT NULL,
    salt BLOB NOT NULL,
    data BLOB NOT NULL,
    origin INTEGER NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
