-- +goose Up

-- What other nodes have to doubt of their memory; on SQLite there are none.
ALTER TABLE event ADD COLUMN touched BLOB;
