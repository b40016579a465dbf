package secret

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
)

// cheap keeps tests that are about something else from stretching passphrases.
var cheap = leastCost

func testSeal(t testing.TB, content []byte, kind, secret string) sealed {
	t.Helper()
	s, err := seal(content, kind, []byte(secret), cheap)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSealed(t *testing.T) {
	content := []byte("a ring of keys, " + rand.Text())
	for kind, secret := range map[string]string{wayKey: rand.Text() + rand.Text(), wayPassphrase: "correct horse " + rand.Text()} {
		s := testSeal(t, content, kind, secret)
		text := s.encode()
		if !isSealed(text) || bytes.Contains(text, content) || bytes.Contains(text, []byte(base64.RawStdEncoding.EncodeToString(content))) {
			t.Fatalf("%s: the file shows its content", kind)
		}
		again, err := parseSealed(text)
		if err != nil {
			t.Fatal(err)
		}
		got, fileKey, err := again.open(kind, []byte(secret))
		if err != nil || !bytes.Equal(got, content) {
			t.Fatalf("%s: it opens as %d bytes (%v)", kind, len(got), err)
		}
		// What it holds can be replaced without the key or passphrase of other ways.
		before := again.header()
		if err := again.fill(fileKey, []byte("another")); err != nil || again.header() != before {
			t.Fatalf("%s: filled anew: %v", kind, err)
		}
		if got, _, err := again.open(kind, []byte(secret)); err != nil || string(got) != "another" {
			t.Errorf("%s: filled anew it opens as %q (%v)", kind, got, err)
		}
		for name, open := range map[string]func() ([]byte, []byte, error){
			"another secret": func() ([]byte, []byte, error) { return s.open(kind, []byte(secret+"x")) },
			"another way": func() ([]byte, []byte, error) {
				return s.open(map[string]string{wayKey: wayPassphrase, wayPassphrase: wayKey}[kind], []byte(secret))
			},
		} {
			if got, _, err := open(); !errors.Is(err, errNoWay) || got != nil {
				t.Errorf("%s: %s opens it (%v)", kind, name, err)
			}
		}
	}
}

// Any change of a sealed file is seen: each bit of it, lines that are left out or
// said twice, and parts of another file that the same key opens.
func TestSealedIsWhole(t *testing.T) {
	const secret = "0123456789 0123456789 0123456789"
	text, other := testSeal(t, []byte("one"), wayKey, secret).encode(), testSeal(t, []byte("two"), wayKey, secret).encode()
	refused := func(what string, changed []byte) {
		t.Helper()
		s, err := parseSealed(changed)
		if err == nil {
			_, _, err = s.open(wayKey, []byte(secret))
		}
		if err == nil {
			t.Errorf("%s: it opens", what)
		} else if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error shows the key", what)
		}
	}
	for i := range text {
		for bit := range 8 {
			changed := bytes.Clone(text)
			changed[i] ^= 1 << bit
			refused("a changed bit", changed)
		}
		refused("cut short", text[:i])
	}
	lines, others := strings.SplitAfter(string(text), "\n"), strings.SplitAfter(string(other), "\n")
	refused("another's content", []byte(strings.Join([]string{lines[0], lines[1], lines[2], others[3]}, "")))
	refused("another's key", []byte(strings.Join([]string{lines[0], others[1], lines[2], lines[3]}, "")))
	refused("two ways", []byte(strings.Join([]string{lines[0], lines[1], others[1], lines[2], lines[3]}, "")))
	refused("no way", []byte(strings.Join([]string{lines[0], lines[2], lines[3]}, "")))
	refused("a line more", append(bytes.Clone(text), '\n'))
	refused("far too long", append(bytes.Clone(text), make([]byte, maxSealed)...))
	if _, err := parseSealed(text); err != nil {
		t.Errorf("the file itself: %v", err)
	}
}

// What a stranger's file says a passphrase costs is refused before it is paid.
func TestCostBounds(t *testing.T) {
	text := string(testSeal(t, []byte("x"), wayPassphrase, "a long passphrase").encode())
	if !defaultCost.within() {
		t.Fatal("the default cost is out of bounds")
	}
	for _, c := range []string{"0 19456 1", "17 19456 1", "1 19455 1", "1 1048577 1", "1 4294967295 1", "1 19456 0", "1 19456 17", "1 19456 257", "-1 19456 1", "1 19456"} {
		changed := strings.Replace(text, " 1 19456 1 ", " "+c+" ", 1)
		if changed == text {
			t.Fatal("the cost is not where the test looks for it")
		}
		if _, err := parseSealed([]byte(changed)); err == nil {
			t.Errorf("a cost of %s is taken", c)
		}
	}
}

func FuzzSealed(f *testing.F) {
	for _, kind := range []string{wayKey, wayPassphrase} {
		f.Add(testSeal(f, []byte("a ring"), kind, "0123456789 0123456789 0123456789").encode())
	}
	f.Add([]byte(sealedMagic + "\n---\n\n"))
	f.Add([]byte(sealedMagic + "\n-> key \n---\nAA\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := parseSealed(text)
		if err != nil {
			return
		}
		if !bytes.Equal(s.encode(), text) {
			t.Errorf("%q is taken and written as %q", text, s.encode())
		}
		if len(s.ways) == 0 || len(s.ways) > maxWays {
			t.Errorf("%d ways", len(s.ways))
		}
	})
}
