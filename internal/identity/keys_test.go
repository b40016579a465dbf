package identity

import (
	"bytes"
	"crypto/ed25519"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func load(t testing.TB, path string) *Keys {
	t.Helper()
	k, err := LoadKeys(path)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newKeys(t testing.TB) *Keys {
	t.Helper()
	return load(t, filepath.Join(t.TempDir(), "keys", "master"))
}

func TestKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys", "master")
	// Several processes start at once on one directory: one key comes of it.
	const n = 16
	var workers sync.WaitGroup
	checks := make([][]byte, n)
	for i := range n {
		workers.Go(func() {
			if k, err := LoadKeys(path); err == nil {
				checks[i] = k.Check()
			}
		})
	}
	workers.Wait()
	for i, c := range checks {
		if len(c) == 0 || !bytes.Equal(c, checks[0]) {
			t.Fatalf("start %d has check value %x, the first %x", i, c, checks[0])
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 || info.Size() != MasterKeySize {
		t.Errorf("key file: %v, %v", info, err)
	}
	left, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(left) != 1 {
		t.Errorf("beside the key file: %v, %v", left, err)
	}

	for mode, ok := range map[os.FileMode]bool{0o400: true, 0o640: true, 0o644: false, 0o604: false, 0o660: false, 0o601: false} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadKeys(path); (err == nil) != ok {
			t.Errorf("mode %04o: %v", mode, err)
		}
	}
	short := filepath.Join(t.TempDir(), "short")
	for _, size := range []int{0, 31, 33, 5000} {
		if err := os.WriteFile(short, bytes.Repeat([]byte{7}, size), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := LoadKeys(short); err == nil {
			t.Errorf("a key file of %d bytes was taken", size)
		}
		if got, _ := os.ReadFile(short); len(got) != size {
			t.Errorf("the file of %d bytes was written over", size)
		}
	}
}

// Every derived key is its own, follows from the file alone, and changes with
// it; the check value is none of them.
func TestDerivedKeys(t *testing.T) {
	path := filepath.Join(t.TempDir(), "master")
	a, again, b := load(t, path), load(t, path), newKeys(t)
	all := func(k *Keys) map[string][]byte {
		p, s, g := k.pepper.sum("x"), k.source.sum("x"), k.tag.sum("x")
		return map[string][]byte{
			"codec": k.CodecKey(), "policy": k.PolicyKey().Seed(), "check": k.Check(), "pepper": p[:], "source": s[:], "tag": g[:],
		}
	}
	one, two, other := all(a), all(again), all(b)
	for name, key := range one {
		if !bytes.Equal(key, two[name]) {
			t.Errorf("%s differs between two readings of one file", name)
		}
		if bytes.Equal(key, other[name]) {
			t.Errorf("%s is the same in two networks", name)
		}
		for name2, key2 := range one {
			if name != name2 && bytes.Equal(key[:16], key2[:16]) {
				t.Errorf("%s and %s begin alike", name, name2)
			}
		}
	}
	public, _ := a.PolicyKey().Public().(ed25519.PublicKey)
	if !ed25519.Verify(public, []byte("m"), ed25519.Sign(again.PolicyKey(), []byte("m"))) {
		t.Error("the policy key does not verify its own signature")
	}
	if a.CodecKey()[0]++; a.CodecKey()[0] != again.CodecKey()[0] {
		t.Error("a caller can change the codec key")
	}
}

func TestSource(t *testing.T) {
	k := newKeys(t)
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1:4000", "192.0.2.1:5000", true},
		{"192.0.2.1:4000", "192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false},
		{"192.0.2.1", "::ffff:192.0.2.1", true},
		{"[2001:db8::1]:80", "[2001:db8::2]:81", true}, // one /64
		{"2001:db8::1", "2001:db8:0:1::1", false},
		{"fe80::1%eth0", "fe80::1%eth1", true},
		{"pipe", "pipe", true},
		{"pipe", "socket", false},
	} {
		if got := k.Source(c.a) == k.Source(c.b); got != c.same {
			t.Errorf("%s and %s are one source: %t, want %t", c.a, c.b, got, c.same)
		}
	}
	s := k.Source("192.0.2.1:4000")
	if len(s) != 12 || strings.Contains(s, "192") || k.Source("") != "" || s == newKeys(t).Source("192.0.2.1:4000") {
		t.Errorf("source %q", s)
	}
}
