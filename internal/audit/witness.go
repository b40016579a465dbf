package audit

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/store"
)

// Witness is somebody elsewhere who keeps the newest checkpoint of the log that it has
// seen, and cosigns none that is not a continuation of it (C2SP tlog-witness).
type Witness struct {
	URL string // below which add-checkpoint is
	Key string // NAME+HASH+KEY
	by  *cosigner
}

// ParseWitness reads "KEY@URL", as it stands in settings.
func ParseWitness(text string) (w Witness, err error) {
	// A key's base64 has no "@", and a URL may have one.
	w.Key, w.URL, _ = strings.Cut(text, "@")
	if w.by, err = newCosigner(w.Key); err != nil {
		return w, err
	}
	if w.URL = strings.TrimSuffix(w.URL, "/"); !strings.HasPrefix(w.URL, "https://") && !strings.HasPrefix(w.URL, "http://") {
		return w, fmt.Errorf("the witness %s has no URL: write KEY@URL", w.by.name)
	}
	return w, nil
}

// Post sends a body and returns what came back.
type Post func(ctx context.Context, url string, body []byte) (status int, answer []byte, err error)

// WitnessState is how far one witness has come.
type WitnessState struct {
	Name  string
	Size  int64  // of the last checkpoint that it cosigned for this node
	At    int64  // when, Unix microseconds
	Fault string // why it did not cosign the last one it was asked for
}

// witnessing is what a node remembers of its witnesses.
type witnessing struct {
	mu    sync.Mutex
	known map[string]WitnessState // guarded by mu: by name
}

func (w *witnessing) of(name string) WitnessState {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.known[name]
}

// note keeps a state, and reports whether its fault is another than before.
func (w *witnessing) note(s WitnessState) (news bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.known == nil {
		w.known = make(map[string]WitnessState)
	}
	news = w.known[s.Name].Fault != s.Fault
	w.known[s.Name] = s
	return news
}

// Witnessed lists how far the witnesses have come, by name.
func (t *Tree) Witnessed() (list []WitnessState) {
	for _, w := range t.Witnesses {
		s := t.asked.of(w.by.name)
		s.Name = w.by.name
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b WitnessState) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// Cosign has the newest checkpoint cosigned by the witnesses that have not done so. One
// that is down is asked again the next time; until then the checkpoint waits, and the log
// goes on.
func (t *Tree) Cosign(ctx context.Context) error {
	if len(t.Witnesses) == 0 {
		return nil
	}
	var c Checkpoint
	var s signer
	err := t.DB.View(ctx, func(v *store.View) (err error) {
		var last kept
		if s, last, err = t.signer(v); err == nil && last.size > 0 {
			c, err = last.open(s)
		}
		return err
	})
	if err != nil || c.Size == 0 {
		return err
	}
	has, err := cosigned(c.Note, s, t.cosigners())
	if err != nil {
		return err
	}
	lines := make([][]byte, len(t.Witnesses))
	var asking sync.WaitGroup
	for i, w := range t.Witnesses {
		if has[w.by.name] {
			continue
		}
		asking.Go(func() { lines[i] = t.ask(ctx, w, s, c) })
	}
	asking.Wait()
	if signed := slices.Concat(lines...); len(signed) > 0 {
		return t.cosign(ctx, s, c, signed)
	}
	return nil
}

func (t *Tree) cosigners() (list []*cosigner) {
	for _, w := range t.Witnesses {
		list = append(list, w.by)
	}
	return list
}

// ask asks one witness and returns its signature line, nil if it gave none.
func (t *Tree) ask(ctx context.Context, w Witness, s signer, c Checkpoint) []byte {
	state := t.asked.of(w.by.name)
	state.Name, state.Fault = w.by.name, ""
	line, err := t.request(ctx, w, s, c, state.Size)
	if seen, behind := errors.AsType[*sizeError](err); behind && seen.size <= c.Size {
		line, err = t.request(ctx, w, s, c, seen.size)
	}
	if err != nil {
		state.Fault = err.Error()
	} else {
		state.Size, state.At = c.Size, act.Micros(t.DB.Clock()())
	}
	if t.asked.note(state) && err != nil {
		t.Log.ErrorContext(ctx, "a witness does not cosign", slog.String("witness", w.by.name), slog.Int64("leaves", c.Size), slog.Any("err", err))
	}
	return line
}

// sizeError is a witness's answer that it has seen a checkpoint of another size.
type sizeError struct{ size, ours int64 }

func (e *sizeError) Error() string {
	if e.size > e.ours {
		return fmt.Sprintf("it has seen a checkpoint of %d leaves, and the log has %d: the log is of an earlier time, or another one", e.size, e.ours)
	}
	return fmt.Sprintf("it has seen another checkpoint of %d leaves", e.size)
}

// request sends a checkpoint with the proof that it goes on from the one of old leaves.
func (t *Tree) request(ctx context.Context, w Witness, s signer, c Checkpoint, old int64) ([]byte, error) {
	var proof tlog.TreeProof
	if old > 0 && old < c.Size {
		err := t.DB.View(ctx, func(v *store.View) (err error) {
			proof, err = tlog.ProveTree(c.Size, old, &stored{view: v})
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	body := fmt.Appendf(nil, "old %d\n", old)
	for _, h := range proof {
		body = fmt.Appendf(body, "%s\n", h)
	}
	status, answer, err := t.Post(ctx, w.URL+"/add-checkpoint", append(append(body, '\n'), c.Note...))
	switch {
	case err != nil:
		return nil, err
	case status == http.StatusConflict:
		size, err := strconv.ParseInt(strings.TrimSpace(string(answer)), 10, 64)
		if err != nil || size < 0 {
			return nil, errors.New("it refuses the checkpoint and does not say what it has seen")
		}
		return nil, &sizeError{size, c.Size}
	case status != http.StatusOK:
		return nil, fmt.Errorf("it answers %d", status)
	}
	for line := range bytes.Lines(answer) {
		if has, err := cosigned(append(bytes.Clone(c.Note), line...), s, []*cosigner{w.by}); err == nil && has[w.by.name] {
			return bytes.Clone(line), nil
		}
	}
	return nil, errors.New("its answer has no good signature of its own")
}

const qCheckpointOf store.Q = `SELECT size, at, witnesses, note FROM checkpoint WHERE size = $1`

// cosign adds signature lines to a checkpoint, which may have been dropped meanwhile for
// a newer one: then it comes back, because it is the one that can be served.
func (t *Tree) cosign(ctx context.Context, s signer, c Checkpoint, lines []byte) error {
	return t.DB.Write(ctx, func(tx *store.Tx) error {
		c := c
		if _, err := tx.One(qCheckpointOf, func(r *store.Row) (err error) { c, err = scanKept(r).open(s); return err }, c.Size); err != nil {
			return err
		}
		signed := bytes.Clone(c.Note)
		for line := range bytes.Lines(lines) {
			if !bytes.Contains(signed, line) {
				signed = append(signed, line...)
			}
		}
		has, err := cosigned(signed, s, t.cosigners())
		if err != nil {
			return err
		}
		return tx.Batch(qCheckpointKeep, c.Size, c.At, int64(len(has)), string(signed))
	})
}

// WitnessTime bounds one exchange with a witness.
const WitnessTime = 5 * time.Second
