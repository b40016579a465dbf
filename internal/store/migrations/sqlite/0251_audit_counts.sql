-- +goose Up

-- What auditors count: refusals and failures, and erasures.
CREATE INDEX event_refused ON event (at) WHERE outcome <> 0;

CREATE INDEX event_erased ON event (at) WHERE act = 'content.erase' AND outcome = 0;
