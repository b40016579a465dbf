-- +goose Up

-- The roles (bits, see gate.OperatorRoles) that a human had when they let a program act
-- for them, which it never has more than. Those there are have what their human has.
ALTER TABLE consent ADD COLUMN roles INTEGER NOT NULL DEFAULT 31;

ALTER TABLE token_grant ADD COLUMN roles INTEGER NOT NULL DEFAULT 31;
