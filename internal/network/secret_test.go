package network

import (
	"strings"
	"testing"

	"github.com/reefwarden/reefwarden/internal/act"
)

// filler makes the random part of a key, so that no key stands in this file.
func filler(n int, alphabet string) string {
	var b strings.Builder
	for i := range n {
		b.WriteByte(alphabet[(7*i+3)%len(alphabet)])
	}
	return b.String()
}

const (
	upper = "A1B2C3D4E5F6G7H8J9K0"
	mixed = "aZ1bY2cX3dW4eV5fU6gT7hS8iR9"
)

// Every form of key is found, wherever it stands, and the refusal does not say it.
func TestKeysInTextsAreRefused(t *testing.T) {
	for _, f := range keyForms {
		key := f.begins + filler(f.least, mixed)
		switch f.begins {
		case "AKIA", "ASIA":
			key = f.begins + filler(f.least, upper)
		case "eyJ":
			key = "eyJ" + filler(20, mixed) + ".eyJ" + filler(20, mixed) + "." + filler(43, mixed)
		}
		for _, text := range []string{key, "my key is " + key + ".", "\n`" + key + "`", "KEY=" + key + " # mine", f.begins + " " + f.begins + key, `{"k":"` + key + `"}`} {
			e := act.AsError(checkKeys("content", text))
			if e == nil || e.Code != act.Invalid || e.Rule != "text.secret" || e.Hint == "" || strings.Contains(e.Error()+e.Hint, key) {
				t.Errorf("%s in %q: %v", f.begins, text, e)
			}
		}
	}
	if checkKeys("content", "-----BEGIN EC PRIVATE KEY-----\nMHc…") == nil {
		t.Error("a private key passes")
	}
}

// Words, masks and short examples pass.
func TestTextsWithoutKeysPass(t *testing.T) {
	for _, text := range []string{
		"", "ask-me-about-the-task-1-of-the-desk-2-at-risk-3-and-more", "moltbook_sk_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", "moltbook_sk_…",
		"sk-" + strings.Repeat("x", 48), "sk-ant-…", "sk-learn-is-a-library-with-a-name-of-many-words", "AKIA is how they begin", "MAKIAVELLI1234567890123",
		"eyJ is how they begin", "eyJhbGciOiJIUzI1NiJ9 alone", "npm_config_registry", "hf_hub_download", "an AIza key", "-----BEGIN CERTIFICATE-----",
		"risk-" + filler(40, mixed), "https://example.org/?q=" + filler(64, mixed), strings.Repeat("0123456789abcdef", 4),
	} {
		if err := checkKeys("content", text); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzHoldsKey(f *testing.F) {
	f.Add("sk-", "a")
	f.Add("before moltbook_sk_", filler(32, mixed))
	f.Add("eyJ", "..eyJ..")
	f.Fuzz(func(t *testing.T, before, after string) {
		text := before + after
		found := holdsKey(text)
		if again := holdsKey(" " + text + " "); found && !again {
			t.Errorf("%q holds a key, and none between spaces", text)
		}
		if !holdsKey(before + " sk-" + filler(40, mixed) + " " + after) {
			t.Errorf("a key between %q and %q is not found", before, after)
		}
	})
}
