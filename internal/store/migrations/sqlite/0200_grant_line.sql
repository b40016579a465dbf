-- +goose Up

-- Most grants are carved out of none. Among them PostgreSQL did not look for the few that are
-- carved out of those which a kill ends: it read them all.
DROP INDEX token_grant_parent;

CREATE INDEX token_grant_line ON token_grant (parent, id) WHERE parent <> 0;
