-- +goose Up

-- How confidential what stands in a community is, by number; 0 is not.
ALTER TABLE community ADD COLUMN classification INTEGER NOT NULL DEFAULT 0;

CREATE INDEX community_classified ON community (id) WHERE classification > 0;
