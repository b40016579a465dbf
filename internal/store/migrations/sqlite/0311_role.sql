-- +goose Up

-- A role that an admin has made of those that there are, under a name of its own.
CREATE TABLE role (
    name TEXT PRIMARY KEY,
    roles INTEGER NOT NULL,
    note TEXT NOT NULL,
    made_by INTEGER NOT NULL,
    made_at INTEGER NOT NULL UNIQUE
) STRICT;

-- A binding gives the roles of role, or those that the role of the name has now.
ALTER TABLE role_binding ADD COLUMN named TEXT NOT NULL DEFAULT '';

DROP INDEX role_binding_hash;

CREATE UNIQUE INDEX role_binding_hash ON role_binding (hash, role, named);

CREATE INDEX role_binding_named ON role_binding (named, name) WHERE named <> '';
