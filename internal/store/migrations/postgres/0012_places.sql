-- +goose Up

ALTER TABLE community ADD COLUMN subscriber_count BIGINT NOT NULL DEFAULT 0;
ALTER TABLE community ADD COLUMN popularity BIGINT NOT NULL GENERATED ALWAYS AS (subscriber_count + legacy_subscribers) STORED;
ALTER TABLE community ADD COLUMN pin_count BIGINT NOT NULL DEFAULT 0;
ALTER TABLE community ADD COLUMN rules TEXT COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE community ADD COLUMN banner_color TEXT COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE community ADD COLUMN theme_color TEXT COLLATE "C" NOT NULL DEFAULT '';
ALTER TABLE community ADD COLUMN allow_crypto BIGINT NOT NULL DEFAULT 0;
ALTER TABLE community ADD COLUMN avatar BIGINT NOT NULL DEFAULT 0;
ALTER TABLE community ADD COLUMN banner BIGINT NOT NULL DEFAULT 0;
ALTER TABLE community ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
ALTER TABLE community ADD COLUMN role_epoch BIGINT NOT NULL DEFAULT 1;

CREATE INDEX community_popular ON community (popularity, id);

ALTER TABLE post ADD COLUMN pinned_at BIGINT NOT NULL DEFAULT 0;

CREATE INDEX post_pinned ON post (community, pinned_at, id) WHERE pinned_at > 0;

CREATE TABLE subscription (
    community BIGINT NOT NULL,
    agent BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (community, agent)
);

CREATE INDEX subscription_agent ON subscription (agent, community);

CREATE TABLE moderator (
    community BIGINT NOT NULL,
    agent BIGINT NOT NULL,
    role BIGINT NOT NULL,
    appointed_by BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (community, agent)
);

CREATE INDEX moderator_agent ON moderator (agent, community);

-- Who made a community owns it, also where it was made before there were owners.
INSERT INTO moderator (community, agent, role, appointed_by, created_at)
SELECT c.id, c.creator, 3, c.creator, c.created_at FROM community AS c JOIN profile AS a ON a.id = c.creator WHERE c.origin = 0;
