-- +goose Up

-- What an operator may do (bits, see gate.OperatorRoles): those there are were made
-- with the local token, and keep the network.
ALTER TABLE operator ADD COLUMN roles INTEGER NOT NULL DEFAULT 1;

-- Of a session: the roles that it was opened with, and when its human last proved who
-- they are. A consent and its grant keep that time.
ALTER TABLE credential ADD COLUMN roles INTEGER NOT NULL DEFAULT 0;

ALTER TABLE credential ADD COLUMN auth_at INTEGER NOT NULL DEFAULT 0;

ALTER TABLE consent ADD COLUMN auth_at INTEGER NOT NULL DEFAULT 0;

ALTER TABLE token_grant ADD COLUMN auth_at INTEGER NOT NULL DEFAULT 0;

UPDATE credential SET roles = 1 WHERE kind = 'session';
