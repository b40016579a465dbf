-- +goose Up

-- What other nodes have to doubt of their memory.
ALTER TABLE event ADD COLUMN touched BYTEA;
