-- +goose Up

-- A command key is a credential that was registered with another one, parent, and ends
-- with it.
CREATE INDEX credential_command_parent ON credential (parent, id) WHERE kind = 'command-key';
