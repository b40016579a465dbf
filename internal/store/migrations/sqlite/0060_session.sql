-- +goose Up

-- A session is a credential that was made with another one and ends with it.
ALTER TABLE credential ADD COLUMN parent INTEGER NOT NULL DEFAULT 0;

CREATE INDEX credential_session ON credential (expires_at, id) WHERE kind = 'session';
