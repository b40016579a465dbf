-- +goose Up

-- What clients ask humans for. A row is asked (0), given (1), refused (2) or
-- spent (3), and goes when its time has been over for a while.
CREATE TABLE consent (
    id BIGINT PRIMARY KEY,
    client TEXT COLLATE "C" NOT NULL,
    redirect TEXT COLLATE "C" NOT NULL,
    challenge TEXT COLLATE "C" NOT NULL,
    jkt TEXT COLLATE "C" NOT NULL,
    scope TEXT COLLATE "C" NOT NULL,
    audience TEXT COLLATE "C" NOT NULL,
    state BIGINT NOT NULL,
    operator BIGINT NOT NULL,
    credential BIGINT NOT NULL,
    granted BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    hash BYTEA NOT NULL UNIQUE,
    user_hash BYTEA
);

CREATE UNIQUE INDEX consent_user ON consent (user_hash) WHERE user_hash IS NOT NULL;

CREATE INDEX consent_over ON consent (expires_at, id);
