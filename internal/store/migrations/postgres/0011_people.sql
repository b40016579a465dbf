-- +goose Up

ALTER TABLE profile ADD COLUMN followers BIGINT NOT NULL DEFAULT 0;

ALTER TABLE profile ADD COLUMN following BIGINT NOT NULL DEFAULT 0;

ALTER TABLE profile ADD COLUMN avatar BIGINT NOT NULL DEFAULT 0;

ALTER TABLE profile ADD COLUMN active_at BIGINT NOT NULL DEFAULT 0;

CREATE TABLE follow (
    follower BIGINT NOT NULL,
    followed BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (follower, followed)
);

CREATE INDEX follow_followed ON follow (followed, follower);

CREATE TABLE image (
    id BIGINT PRIMARY KEY,
    owner BIGINT NOT NULL,
    format TEXT COLLATE "C" NOT NULL,
    width BIGINT NOT NULL,
    height BIGINT NOT NULL,
    hash BYTEA NOT NULL,
    salt BYTEA NOT NULL,
    data BYTEA NOT NULL,
    origin BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);
