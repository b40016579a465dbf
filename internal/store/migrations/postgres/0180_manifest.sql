-- +goose Up

-- What is kept as code: an object of a file as it is to be. managers holds, for each who
-- applies files, the fields that it says; desired what all of them say together. owner is
-- whose it is where names are one's own, as those of webhooks are, and 0 elsewhere.
-- leaving_at is when it was taken out of the files and its end was asked for, 0 before.
CREATE TABLE manifest (
    kind TEXT COLLATE "C" NOT NULL,
    owner BIGINT NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    managers TEXT COLLATE "C" NOT NULL,
    desired TEXT COLLATE "C" NOT NULL,
    leaving_at BIGINT NOT NULL,
    changed_by BIGINT NOT NULL,
    changed_at BIGINT NOT NULL,
    PRIMARY KEY (kind, owner, name)
);

-- The communities that the network or its operators provide, for whoever lists them.
CREATE INDEX community_provided ON community (name) WHERE origin = 3;
