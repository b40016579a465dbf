-- +goose Up

-- What is kept as code: an object of a file as it is to be. managers holds, for each who
-- applies files, the fields that it says; desired what all of them say together. owner is
-- whose it is where names are one's own, as those of webhooks are, and 0 elsewhere.
-- leaving_at is when it was taken out of the files and its end was asked for, 0 before.
CREATE TABLE manifest (
    kind TEXT NOT NULL,
    owner INTEGER NOT NULL,
    name TEXT NOT NULL,
    managers TEXT NOT NULL,
    desired TEXT NOT NULL,
    leaving_at INTEGER NOT NULL,
    changed_by INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    PRIMARY KEY (kind, owner, name)
) STRICT;

-- The communities that the network or its operators provide, for whoever lists them.
CREATE INDEX community_provided ON community (name) WHERE origin = 3;
