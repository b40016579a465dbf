-- +goose Up

-- What housekeeping looks for: what has been over for longest.
CREATE INDEX notification_read ON notification (read_at, id) WHERE read_at > 0;

CREATE INDEX approval_ended ON approval (ended_at, id) WHERE state >= 3;

CREATE INDEX invite_over ON invite (expires_at, id);

CREATE INDEX claim_age ON claim (created_at, agent);

CREATE INDEX credential_revoked ON credential (revoked_at, id) WHERE revoked_at > 0;
