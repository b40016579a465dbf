-- +goose Up

-- Bundles that decide, or decided, beside the one in force; ended_at is 0 for the one
-- that does.
CREATE TABLE policy_shadow (
    id BIGINT PRIMARY KEY,
    body BYTEA NOT NULL,
    operator BIGINT NOT NULL,
    reason TEXT COLLATE "C" NOT NULL,
    began_at BIGINT NOT NULL,
    ended_at BIGINT NOT NULL
);

CREATE INDEX policy_shadow_ended ON policy_shadow (ended_at, id);

-- What one would have decided otherwise, with how often. body is of one of them.
CREATE TABLE policy_flip (
    shadow BIGINT NOT NULL,
    digest BYTEA NOT NULL,
    principal BIGINT NOT NULL,
    act TEXT COLLATE "C" NOT NULL,
    body BYTEA NOT NULL,
    was TEXT COLLATE "C" NOT NULL,
    rule TEXT COLLATE "C" NOT NULL,
    now TEXT COLLATE "C" NOT NULL,
    by_policy TEXT COLLATE "C" NOT NULL,
    place TEXT COLLATE "C" NOT NULL,
    n BIGINT NOT NULL,
    PRIMARY KEY (shadow, digest)
);
