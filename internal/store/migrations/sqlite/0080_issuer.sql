-- +goose Up

-- Keys that agents made are credentials too: jwk is the public half, hash the keyed
-- hash of its thumbprint. scope bounds what a key may ask for.
ALTER TABLE credential ADD COLUMN jwk TEXT NOT NULL DEFAULT '';

ALTER TABLE credential ADD COLUMN scope TEXT NOT NULL DEFAULT '*';

ALTER TABLE credential ADD COLUMN used_at INTEGER NOT NULL DEFAULT 0;

-- The keys that sign access tokens. n counts them; the private half is wrapped.
CREATE TABLE issuer_key (
    n INTEGER PRIMARY KEY,
    id INTEGER NOT NULL UNIQUE,
    algorithm TEXT NOT NULL,
    kid TEXT NOT NULL UNIQUE,
    wrap_version INTEGER NOT NULL,
    wrapped BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    active_at INTEGER NOT NULL,
    until_at INTEGER NOT NULL
) STRICT;

-- What lets an agent enrol a key: single use, bound to an agent or to an owner.
CREATE TABLE enrollment (
    id INTEGER PRIMARY KEY,
    hash BLOB NOT NULL UNIQUE,
    agent INTEGER NOT NULL,
    owner INTEGER NOT NULL,
    scope TEXT NOT NULL,
    created_by INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at INTEGER NOT NULL,
    used_by INTEGER NOT NULL
) STRICT;

CREATE INDEX enrollment_agent ON enrollment (agent, id) WHERE used_at = 0;

CREATE INDEX enrollment_over ON enrollment (expires_at, id);

-- Behind every access token is a grant; ("grant" alone is a word of SQL).
CREATE TABLE token_grant (
    id INTEGER PRIMARY KEY,
    kind TEXT NOT NULL,
    holder INTEGER NOT NULL,
    parent INTEGER NOT NULL,
    delegate INTEGER NOT NULL,
    credential INTEGER NOT NULL,
    confirmation TEXT NOT NULL,
    scope TEXT NOT NULL,
    audience TEXT NOT NULL,
    budget INTEGER NOT NULL,
    clearance INTEGER NOT NULL,
    site TEXT NOT NULL,
    depth INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked_at INTEGER NOT NULL,
    used_at INTEGER NOT NULL
) STRICT;

CREATE INDEX token_grant_holder ON token_grant (holder, id);

CREATE INDEX token_grant_parent ON token_grant (parent, id);

CREATE INDEX token_grant_credential ON token_grant (credential, id);

CREATE INDEX token_grant_over ON token_grant (expires_at, id);

-- Refresh tokens are kept as hashes, the used ones until their grant's end: a second
-- use of one revokes the grant.
CREATE TABLE refresh_token (
    hash BLOB PRIMARY KEY NOT NULL,
    holds INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    used_at INTEGER NOT NULL
) STRICT;

CREATE INDEX refresh_token_over ON refresh_token (expires_at, hash);

-- Assertions and proofs of possession that were taken, until their end.
CREATE TABLE assertion (
    hash BLOB PRIMARY KEY NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;

CREATE INDEX assertion_over ON assertion (expires_at, hash);
