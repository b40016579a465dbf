-- +goose Up

-- What an operator can prove with who they are (WebAuthn): the authenticator has the
-- private half of the key. public_key is in COSE, flags are those of the authenticator.
CREATE TABLE passkey (
    id BIGINT PRIMARY KEY,
    operator BIGINT NOT NULL,
    credential BYTEA NOT NULL UNIQUE,
    public_key BYTEA NOT NULL,
    counter BIGINT NOT NULL,
    flags BIGINT NOT NULL,
    name TEXT COLLATE "C" NOT NULL,
    created_at BIGINT NOT NULL,
    used_at BIGINT NOT NULL
);

CREATE INDEX passkey_operator ON passkey (operator, id);

-- When the human of a session last proved by a passkey who they are. A consent and its
-- grant keep that time.
ALTER TABLE credential ADD COLUMN passkey_at BIGINT NOT NULL DEFAULT 0;

ALTER TABLE consent ADD COLUMN passkey_at BIGINT NOT NULL DEFAULT 0;

CREATE INDEX consent_passkey ON consent (operator, id) WHERE passkey_at > 0;

ALTER TABLE token_grant ADD COLUMN passkey_at BIGINT NOT NULL DEFAULT 0;

-- What waits is judged by the policies of its day, which knew no risk: what the policies
-- of now hold as high is high.
ALTER TABLE approval ADD COLUMN risk TEXT COLLATE "C" NOT NULL DEFAULT 'normal';

UPDATE approval SET risk = 'high' WHERE state < 3 AND demand = 'hold' AND act IN ('dm.inspect', 'label.prompt');
