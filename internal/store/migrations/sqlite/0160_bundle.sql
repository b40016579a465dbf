-- +goose Up

-- Who put a bundle in force, why, and what it is made of. Those of before were the
-- defaults of a release, whose version was theirs.
ALTER TABLE policy_bundle ADD COLUMN id INTEGER NOT NULL DEFAULT 0;

ALTER TABLE policy_bundle ADD COLUMN operator INTEGER NOT NULL DEFAULT 0;

ALTER TABLE policy_bundle ADD COLUMN reason TEXT NOT NULL DEFAULT '';

ALTER TABLE policy_bundle ADD COLUMN source TEXT NOT NULL DEFAULT 'release';

ALTER TABLE policy_bundle ADD COLUMN defaults INTEGER NOT NULL DEFAULT 0;

ALTER TABLE policy_bundle ADD COLUMN policies INTEGER NOT NULL DEFAULT 0;

ALTER TABLE policy_bundle ADD COLUMN own INTEGER NOT NULL DEFAULT 0;

ALTER TABLE policy_bundle ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;

CREATE INDEX policy_bundle_id ON policy_bundle (id);
