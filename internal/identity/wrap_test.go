package identity

import (
	"bytes"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io/fs"
	"sync"
	"testing"
	"time"

	"github.com/reefwarden/reefwarden/internal/act"
)

// shelf keeps a ring in memory, for what is not about stores.
type shelf struct {
	mu   sync.Mutex
	ring []byte
	n    int
	down bool
}

func (s *shelf) Read(context.Context) (Kept, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.down:
		return Kept{}, act.Errorf(act.Unavailable, "no answer").WithRule("key.store")
	case s.ring == nil:
		return Kept{}, fs.ErrNotExist
	}
	return Kept{Ring: bytes.Clone(s.ring), Revision: string(rune('a' + s.n))}, nil
}

func (s *shelf) Write(_ context.Context, ring []byte, over string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ring != nil && over != string(rune('a'+s.n)) || s.ring == nil && over != "" {
		return act.Errorf(act.Conflict, "another")
	}
	s.ring, s.n = bytes.Clone(ring), s.n+1
	return nil
}

func open(t *testing.T, s *shelf) *Keys {
	t.Helper()
	k, err := OpenKeys(t.Context(), s, true)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// What networks have sealed before there were versions opens as version 1: the keys
// were derived under these names, and the nonce stood in front.
func TestFirstVersionIsWhatWasBefore(t *testing.T) {
	s := &shelf{}
	k := open(t, s)
	for info, w := range map[string]Wrapper{
		"reefwarden/1/conversation key wrap/1": k.Wrapper(),
		"reefwarden/1/sealed content":          k.TextWrapper(),
		"reefwarden/1/webhook secret":          k.WebhookWrapper(),
	} {
		key, err := hkdf.Key(sha256.New, s.ring, nil, info, 32)
		if err != nil {
			t.Fatal(err)
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			t.Fatal(err)
		}
		aead, err := cipher.NewGCM(block)
		if err != nil {
			t.Fatal(err)
		}
		nonce := make([]byte, aead.NonceSize())
		_, _ = rand.Read(nonce)
		plain, err := w.Unwrap(1, aead.Seal(nonce, nonce, []byte("kept"), []byte("here")), []byte("here"))
		if err != nil || string(plain) != "kept" {
			t.Errorf("%s: %q, %v", info, plain, err)
		}
	}
}

// A version opens what it wrapped, for its purpose and beside its bytes only, however
// many came after it; a node that read the ring before goes on, and catches up.
func TestVersions(t *testing.T) {
	s := &shelf{}
	k, other := open(t, s), open(t, s)
	permanent := [][]byte{k.Check(), k.CodecKey(), k.BackupKey()}
	type kept struct {
		version int64
		wrapped []byte
	}
	var all []kept
	for version := int64(1); version <= 5; version++ {
		if version > 1 {
			mark, err := k.extend(t.Context(), version)
			if err != nil {
				t.Fatal(err)
			}
			again, err := other.extend(t.Context(), version) // another node's chore
			if err != nil || again != mark {
				t.Fatalf("version %d differs between two nodes: %v", version, err)
			}
			if got := k.Wrapper().Version(); got != version-1 {
				t.Fatalf("version %d is used before it was taken into use", got)
			}
			if err := k.wrap.use(version, mark[:]); err != nil {
				t.Fatal(err)
			}
		}
		n, wrapped := k.Wrapper().Wrap([]byte("secret"), []byte("here"))
		if n != version {
			t.Fatalf("wrapped under %d, want %d", n, version)
		}
		all = append(all, kept{n, wrapped})
	}
	fresh := open(t, s)
	for _, a := range all {
		for _, node := range []*Keys{k, other, fresh} {
			if plain, err := node.Wrapper().Unwrap(a.version, a.wrapped, []byte("here")); err != nil || string(plain) != "secret" {
				t.Errorf("version %d: %q, %v", a.version, plain, err)
			}
			for what, unwrap := range map[string]func() ([]byte, error){
				"beside other bytes": func() ([]byte, error) { return node.Wrapper().Unwrap(a.version, a.wrapped, []byte("there")) },
				"as a text":          func() ([]byte, error) { return node.TextWrapper().Unwrap(a.version, a.wrapped, []byte("here")) },
				"as a webhook's":     func() ([]byte, error) { return node.WebhookWrapper().Unwrap(a.version, a.wrapped, []byte("here")) },
				"as another version": func() ([]byte, error) { return node.Wrapper().Unwrap(a.version%5+1, a.wrapped, []byte("here")) },
			} {
				if _, err := unwrap(); err == nil {
					t.Errorf("version %d opens %s", a.version, what)
				}
			}
		}
	}
	for _, version := range []int64{-1, 0, 6, 1 << 40} {
		if _, err := k.Wrapper().Unwrap(version, all[0].wrapped, []byte("here")); act.CodeOf(err) != act.Unavailable {
			t.Errorf("version %d: %v", version, err)
		}
	}
	for i, key := range [][]byte{k.Check(), k.CodecKey(), k.BackupKey()} {
		if !bytes.Equal(key, permanent[i]) {
			t.Error("a renewal changes a permanent key")
		}
	}
	// Nothing goes back to an older version, or to another key under its number.
	mark, _ := k.wrap.mark(2)
	if err := k.wrap.use(2, mark[:]); err != nil || k.Wrapper().Version() != 5 {
		t.Errorf("back to version 2: %v", err)
	}
	if err := k.wrap.use(5, mark[:]); act.CodeOf(err) != act.Unavailable {
		t.Errorf("another key under the number 5: %v", err)
	}
	if _, err := k.extend(t.Context(), 9); act.CodeOf(err) != act.Unavailable {
		t.Errorf("a version that does not follow: %v", err)
	}
}

// Nodes that ask for a version at once get one.
func TestOneVersionOfMany(t *testing.T) {
	s := &shelf{}
	nodes := make([]*Keys, 3) // a write lost is tried again three times
	for i := range nodes {
		nodes[i] = open(t, s)
	}
	marks := make([][16]byte, len(nodes))
	var all sync.WaitGroup
	for i, k := range nodes {
		all.Go(func() {
			var err error
			if marks[i], err = k.extend(t.Context(), 2); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, m := range marks {
		if m != marks[0] || m == [16]byte{} {
			t.Fatalf("one version has the marks %x", marks)
		}
	}
}

// The lease runs from the last time that the store let the node in.
func TestLapse(t *testing.T) {
	s := &shelf{}
	k := open(t, s)
	now := time.Unix(1_000_000, 0)
	clock := func() time.Time { return now }
	now = now.Add(1000 * time.Hour)
	if err := k.Lapsed(clock); err != nil {
		t.Errorf("without a bound: %v", err)
	}
	k.Bound(time.Hour, now)
	for range 5 {
		now = now.Add(50 * time.Minute)
		if err := errors.Join(k.Lapsed(clock), k.Refresh(t.Context(), now)); err != nil {
			t.Fatal(err)
		}
	}
	s.down = true
	now = now.Add(59 * time.Minute)
	if err := k.Refresh(t.Context(), now); act.CodeOf(err) != act.Unavailable {
		t.Errorf("the store is down: %v", err)
	}
	if err := k.Lapsed(clock); err != nil {
		t.Errorf("within the lease: %v", err)
	}
	now = now.Add(2 * time.Minute)
	if err := k.Lapsed(clock); act.CodeOf(err) != act.Unavailable || act.AsError(err).Rule != "key.lease" {
		t.Errorf("after the lease: %v", err)
	}
	s.down = false
	if err := errors.Join(k.Refresh(t.Context(), now), k.Lapsed(clock)); err != nil {
		t.Errorf("the store is back: %v", err)
	}
}
