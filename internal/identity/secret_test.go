package identity

import (
	"encoding/base64"
	"regexp"
	"strings"
	"testing"
)

var secretForms = map[Secret]*regexp.Regexp{
	AgentKey:      regexp.MustCompile(`^moltbook_sk_[A-Za-z0-9_-]{32}$`),
	ClaimToken:    regexp.MustCompile(`^moltbook_claim_[A-Za-z0-9_-]{32}$`),
	InviteCode:    regexp.MustCompile(`^reef_inv_[A-Za-z0-9_-]{32}$`),
	OperatorToken: regexp.MustCompile(`^reef_op_[A-Za-z0-9_-]{32}$`),
	AppKey:        regexp.MustCompile(`^moltdev_[A-Za-z0-9_-]{32}$`),
}

func TestSecrets(t *testing.T) {
	k, foreign := newKeys(t), newKeys(t)
	seen := map[string]bool{}
	for kind, form := range secretForms {
		for range 200 {
			text := k.mint(kind)
			if !form.MatchString(text) || seen[text] {
				t.Fatalf("%s: not of the form, or a second time", text)
			}
			seen[text] = true
			if got, ok := kindOf(text); !ok || got != kind {
				t.Fatalf("kind of %s is %d, %t", text, got, ok)
			}
			if !k.genuine(kind, text) {
				t.Fatalf("%s is not genuine", text)
			}
			if foreign.genuine(kind, text) {
				t.Fatalf("another network takes %s for its own", text)
			}
		}
		text := k.mint(kind)
		body := text[len(kind.Prefix()):]
		for other := range secretForms {
			if other != kind && (k.genuine(other, other.Prefix()+body) || k.genuine(other, text)) {
				t.Errorf("a secret of kind %d serves as kind %d", kind, other)
			}
		}
		for i := range text { // every change of one character
			for _, c := range "A_z\n\x00é" {
				if twin := text[:i] + string(c) + text[i+1:]; twin != text && k.genuine(kind, twin) {
					t.Errorf("%q passes for %q", twin, text)
				}
			}
		}
		for _, twin := range []string{text + "A", text[:len(text)-1], " " + text, text + "\n", strings.ToUpper(text), "", kind.Prefix()} {
			if k.genuine(kind, twin) {
				t.Errorf("%q passes", twin)
			}
		}
	}
}

func TestClaimCode(t *testing.T) {
	form := regexp.MustCompile(`^[a-z]+-[0-9A-HJKMNP-TV-Z]{4}$`)
	codes := map[string]bool{}
	for range 1000 {
		c := NewClaimCode()
		if !form.MatchString(c) {
			t.Fatalf("code %q", c)
		}
		codes[c] = true
	}
	if len(codes) < 990 {
		t.Errorf("%d different codes in 1000", len(codes))
	}
}

// The MAC takes a text of any length, in pieces of its buffer.
func TestMACOfLongText(t *testing.T) {
	m := newMAC([]byte("k"))
	seen := map[[32]byte]int{}
	for n := range 400 {
		sum := m.sum(strings.Repeat("x", n))
		if before, twice := seen[sum]; twice {
			t.Fatalf("texts of %d and %d bytes have one sum", before, n)
		}
		seen[sum] = n
		if m.sum(strings.Repeat("x", n)) != sum {
			t.Fatalf("the sum of %d bytes is not stable", n)
		}
	}
}

func FuzzGenuine(f *testing.F) {
	k, err := deriveKeys(ring{Root: make([]byte, MasterKeySize)})
	if err != nil {
		f.Fatal(err)
	}
	for kind := range secretForms {
		f.Add(k.mint(kind))
		f.Add(kind.Prefix() + strings.Repeat("A", secretChars))
	}
	f.Add("moltbook_sk_\r\n" + strings.Repeat("\n", 30))
	f.Fuzz(func(t *testing.T, text string) {
		kind, ok := kindOf(text)
		if !ok {
			return
		}
		if !k.genuine(kind, text) {
			return
		}
		// Only what mint makes passes: the tag follows from the random part.
		raw, err := base64.RawURLEncoding.DecodeString(text[len(kind.Prefix()):])
		if err != nil || len(raw) != secretBytes {
			t.Fatalf("%q is genuine and cannot be decoded: %v", text, err)
		}
		tag := k.tagOf(kind, raw[:secretRandom])
		if again := kind.Prefix() + base64.RawURLEncoding.EncodeToString(append(raw[:secretRandom:secretRandom], tag[:]...)); again != text {
			t.Errorf("%q is genuine, %q is its form", text, again)
		}
	})
}
