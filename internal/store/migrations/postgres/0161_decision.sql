-- +goose Up

-- What was decided, by hour (since 1970) and by everything it was made of, with how
-- often. principal is 0 where only the number is kept.
CREATE TABLE policy_decision (
    hour BIGINT NOT NULL,
    digest BYTEA NOT NULL,
    principal BIGINT NOT NULL,
    act TEXT COLLATE "C" NOT NULL,
    body BYTEA NOT NULL,
    bundle BIGINT NOT NULL,
    result TEXT COLLATE "C" NOT NULL,
    rule TEXT COLLATE "C" NOT NULL,
    n BIGINT NOT NULL,
    PRIMARY KEY (hour, digest)
);
