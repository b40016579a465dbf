package audit

import (
	"context"
	"encoding/binary"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Acts are the reads by which auditors get the log: its head, its tiles, its leaves and
// proofs, from which they check everything themselves; their questions; and what is kept:
// by holds, and for how long.
type Acts struct {
	Holds
	Questions
	*Retention
	Checkpoint *gate.ReadAct[struct{}, State]
	Tile       *gate.ReadAct[TileAt, []byte]
	Entries    *gate.ReadAct[TileAt, []byte]
	Prove      *gate.ReadAct[Wanted, Proof]
}

// TileAt names a tile of hashes, or of leaves.
type TileAt struct {
	Level int
	N     int64
	Width int // of the tile, from 1 to 256
}

// Wanted names leaves: one by its number, or those of acts on a thing.
type Wanted struct {
	Seq int64
	On  act.ID
}

// ActsConfig is what the acts need.
type ActsConfig struct {
	Gate   *gate.Gate
	DB     *store.DB // whose retention heeds holds, and what is said of it
	Tree   *Tree
	Codec  *act.Codec
	Terms  []Term                    // what is dropped for its age
	Reason func(reason string) error // checks what an operator gives as one
}

// NewActs registers the acts, and has retention heed holds and what is said of it.
func NewActs(c ActsConfig) *Acts {
	g, t, codec := c.Gate, c.Tree, c.Codec
	c.DB.Retain(KeptSince, keptFor)
	a := &Acts{Holds: newHolds(c), Questions: newQuestions(c), Retention: newRetention(c)}
	a.Checkpoint = gate.RegisterRead(g, gate.Read[struct{}, State]{
		Info: gate.Info{Name: "audit.checkpoint", Doc: "Show the newest signed head of the record that its witnesses have seen.", On: act.KindNetwork, Quota: gate.QuotaRead},
		Run: func(_ context.Context, v *store.View, _ act.Principal, _ struct{}) (State, error) {
			st, err := t.Current(v)
			if err == nil && st.Served.Size == 0 {
				err = errNone
			}
			return st, err
		},
	})
	a.Tile = gate.RegisterRead(g, gate.Read[TileAt, []byte]{
		Info: gate.Info{Name: "audit.tile", Doc: "Read a tile of the hashes of the record's tree.", On: act.KindNetwork, Quota: gate.QuotaRead},
		Run: func(_ context.Context, v *store.View, _ act.Principal, in TileAt) ([]byte, error) {
			stored, err := readTile(v, in.Level, in.N)
			if err != nil || in.Width < 1 || len(stored.hashes) < in.Width*tlog.HashSize {
				return nil, orNoTile(err)
			}
			return stored.hashes[:in.Width*tlog.HashSize], nil
		},
	})
	a.Entries = gate.RegisterRead(g, gate.Read[TileAt, []byte]{
		Info: gate.Info{Name: "audit.entries", Doc: "Read leaves of the record: who did what to what, under which policy, and how it ended.", On: act.KindNetwork, Quota: gate.QuotaRead},
		Run: func(_ context.Context, v *store.View, _ act.Principal, in TileAt) ([]byte, error) {
			return readEntries(v, in)
		},
	})
	a.Prove = gate.RegisterRead(g, gate.Read[Wanted, Proof]{
		Info: gate.Info{Name: "audit.prove", Doc: "Prove that acts are on record: their leaves, and the hashes that lead from them to a signed checkpoint.", On: act.KindNetwork, Quota: gate.QuotaRead},
		Run: func(_ context.Context, v *store.View, _ act.Principal, in Wanted) (Proof, error) {
			return t.Prove(v, codec, in)
		},
	})
	return a
}

func orNoTile(err error) error {
	if err == nil {
		err = act.Errorf(act.NotFound, "there is no such tile").WithRule("audit.tile").
			WithHint("read the checkpoint: its size says which tiles there are and how wide the last ones are")
	}
	return err
}

// MaxEntry is the longest leaf: a length is two bytes (C2SP tlog-tiles).
const MaxEntry = 1<<16 - 1

// readEntries returns leaves as C2SP tlog-tiles has them, each behind its length.
func readEntries(v *store.View, in TileAt) (out []byte, err error) {
	if in.N < 0 || in.N > maxExact>>tileHeight || in.Width < 1 || in.Width > tileWidth {
		return nil, orNoTile(nil)
	}
	n := 0
	err = v.All(qLeavesAfter, func(r *store.Row) error {
		body := r.Bytes(1)
		if n++; r.Int(0) != in.N<<tileHeight+int64(n) || len(body) == 0 || len(body) > MaxEntry {
			return act.Errorf(act.Internal, "leaf %d is missing or spoiled", in.N<<tileHeight+int64(n)).WithRule("audit.broken").
				WithHint("run reef audit verify on the server: it says what is wrong")
		}
		out = append(binary.BigEndian.AppendUint16(out, uint16(len(body))), body...)
		return nil
	}, in.N<<tileHeight, int64(in.Width))
	if err == nil && n < in.Width {
		err = orNoTile(nil)
	}
	return out, err
}

// splitEntries reads what readEntries makes.
func splitEntries(raw []byte, want int) (list [][]byte, err error) {
	for len(raw) > 0 {
		if len(raw) < 2 || len(raw)-2 < int(binary.BigEndian.Uint16(raw)) {
			return list, fmt.Errorf("the leaves break off after %d", len(list))
		}
		n := int(binary.BigEndian.Uint16(raw))
		list, raw = append(list, raw[2:2+n]), raw[2+n:]
	}
	if len(list) != want {
		err = fmt.Errorf("there are %d leaves where %d should be", len(list), want)
	}
	return list, err
}
