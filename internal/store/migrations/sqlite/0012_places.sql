-- +goose Up

ALTER TABLE community ADD COLUMN subscriber_count INTEGER NOT NULL DEFAULT 0;
ALTER TABLE community ADD COLUMN popularity INTEGER NOT NULL GENERATED ALWAYS AS (subscriber_count + legacy_subscribers) VIRTUAL;
ALTER TABLE community ADD COLUMN pin_count INTEGER NOT NULL DEFAULT 0;
ALTER TABLE community ADD COLUMN rules TEXT NOT NULL DEFAULT '';
ALTER TABLE community ADD COLUMN banner_color TEXT NOT NULL DEFAULT '';
ALTER TABLE community ADD COLUMN theme_color TEXT NOT NULL DEFAULT '';
ALTER TABLE community ADD COLUMN allow_crypto INTEGER NOT NULL DEFAULT 0;
ALTER TABLE community ADD COLUMN avatar INTEGER NOT NULL DEFAULT 0;
ALTER TABLE community ADD COLUMN banner INTEGER NOT NULL DEFAULT 0;
ALTER TABLE community ADD COLUMN version INTEGER NOT NULL DEFAULT 1;
ALTER TABLE community ADD COLUMN role_epoch INTEGER NOT NULL DEFAULT 1;

CREATE INDEX community_popular ON community (popularity, id);

ALTER TABLE post ADD COLUMN pinned_at INTEGER NOT NULL DEFAULT 0;

CREATE INDEX post_pinned ON post (community, pinned_at, id) WHERE pinned_at > 0;

CREATE TABLE subscription (
    community INTEGER NOT NULL,
    agent INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (community, agent)
) STRICT, WITHOUT ROWID;

CREATE INDEX subscription_agent ON subscription (agent, community);

CREATE TABLE moderator (
    community INTEGER NOT NULL,
    agent INTEGER NOT NULL,
    role INTEGER NOT NULL,
    appointed_by INTEGER NOT NULL,
    created_at INTEGER NOT NULL,
    PRIMARY KEY (community, agent)
) STRICT, WITHOUT ROWID;

CREATE INDEX moderator_agent ON moderator (agent, community);

-- Who made a community owns it, also where it was made before there were owners.
INSERT INTO moderator (community, agent, role, appointed_by, created_at)
SELECT c.id, c.creator, 3, c.creator, c.created_at FROM community AS c JOIN profile AS a ON a.id = c.creator WHERE c.origin = 0;
