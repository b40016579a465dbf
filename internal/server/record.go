package server

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/audit"
	"github.com/reefwarden/reefwarden/internal/egress"
	"github.com/reefwarden/reefwarden/internal/identity"
	"github.com/reefwarden/reefwarden/internal/provenance"
	"github.com/reefwarden/reefwarden/internal/store"
	"github.com/reefwarden/reefwarden/internal/telemetry"
)

// tree makes the Merkle tree over the record.
func (c Config) tree(keys *identity.Keys, db *store.DB, log *slog.Logger) (*audit.Tree, error) {
	witnesses, err := c.witnesses()
	if err != nil {
		return nil, err
	}
	quorum := c.Quorum
	if quorum == 0 && len(witnesses) > 0 {
		quorum = len(witnesses)/2 + 1
	}
	return audit.NewTree(audit.TreeConfig{
		DB: db, Key: recordKey(keys), Origin: c.origin(keys), Head: c.HeadPath(), Witnesses: witnesses, Quorum: quorum, Post: postWitness(), Log: log,
	}), nil
}

func recordKey(keys *identity.Keys) audit.Key {
	return audit.Key{Sign: keys.LogKey(), Mark: keys.MarkKey()}
}

// origin is the name of a record that has none yet: where the network is reached, if that
// is a place, and else a name made from its key.
func (c Config) origin(keys *identity.Keys) string {
	if u, err := url.Parse(c.PublicURL); err == nil && u.Host != "" && !loopback(u.Hostname()) {
		return strings.TrimSuffix(u.Host+u.EscapedPath(), "/")
	}
	return "reef-" + networkCode(keys.Check())
}

func (c Config) witnesses() (list []audit.Witness, err error) {
	for _, text := range c.Witnesses {
		w, err := audit.ParseWitness(text)
		if err == nil {
			_, err = egress.Parse(w.URL)
		}
		if err != nil {
			return nil, fmt.Errorf("--audit-witnesses: %w", err)
		}
		list = append(list, w)
	}
	if c.Quorum < 0 || c.Quorum > len(list) {
		return nil, fmt.Errorf("--audit-quorum %d is more than there are witnesses, or less than none", c.Quorum)
	}
	return list, nil
}

// postWitness reaches witnesses: whoever writes the settings names them, so any address
// will do.
func postWitness() audit.Post {
	client := egress.New(egress.Config{Time: audit.WitnessTime, Allow: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}})
	return func(ctx context.Context, url string, body []byte) (int, []byte, error) {
		answer, err := client.Post(ctx, url, http.Header{"Content-Type": {"text/plain; charset=utf-8"}}, body)
		return answer.Status, answer.Body, err
	}
}

// noteSealed puts a segment of what was shown on record.
func (s *Server) noteSealed(tx *store.Tx, x provenance.Sealed) error {
	return s.Record.RecordBlock(tx, audit.Block{Segment: x.ID, Digest: x.Digest, First: x.FirstSeq, Last: x.LastSeq, Pages: x.Pages})
}

// anchored holds the record against what this node keeps of it. What is wrong is said
// once, and goes on being told to those who scrape.
func (s *Server) anchored(ctx context.Context) error {
	err := s.Tree.Anchor(ctx)
	if act.CodeOf(err) != act.Conflict {
		s.logTrouble.Store(nil)
		return err
	}
	was, now := s.logTrouble.Load(), err.Error()
	if s.logTrouble.Store(&now); was != nil && *was == now {
		return nil
	}
	return err
}

// recorded is what scrapes read of the record.
func (s *Server) recorded() (out telemetry.Record) {
	ctx, cancel := context.WithTimeout(context.Background(), loopLimit) //arch:allow a scrape has no context
	defer cancel()
	var state audit.State
	if err := s.DB.View(ctx, func(v *store.View) (err error) { state, err = s.Tree.Current(v); return err }); err != nil {
		s.log.WarnContext(ctx, "read the state of the record", slog.Any("err", err))
		return out
	}
	out = telemetry.Record{Leaves: state.Leaves, Signed: state.Last.Size, Served: state.Served.Size, Good: s.logTrouble.Load() == nil}
	for _, w := range s.Tree.Witnessed() {
		out.Witnesses = append(out.Witnesses, telemetry.Witness{Name: w.Name, Good: w.Fault == ""})
	}
	return out
}

// RecordState says how far the record in a database has come.
func RecordState(ctx context.Context, c Config, keys *identity.Keys, db *store.DB) (state audit.State, err error) {
	tree, err := c.tree(keys, db, nil)
	if err == nil {
		err = db.View(ctx, func(v *store.View) (err error) { state, err = tree.Current(v); return err })
	}
	return state, err
}

// VerifyRecord checks all that is on record in a database: leaves, tree, signatures, and
// that what was sealed of the log of exposures is as the leaves say. kept are checkpoints
// from elsewhere; the one that this node keeps is among what is looked at.
func VerifyRecord(ctx context.Context, c Config, keys *identity.Keys, db *store.DB, kept [][]byte, watch func(leaves int64)) (audit.Report, provenance.Report, error) {
	var r audit.Report
	var shown provenance.Report
	codec, err := act.NewCodec(keys.CodecKey())
	if err != nil {
		return r, shown, err
	}
	witnesses, err := c.witnesses()
	if err != nil {
		return r, shown, err
	}
	own, err := audit.ReadHead(c.HeadPath())
	if err != nil {
		return r, shown, err
	}
	if own != nil {
		kept = append(kept, own)
	}
	r, err = audit.Verify(ctx, db, audit.Verifying{Codec: codec, Key: recordKey(keys), Kept: kept, Witnesses: witnesses, Watch: watch})
	if err != nil {
		return r, shown, err
	}
	// After the leaves: a segment that was sealed meanwhile is one that is not on record yet.
	if shown, err = provenance.Check(ctx, db); err != nil {
		return r, shown, err
	}
	var last, covered int64
	for n := range shown.Digests {
		last = max(last, n)
	}
	for n := range r.Blocks {
		covered = max(covered, n)
	}
	for n := int64(1); n <= max(last, covered); n++ {
		digest, sealed := shown.Digests[n]
		said, noted := r.Blocks[n]
		switch {
		case noted && !sealed:
			shown.Problems = append(shown.Problems, fmt.Sprintf("segment %d is on record, and is not there", n))
		case sealed && !noted && n <= covered:
			shown.Problems = append(shown.Problems, fmt.Sprintf("segment %d is there, and not on record", n))
		case sealed && noted && said != digest:
			shown.Problems = append(shown.Problems, fmt.Sprintf("segment %d is not what was put on record when it was sealed", n))
		}
	}
	return r, shown, nil
}
