-- +goose Up

-- What a containment is asked anew with, for what was under way when it was ordered: which
-- kinds it holds (1 agents, 2 content; 0 where it was ordered before this was kept), where
-- its question began, the agents it has looked at, and what came in late.
ALTER TABLE recall ADD COLUMN kinds BIGINT NOT NULL DEFAULT 0;
ALTER TABLE recall ADD COLUMN origin BYTEA NOT NULL DEFAULT '';
ALTER TABLE recall ADD COLUMN known BYTEA NOT NULL DEFAULT '';
ALTER TABLE recall ADD COLUMN late BYTEA NOT NULL DEFAULT '';
