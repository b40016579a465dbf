-- +goose Up

-- The standing that comes back when a quarantine ends; 0 without one.
ALTER TABLE agent ADD COLUMN beneath BIGINT NOT NULL DEFAULT 0;
