package client

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
)

// NetworkInfo is how a network stands as a whole.
type NetworkInfo struct {
	Agents      string       `json:"agents"` // "served", or "refused" until a restore is confirmed
	KillEpoch   string       `json:"kill_epoch"`
	Kills       int64        `json:"kills"`
	KilledAt    *time.Time   `json:"killed_at"` // of the last
	Restoration *Restoration `json:"restoration"`
}

// Restoration is the last time at which a network's state was found to be of an
// earlier time.
type Restoration struct {
	Backup      string     `json:"backup"` // "" when the kill log was ahead of the database
	TakenAt     *time.Time `json:"taken_at"`
	Seq         int64      `json:"seq"`
	Kills       int64      `json:"kills"` // that it knew
	RestoredAt  *time.Time `json:"restored_at"`
	ConfirmedAt *time.Time `json:"confirmed_at"`
	Reason      string     `json:"reason"`
}

// Network shows how the network stands.
func (c *Client) Network(ctx context.Context) (out NetworkInfo, err error) {
	err = c.conn.call(ctx, http.MethodGet, "/v1/network", nil, nil, &out)
	return out, err
}

// Confirm says that a restored network knows every kill, so that agents may act
// again: kills is a kill epoch, the number of one, or "none" (since the backup).
func (c *Client) Confirm(ctx context.Context, kills, reason string) (out NetworkInfo, err error) {
	in := struct {
		Kills  string `json:"kills"`
		Reason string `json:"reason"`
	}{kills, reason}
	err = c.conn.call(ctx, http.MethodPost, "/v1/network/confirm", nil, in, &out)
	return out, err
}

// KillInfo is one kill. It is a line of a kill log, too.
type KillInfo struct {
	N      int64      `json:"n"`
	Epoch  string     `json:"epoch"`
	Agent  string     `json:"agent"`
	Name   string     `json:"name"`
	Reason string     `json:"reason"`
	At     *time.Time `json:"at"`
}

// KillPage is a page of kills; Next is "" at the end.
type KillPage struct {
	Items []KillInfo `json:"items"`
	Next  string     `json:"next_cursor"`
}

// Kills lists the network's kills after a number, in their order.
func (c *Client) Kills(ctx context.Context, after int64, limit int, cursor string) (out KillPage, err error) {
	v := url.Values{}
	number(v, "limit", limit)
	word(v, "cursor", cursor)
	if after > 0 {
		v.Set("after", strconv.FormatInt(after, 10))
	}
	err = c.conn.call(ctx, http.MethodGet, "/v1/kills", v, nil, &out)
	return out, err
}

// NoteKill tells a restored network of the kill of an agent that it does not know.
func (c *Client) NoteKill(ctx context.Context, k KillInfo) (out KillInfo, err error) {
	in := struct {
		Agent  string     `json:"agent"`
		Name   string     `json:"name"`
		Reason string     `json:"reason"`
		At     *time.Time `json:"at,omitempty"`
	}{k.Agent, k.Name, k.Reason, k.At}
	err = c.conn.call(ctx, http.MethodPost, "/v1/kills", nil, in, &out)
	return out, err
}

// Backup has the network write a backup to w. Whether it is whole shows in its end
// alone (backup.Check).
func (c *Client) Backup(ctx context.Context, reason string, w io.Writer) error {
	in, err := json.Marshal(struct {
		Reason string `json:"reason,omitempty"`
	}{reason})
	if err != nil {
		return act.Errorf(act.Invalid, "the request cannot be encoded: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.conn.base+"/v1/backup", bytes.NewReader(in))
	if err != nil {
		return act.Errorf(act.Invalid, "the request cannot be made: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+c.conn.token)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", agentName)
	endless := *c.conn.http
	endless.Timeout = 0
	resp, err := endless.Do(req)
	if err != nil {
		return act.Errorf(act.Unavailable, "the server does not answer: %w", err).
			WithHint("check that it runs and that the address is right: " + c.conn.base)
	}
	defer resp.Body.Close() //nolint:errcheck // it is read to its end or given up
	if resp.StatusCode != http.StatusOK {
		raw, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
		return failure(resp, raw)
	}
	_, err = io.Copy(w, resp.Body)
	return err
}

// RenewKey asks for a new version of the network's wrapping key and returns its number.
func (c *Client) RenewKey(ctx context.Context, reason string) (version int64, err error) {
	in := struct {
		Reason string `json:"reason"`
	}{reason}
	var out struct {
		Version int64 `json:"version"`
	}
	err = c.conn.call(ctx, http.MethodPost, "/v1/keys/renew", nil, in, &out)
	return out.Version, err
}
