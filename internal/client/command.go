package client

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity/token"
)

// CommandKey is an operator's key for commands and the network that knows it: what its
// file holds. With it commands are signed where no network is reached.
type CommandKey struct {
	URL      string // where the network is reached
	Issuer   string // the public URL of the network, for which commands are made
	Operator string // id of whose key it is
	Acts     []string
	Key      token.Private
	Until    time.Time // when the key is not good any more; zero while it is not registered
}

// commandKeyFile is the form of its file.
type commandKeyFile struct {
	URL      string    `json:"url"`
	Issuer   string    `json:"issuer"`
	Operator string    `json:"operator"`
	Acts     []string  `json:"acts"`
	KeyID    string    `json:"key_id"`
	Key      []byte    `json:"private_key"` // PKCS #8
	Until    time.Time `json:"expires_at"`
}

const whatCommandKey = "command key file"

// ReadCommandKey reads the file of a command key. One that others than its owner could
// read or change is refused.
func ReadCommandKey(path string) (k CommandKey, err error) {
	raw, err := readPrivate(path, ruleFile, whatCommandKey, "make one with reef command key, or say where it is")
	if err != nil {
		return k, err
	}
	var f commandKeyFile
	if json.Unmarshal(raw, &f) == nil {
		k = CommandKey{URL: f.URL, Issuer: f.Issuer, Operator: f.Operator, Acts: f.Acts, Until: f.Until}
		k.Key, err = token.ParsePKCS8(f.Key)
	}
	if err != nil || k.Issuer == "" || k.Operator == "" || k.Key.Public().Thumbprint() != f.KeyID {
		// The parser's words are left out: they could hold a piece of the key.
		return CommandKey{}, act.Errorf(act.Invalid, "%s is damaged, or no %s", path, whatCommandKey).WithRule(ruleFile).
			WithHint("make another one (reef command key) and revoke this one (reef identity inventory shows its id)")
	}
	return k, nil
}

// Create writes the key to a file that its owner alone can read. A file that is there is
// never touched.
func (k CommandKey) Create(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return unwritten(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return act.Errorf(act.Conflict, "%s is there already", path).WithRule(ruleFile).WithHint("a key is never overwritten: choose another file")
	}
	if err != nil {
		return unwritten(err)
	}
	if err := f.Close(); err != nil {
		return unwritten(err)
	}
	return k.Write(path)
}

// Write replaces the file that Create made.
func (k CommandKey) Write(path string) error {
	der, err := k.Key.PKCS8()
	if err != nil {
		return err
	}
	return writePrivate(path, commandKeyFile{k.URL, k.Issuer, k.Operator, k.Acts, k.Key.Public().Thumbprint(), der, k.Until.UTC()})
}

// Commander begins a command key of the operator that the client acts for: what is known
// of it before it is registered.
func (c *Client) Commander(ctx context.Context, acts []string, key token.Private) (k CommandKey, err error) {
	k = CommandKey{URL: c.conn.base, Acts: acts, Key: key}
	if k.Issuer, err = Issuer(ctx, k.URL); err != nil {
		return k, err
	}
	who, err := c.Whoami(ctx)
	k.Operator = who.ID
	return k, err
}

// Register has the network take the key's public half, for a time; 0 is the server's
// default.
func (c *Client) Register(ctx context.Context, k CommandKey, validFor time.Duration, now time.Time) (CommandKey, error) {
	proof, err := k.Key.Assert(k.Operator, k.Issuer, now)
	if err != nil {
		return k, err
	}
	in := struct {
		Key      string   `json:"key"`
		Proof    string   `json:"proof"`
		Acts     []string `json:"acts"`
		ValidFor int64    `json:"valid_for,omitempty"`
	}{string(k.Key.Public().JWK()), proof, k.Acts, int64(validFor.Round(time.Second) / time.Second)}
	var out struct {
		ExpiresAt time.Time `json:"expires_at"`
	}
	err = c.conn.call(ctx, http.MethodPost, "/v1/command-keys", nil, in, &out)
	k.Until = out.ExpiresAt
	return k, err
}

// Executed says what a command has done.
type Executed struct {
	ID    string    `json:"id"` // of the command
	Act   string    `json:"act"`
	Agent AgentInfo `json:"agent"` // as it is now; its ID is "" after an order about a scope
	Scope Contained `json:"scope"` // as it is now; its Scope is "" after an order about one agent
}

// SendCommand delivers a signed command to the network at base. Nobody need be known
// for that.
func SendCommand(ctx context.Context, base, text string) (out Executed, err error) {
	c, err := open(base, "")
	if err != nil {
		return out, err
	}
	in := struct {
		Command string `json:"command"`
	}{text}
	err = c.call(ctx, http.MethodPost, "/v1/commands", nil, in, &out)
	return out, err
}
