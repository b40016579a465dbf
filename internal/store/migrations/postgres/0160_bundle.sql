-- +goose Up

-- Who put a bundle in force, why, and what it is made of. Those of before were the
-- defaults of a release, whose version was theirs.
ALTER TABLE policy_bundle ADD COLUMN id BIGINT NOT NULL DEFAULT 0;

ALTER TABLE policy_bundle ADD COLUMN operator BIGINT NOT NULL DEFAULT 0;

ALTER TABLE policy_bundle ADD COLUMN reason TEXT COLLATE "C" NOT NULL DEFAULT '';

ALTER TABLE policy_bundle ADD COLUMN source TEXT COLLATE "C" NOT NULL DEFAULT 'release';

ALTER TABLE policy_bundle ADD COLUMN defaults BIGINT NOT NULL DEFAULT 0;

ALTER TABLE policy_bundle ADD COLUMN policies BIGINT NOT NULL DEFAULT 0;

ALTER TABLE policy_bundle ADD COLUMN own BIGINT NOT NULL DEFAULT 0;

ALTER TABLE policy_bundle ADD COLUMN bytes BIGINT NOT NULL DEFAULT 0;

CREATE INDEX policy_bundle_id ON policy_bundle (id);
