package network

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"errors"

	"github.com/reefwarden/reefwarden/internal/act"
)

// Sealer encrypts one kind of what is small and secret under the network's own
// wrapping key (package identity). bound is what a secret belongs to.
type Sealer interface {
	// Version is the version of the wrapping key that Wrap uses. It only grows.
	Version() int64
	// Wrap encrypts a secret and says under which version.
	Wrap(plain, bound []byte) (version int64, wrapped []byte)
	// Unwrap opens what Wrap made.
	Unwrap(version int64, wrapped, bound []byte) (plain []byte, err error)
}

const conversationKeySize = 32 // AES-256

// conversationKey is the key of one conversation as it is kept.
type conversationKey struct {
	version int64
	wrapped []byte
}

func boundIDs(ids ...act.ID) []byte {
	var b []byte
	for _, id := range ids {
		b = binary.BigEndian.AppendUint64(b, uint64(id))
	}
	return b
}

// newConversationKey makes the key of a conversation.
func (n *Network) newConversationKey(conversation act.ID) conversationKey {
	key := make([]byte, conversationKeySize)
	_, _ = rand.Read(key) // never fails (crypto/rand)
	version, wrapped := n.sealer.Wrap(key, boundIDs(conversation))
	return conversationKey{version, wrapped}
}

// envelope seals and opens the messages of one conversation. A body is
// AES-256-GCM with a random nonce in front, bound to the conversation, the
// message and its sender, so that none can be moved or given another's name. The
// salt of the record's hash is inside it: beside the text's hash alone nobody
// can try texts.
type envelope struct {
	conversation act.ID
	aead         cipher.AEAD
}

func (n *Network) openConversation(conversation act.ID, k conversationKey) (envelope, error) {
	key, err := n.sealer.Unwrap(k.version, k.wrapped, boundIDs(conversation))
	if act.CodeOf(err) == act.Unavailable { // a version that this node does not have yet
		return envelope{}, err
	}
	if err != nil {
		return envelope{}, unreadable(err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return envelope{}, unreadable(err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return envelope{}, unreadable(err)
	}
	return envelope{conversation, aead}, nil
}

// seal returns a message's body as it is kept, and the salted hash of its text
// for the record.
func (e envelope) seal(message, sender act.ID, text string) (body []byte, sum [32]byte) {
	salt, sum := seal(text)
	return e.aead.Seal(nil, nil, append(salt, text...), boundIDs(e.conversation, message, sender)), sum
}

// open returns the text of a message.
func (e envelope) open(message, sender act.ID, body []byte) (string, error) {
	plain, err := e.aead.Open(nil, nil, body, boundIDs(e.conversation, message, sender))
	if err == nil && len(plain) < saltSize {
		err = errors.New("a body without a salt")
	}
	if err != nil {
		return "", unreadable(err)
	}
	return string(plain[saltSize:]), nil
}

// unreadable says that a message cannot be opened. The cause is one of the
// ciphers', which name neither keys nor texts.
func unreadable(cause error) error {
	return act.Errorf(act.Internal, "a message cannot be opened: %w", cause)
}
