-- +goose Up

-- The last message of one side of a conversation, which an answer refers to.
CREATE INDEX message_sender ON message (conversation, sender, ord);
