package client

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
)

// LogState is how far the record has come.
type LogState struct {
	Origin     string `json:"origin"`
	Key        string `json:"key"`  // under which its checkpoints verify
	Size       int64  `json:"size"` // leaves under the checkpoint
	Signed     int64  `json:"signed"`
	Leaves     int64  `json:"leaves"`
	Witnesses  int    `json:"witnesses"`
	Quorum     int    `json:"quorum"`
	Checkpoint string `json:"checkpoint"`
}

// Log shows how far the record has come.
func (c *Client) Log(ctx context.Context) (out LogState, err error) {
	err = c.conn.call(ctx, http.MethodGet, "/v1/log", nil, nil, &out)
	return out, err
}

// LogFile reads a file of the record's log, as C2SP tlog-tiles names it.
func (c *Client) LogFile(ctx context.Context, path string) (out []byte, err error) {
	err = c.conn.call(ctx, http.MethodGet, "/v1/log/"+path, nil, nil, &out)
	return out, err
}

// ProveLeaf returns the proof that a leaf is in the record's log: of the one with a number,
// or, if that is 0, of the acts on the thing with an id.
func (c *Client) ProveLeaf(ctx context.Context, seq int64, id string) (out json.RawMessage, err error) {
	v := url.Values{}
	word(v, "id", id)
	if seq > 0 {
		v.Set("seq", strconv.FormatInt(seq, 10))
	}
	err = c.conn.call(ctx, http.MethodGet, "/v1/log/proof", v, nil, &out)
	return out, err
}
