package audit

import (
	"encoding/base64"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Proof shows that leaves are in the log: with the log's key, and nothing else, anybody
// checks it (see CheckProof). It is a document of its own: its JSON form is fixed.
type Proof struct {
	Form       string       `json:"reef_audit_proof"` // "1"
	Key        string       `json:"key"`              // to be compared with one that is pinned
	Checkpoint string       `json:"checkpoint"`       // signed
	Leaves     []ProvenLeaf `json:"leaves"`
}

// ProvenLeaf is a leaf with the hashes that lead from it to the root of the checkpoint
// (RFC 6962 §2.1.1).
type ProvenLeaf struct {
	Seq   int64    `json:"seq"` // its index in the log is one less
	Leaf  string   `json:"leaf"`
	Proof []string `json:"proof"`
}

const (
	proofForm = "1"
	maxProven = 100

	qEventAt    store.Q = `SELECT at FROM event WHERE seq = $1`
	qEventsOn   store.Q = `SELECT seq FROM event WHERE seq >= $1 AND seq <= $2 AND (ref = $3 OR target = $3) ORDER BY seq LIMIT $4`
	qLeafNumber store.Q = `SELECT l.body FROM event e JOIN leaf l ON l.pos = e.pos WHERE e.seq = $1`
)

// Prove proves leaves against the checkpoint that is given out. Of a thing it proves the
// first acts on it, the making of it among them.
func (t *Tree) Prove(v *store.View, codec *act.Codec, in Wanted) (p Proof, err error) {
	st, err := t.Current(v)
	if err != nil {
		return p, err
	}
	if st.Served.Size == 0 {
		return p, errNone
	}
	wanted := []int64{in.Seq}
	if in.On != 0 {
		if wanted, err = eventsOn(v, in.On, st.Served.Size); err != nil {
			return p, err
		}
	}
	if len(wanted) == 0 || in.On == 0 && (in.Seq < 1 || in.Seq > st.Served.Size) {
		return p, act.Errorf(act.NotFound, "no leaf that a checkpoint covers is about it").WithRule("audit.unproven").
			WithHint("an act that was just done is under a checkpoint within seconds; reads have no leaf of their own")
	}
	p = Proof{Form: proofForm, Key: st.Key, Checkpoint: string(st.Served.Note), Leaves: make([]ProvenLeaf, 0, len(wanted))}
	read := &stored{view: v}
	for _, seq := range wanted {
		one := ProvenLeaf{Seq: seq, Proof: []string{}}
		if _, err := v.One(qLeafNumber, func(r *store.Row) error { one.Leaf = string(r.Bytes(0)); return nil }, seq); err != nil {
			return p, err
		}
		path, err := tlog.ProveRecord(st.Served.Size, seq-1, read)
		if err != nil {
			return p, fmt.Errorf("audit: prove leaf %d: %w", seq, err)
		}
		for _, h := range path {
			one.Proof = append(one.Proof, h.String())
		}
		p.Leaves = append(p.Leaves, one)
	}
	return p, nil
}

// eventsOn finds the acts on a thing. Nothing is older than its id says, but for clocks
// that differ.
func eventsOn(v *store.View, on act.ID, size int64) (list []int64, err error) {
	since := act.Micros(on.Time().Add(-time.Minute))
	first, err := firstSince(v, size, since)
	if err != nil {
		return nil, err
	}
	err = v.All(qEventsOn, func(r *store.Row) error { list = append(list, r.Int(0)); return nil }, first, size, on, int64(maxProven))
	return list, err
}

// CheckProof checks a proof with the key of the log, and returns its checkpoint.
func CheckProof(p Proof, key string) (c Checkpoint, err error) {
	if p.Form != proofForm {
		return c, fmt.Errorf("it is no proof of form %s", proofForm)
	}
	v, err := note.NewVerifier(key)
	if err != nil {
		return c, fmt.Errorf("the key %q: %w", key, err)
	}
	if c, err = OpenCheckpoint([]byte(p.Checkpoint), v); err != nil {
		return c, err
	}
	for _, one := range p.Leaves {
		if _, err := Parse([]byte(one.Leaf)); err != nil {
			return c, fmt.Errorf("leaf %d: %w", one.Seq, err)
		}
		var path tlog.RecordProof
		for _, text := range one.Proof {
			raw, err := base64.StdEncoding.DecodeString(text)
			if err != nil || len(raw) != tlog.HashSize {
				return c, fmt.Errorf("the proof of leaf %d has something that is no hash", one.Seq)
			}
			path = append(path, tlog.Hash(raw))
		}
		if one.Seq < 1 || one.Seq > c.Size {
			return c, fmt.Errorf("leaf %d is not under the checkpoint of %d leaves", one.Seq, c.Size)
		}
		if err := tlog.CheckRecord(path, c.Size, c.Root, one.Seq-1, tlog.RecordHash([]byte(one.Leaf))); err != nil {
			return c, fmt.Errorf("leaf %d is not in the log of the checkpoint: %w", one.Seq, err)
		}
	}
	return c, nil
}
