-- +goose Up

-- The agents and communities that what is labelled comes from: ids, or a Bloom filter. Of
-- rows that were there before nobody knows: nothing stands for anybody.
ALTER TABLE taint ADD COLUMN origins BYTEA NOT NULL DEFAULT '';
