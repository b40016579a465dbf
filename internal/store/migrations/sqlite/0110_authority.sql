-- +goose Up

-- The keys that sign SVIDs, in pairs: use is x509 or jwt. public is the certificate of
-- the one and the public key of the other; the private half is wrapped.
CREATE TABLE authority (
    n INTEGER PRIMARY KEY,
    id INTEGER NOT NULL UNIQUE,
    use TEXT NOT NULL,
    kid TEXT NOT NULL UNIQUE,
    public BLOB NOT NULL,
    wrap_version INTEGER NOT NULL,
    wrapped BLOB NOT NULL,
    created_at INTEGER NOT NULL,
    active_at INTEGER NOT NULL,
    until_at INTEGER NOT NULL
) STRICT;

-- An X.509-SVID is a credential that was got with another one, parent, and ends with it.
-- instance is what its holder goes by, the same for those that follow one another.
ALTER TABLE credential ADD COLUMN instance INTEGER NOT NULL DEFAULT 0;

CREATE INDEX credential_svid ON credential (expires_at, id) WHERE kind = 'x509-svid';

CREATE INDEX credential_svid_parent ON credential (parent, id) WHERE kind = 'x509-svid';
