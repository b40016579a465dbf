-- +goose Up

-- Keys that agents made are credentials too: jwk is the public half, hash the keyed
-- hash of its thumbprint. scope bounds what a key may ask for.
ALTER TABLE credential ADD COLUMN jwk TEXT COLLATE "C" NOT NULL DEFAULT '';

ALTER TABLE credential ADD COLUMN scope TEXT COLLATE "C" NOT NULL DEFAULT '*';

ALTER TABLE credential ADD COLUMN used_at BIGINT NOT NULL DEFAULT 0;

-- The keys that sign access tokens. n counts them; the private half is wrapped.
CREATE TABLE issuer_key (
    n BIGINT PRIMARY KEY,
    id BIGINT NOT NULL UNIQUE,
    algorithm TEXT COLLATE "C" NOT NULL,
    kid TEXT COLLATE "C" NOT NULL UNIQUE,
    wrap_version BIGINT NOT NULL,
    wrapped BYTEA NOT NULL,
    created_at BIGINT NOT NULL,
    active_at BIGINT NOT NULL,
    until_at BIGINT NOT NULL
);

-- What lets an agent enrol a key: single use, bound to an agent or to an owner.
CREATE TABLE enrollment (
    id BIGINT PRIMARY KEY,
    hash BYTEA NOT NULL UNIQUE,
    agent BIGINT NOT NULL,
    owner BIGINT NOT NULL,
    scope TEXT COLLATE "C" NOT NULL,
    created_by BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT NOT NULL,
    used_by BIGINT NOT NULL
);

CREATE INDEX enrollment_agent ON enrollment (agent, id) WHERE used_at = 0;

CREATE INDEX enrollment_over ON enrollment (expires_at, id);

-- Behind every access token is a grant; ("grant" alone is a word of SQL).
CREATE TABLE token_grant (
    id BIGINT PRIMARY KEY,
    kind TEXT COLLATE "C" NOT NULL,
    holder BIGINT NOT NULL,
    parent BIGINT NOT NULL,
    delegate BIGINT NOT NULL,
    credential BIGINT NOT NULL,
    confirmation TEXT COLLATE "C" NOT NULL,
    scope TEXT COLLATE "C" NOT NULL,
    audience TEXT COLLATE "C" NOT NULL,
    budget BIGINT NOT NULL,
    clearance BIGINT NOT NULL,
    site TEXT COLLATE "C" NOT NULL,
    depth BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT NOT NULL,
    used_at BIGINT NOT NULL
);

CREATE INDEX token_grant_holder ON token_grant (holder, id);

CREATE INDEX token_grant_parent ON token_grant (parent, id);

CREATE INDEX token_grant_credential ON token_grant (credential, id);

CREATE INDEX token_grant_over ON token_grant (expires_at, id);

-- Refresh tokens are kept as hashes, the used ones until their grant's end: a second
-- use of one revokes the grant.
CREATE TABLE refresh_token (
    hash BYTEA PRIMARY KEY,
    holds BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT NOT NULL
);

CREATE INDEX refresh_token_over ON refresh_token (expires_at, hash);

-- Assertions and proofs of possession that were taken, until their end.
CREATE TABLE assertion (
    hash BYTEA PRIMARY KEY,
    expires_at BIGINT NOT NULL
);

CREATE INDEX assertion_over ON assertion (expires_at, hash);
