-- +goose Up

-- A start reads the labels of agents (the kind is in the id) and not those of things.
CREATE INDEX taint_agent ON taint (subject) WHERE ((subject >> 17) & 31) = 1;
