-- +goose Up

-- What an operator may do comes of what settings say, which is given, and of bindings.
-- roles is both, and what is looked at.
ALTER TABLE operator ADD COLUMN given BIGINT NOT NULL DEFAULT 0;

UPDATE operator SET given = roles;

-- A role that an operator has bound to a group or a person of an identity provider, or to
-- a service account. hash is whom, as membership has them.
CREATE TABLE role_binding (
    name TEXT COLLATE "C" PRIMARY KEY,
    role BIGINT NOT NULL,
    issuer TEXT COLLATE "C" NOT NULL,
    kind TEXT COLLATE "C" NOT NULL,
    subject TEXT COLLATE "C" NOT NULL,
    hash BYTEA NOT NULL,
    made_by BIGINT NOT NULL,
    made_at BIGINT NOT NULL UNIQUE
);

CREATE UNIQUE INDEX role_binding_hash ON role_binding (hash, role);

-- Who an operator is and which groups they are in, as was said of them last: keyed hashes.
CREATE TABLE membership (
    operator BIGINT NOT NULL,
    hash BYTEA NOT NULL,
    PRIMARY KEY (operator, hash)
);

CREATE INDEX membership_hash ON membership (hash, operator);

INSERT INTO membership (operator, hash) SELECT subject, hash FROM credential WHERE kind = 'person';
