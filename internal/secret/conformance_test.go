package secret

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/identity"
)

// peer is a store that the conformance test is run on.
type peer struct {
	name  string
	start func(*testing.T) fixture
}

// fixture is one such store, empty, with the faults it can have. What is nil it
// cannot.
type fixture struct {
	open  func(context.Context) (identity.KeyStore, error) // each time as another process would
	spoil func(text []byte)                                // puts something else in the ring's place
	deny  func(bool)                                       // what we show is refused
	down  func(bool)                                       // nobody answers
	slow  func(bool)                                       // the answer does not come

	expire  func() // time goes by until every lease has ended
	restart func() // the store has forgotten who signed in
}

func (f fixture) store(t *testing.T) identity.KeyStore {
	t.Helper()
	s, err := f.open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func read(t *testing.T, s identity.KeyStore) identity.Kept {
	t.Helper()
	kept, err := s.Read(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return kept
}

// Every store keeps the same promises.
func TestConformance(t *testing.T) {
	for _, p := range slices.Concat(files(), vaults(), clouds(), realVaults(t)) {
		t.Run(p.name, func(t *testing.T) { conform(t, p) })
	}
}

func conform(t *testing.T, p peer) {
	t.Run("missing", func(t *testing.T) {
		f := p.start(t)
		if kept, err := f.store(t).Read(t.Context()); !errors.Is(err, fs.ErrNotExist) || kept.Ring != nil {
			t.Errorf("a ring that is not there: %v", err)
		}
		if _, err := identity.OpenKeys(t.Context(), f.store(t), false); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("keys that are not there: %v", err)
		}
		if err := f.store(t).Write(t.Context(), ringOf(t), "some revision"); act.CodeOf(err) != act.Conflict {
			t.Errorf("written over a ring that is not there: %v", err)
		}
	})
	t.Run("kept", func(t *testing.T) {
		f := p.start(t)
		s, last := f.store(t), ""
		for size := identity.MasterKeySize; size <= identity.MaxRing; size = min(size*4, identity.MaxRing+1) {
			ring := bytes.Repeat([]byte{0xff, 0, '\n', byte(size)}, size/4)
			if err := s.Write(t.Context(), ring, last); err != nil {
				t.Fatalf("%d bytes: %v", size, err)
			}
			for _, s := range []identity.KeyStore{s, f.store(t)} {
				kept := read(t, s)
				if !bytes.Equal(kept.Ring, ring) || kept.Revision == "" || kept.Revision == last {
					t.Fatalf("%d bytes come back as %d, revision %q after %q", size, len(kept.Ring), kept.Revision, last)
				}
			}
			last = read(t, s).Revision
			if size > identity.MaxRing/4 && size < identity.MaxRing {
				size = identity.MaxRing / 4
			}
		}
		if again := read(t, f.store(t)); again.Revision != last {
			t.Errorf("reading changes the revision from %q to %q", last, again.Revision)
		}
	})
	t.Run("rotated under use", func(t *testing.T) {
		f := p.start(t)
		mine, theirs := f.store(t), f.store(t)
		first, second, third := ringOf(t), ringOf(t), ringOf(t)
		if err := mine.Write(t.Context(), first, ""); err != nil {
			t.Fatal(err)
		}
		if err := theirs.Write(t.Context(), second, ""); act.CodeOf(err) != act.Conflict {
			t.Fatalf("made twice: %v", err)
		}
		kept := read(t, mine)
		if err := theirs.Write(t.Context(), second, kept.Revision); err != nil {
			t.Fatal(err)
		}
		if err := mine.Write(t.Context(), third, kept.Revision); act.CodeOf(err) != act.Conflict {
			t.Errorf("written over what another has written meanwhile: %v", err)
		}
		if now := read(t, mine); !bytes.Equal(now.Ring, second) || now.Revision == kept.Revision {
			t.Error("what another has written is not read")
		}
	})
	t.Run("one of many", func(t *testing.T) {
		f := p.start(t)
		const n = 6
		var workers sync.WaitGroup
		checks := make([]string, n)
		for i := range n {
			workers.Go(func() {
				s, err := f.open(t.Context())
				if err != nil {
					t.Error(err)
					return
				}
				keys, err := identity.OpenKeys(t.Context(), s, true)
				if err != nil {
					t.Error(err)
					return
				}
				checks[i] = fmt.Sprintf("%x", keys.Check())
			})
		}
		workers.Wait()
		for _, c := range checks {
			if c == "" || c != checks[0] {
				t.Fatalf("starts at once have the keys %v", checks)
			}
		}
		// And of many renewals at once one is kept.
		kept := read(t, f.store(t))
		var won atomic.Int32
		for range n {
			s, ring := f.store(t), ringOf(t)
			workers.Go(func() {
				switch err := s.Write(t.Context(), ring, kept.Revision); {
				case err == nil:
					won.Add(1)
				case act.CodeOf(err) != act.Conflict:
					t.Error(err)
				}
			})
		}
		workers.Wait()
		if won.Load() != 1 {
			t.Errorf("%d of %d writers over one revision won", won.Load(), n)
		}
	})
	t.Run("wrong content", func(t *testing.T) {
		f := p.start(t)
		if err := f.store(t).Write(t.Context(), ringOf(t), ""); err != nil {
			t.Fatal(err)
		}
		canary := []byte("CANARY-not-a-ring-of-keys")
		for _, text := range [][]byte{{}, canary, bytes.Repeat(canary, 1000), make([]byte, identity.MasterKeySize), append([]byte(`{"ring":9,"root":"`), canary...)} {
			f.spoil(text)
			_, err := identity.OpenKeys(t.Context(), f.store(t), true)
			if err == nil || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("%d bytes of something else are taken for keys (%v)", len(text), err)
			} else if bytes.Contains([]byte(fmt.Sprintf("%+v", err)), canary) {
				t.Errorf("the error repeats what is kept: %v", err)
			}
		}
	})
	t.Run("denied", func(t *testing.T) {
		f := p.start(t)
		if f.deny == nil {
			t.Fatal("it cannot be denied")
		}
		ring := ringOf(t)
		if err := f.store(t).Write(t.Context(), ring, ""); err != nil {
			t.Fatal(err)
		}
		f.deny(true)
		s, err := f.open(t.Context())
		if err == nil {
			_, err = identity.OpenKeys(t.Context(), s, true)
		}
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			t.Errorf("denied, keys are opened: %v", err)
		}
		f.deny(false)
		if kept := read(t, f.store(t)); !bytes.Equal(kept.Ring, ring) {
			t.Error("what was kept is gone")
		}
	})
	t.Run("down", func(t *testing.T) {
		f := p.start(t)
		if f.down == nil {
			return // it is on this machine's disk
		}
		s, ring := f.store(t), ringOf(t)
		if err := s.Write(t.Context(), ring, ""); err != nil {
			t.Fatal(err)
		}
		f.down(true)
		for what, s := range map[string]identity.KeyStore{"later": s, "at start": f.store(t)} {
			_, err := identity.OpenKeys(t.Context(), s, true)
			if act.CodeOf(err) != act.Unavailable || act.AsError(err).Hint == "" || errors.Is(err, fs.ErrNotExist) {
				t.Errorf("down %s: %v", what, err)
			}
			if err := s.Write(t.Context(), ringOf(t), ""); act.CodeOf(err) != act.Unavailable {
				t.Errorf("down %s, a write: %v", what, err)
			}
		}
		f.down(false)
		f.restart()
		if kept := read(t, s); !bytes.Equal(kept.Ring, ring) {
			t.Error("after a restart another ring is there")
		}
	})
	t.Run("slow", func(t *testing.T) {
		f := p.start(t)
		if f.slow == nil {
			return
		}
		s, ring := f.store(t), ringOf(t)
		if err := s.Write(t.Context(), ring, ""); err != nil {
			t.Fatal(err)
		}
		f.slow(true)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := s.Read(ctx); act.CodeOf(err) != act.Unavailable {
			t.Errorf("no answer: %v", err)
		}
		f.slow(false)
		if kept := read(t, s); !bytes.Equal(kept.Ring, ring) {
			t.Error("after a pause another ring is there")
		}
	})
	t.Run("expired lease", func(t *testing.T) {
		f := p.start(t)
		if f.expire == nil {
			return
		}
		s, ring := f.store(t), ringOf(t)
		if err := s.Write(t.Context(), ring, ""); err != nil {
			t.Fatal(err)
		}
		f.expire()
		kept := read(t, s)
		f.expire()
		if err := s.Write(t.Context(), ringOf(t), kept.Revision); err != nil {
			t.Errorf("a write after the lease: %v", err)
		}
	})
}
