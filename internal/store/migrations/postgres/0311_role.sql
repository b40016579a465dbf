-- +goose Up

-- A role that an admin has made of those that there are, under a name of its own.
CREATE TABLE role (
    name TEXT COLLATE "C" PRIMARY KEY,
    roles BIGINT NOT NULL,
    note TEXT COLLATE "C" NOT NULL,
    made_by BIGINT NOT NULL,
    made_at BIGINT NOT NULL UNIQUE
);

-- A binding gives the roles of role, or those that the role of the name has now.
ALTER TABLE role_binding ADD COLUMN named TEXT COLLATE "C" NOT NULL DEFAULT '';

DROP INDEX role_binding_hash;

CREATE UNIQUE INDEX role_binding_hash ON role_binding (hash, role, named);

CREATE INDEX role_binding_named ON role_binding (named, name) WHERE named <> '';
