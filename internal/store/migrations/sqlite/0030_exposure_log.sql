-- +goose Up

-- What was shown is a log that grows at its end only. Who asks by agent reads the
-- part that is not sealed yet, which is kept short.
DROP INDEX exposure_agent;

-- Pages that are recorded together share one row.
ALTER TABLE exposure ADD COLUMN pages INTEGER NOT NULL DEFAULT 1;
