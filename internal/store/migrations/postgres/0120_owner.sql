-- +goose Up

-- The person who answers as an owner, 0 while nobody does so themselves: an operator
-- then speaks in the owner's name.
ALTER TABLE owner ADD COLUMN operator BIGINT NOT NULL DEFAULT 0;

CREATE UNIQUE INDEX owner_operator ON owner (operator) WHERE operator <> 0;
