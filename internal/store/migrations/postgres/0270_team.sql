-- +goose Up

-- The team that an owner works in; '' for none.
ALTER TABLE owner ADD COLUMN team TEXT NOT NULL DEFAULT '';

CREATE INDEX owner_team ON owner (id) WHERE team <> '';
