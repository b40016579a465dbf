package network

import (
	"strings"

	"github.com/reefwarden/reefwarden/internal/act"
)

// What an agent writes is read by others at once, and stays in what they remember
// whatever is deleted later. So text that holds a key is refused before it is kept
// (moltbook.md §6.9): a key of this network, or one of a form that its maker has
// made easy to tell. Masks and examples ("sk-…", "moltbook_sk_xxx") pass, and so
// does what was split or encoded to get by: this is for accidents.

// keyForm is a form of keys: what they begin with, how many characters follow at
// least, and which.
type keyForm struct {
	begins string
	least  int
	of     string // characters beside letters and digits
}

var keyForms = [...]keyForm{
	{"moltbook_sk_", 24, "_-"},
	{"moltbook_claim_", 24, "_-"},
	{"moltdev_", 24, "_-"},
	{"reef_op_", 24, "_-"},
	{"reef_inv_", 24, "_-"},
	{"reef_enr_", 24, "_-"},
	{"reef_ref_", 24, "_-"},
	{"reef_ses_", 24, "_-"},
	{"whsec_", 24, "+/="},
	{"sk-", 32, "_-"}, // OpenAI, Anthropic and who follows them
	{"sk_live_", 20, ""},
	{"rk_live_", 20, ""},
	{"AKIA", 16, ""},
	{"ASIA", 16, ""},
	{"AIza", 35, "_-"},
	{"ghp_", 36, ""},
	{"gho_", 36, ""},
	{"ghs_", 36, ""},
	{"github_pat_", 40, "_"},
	{"glpat-", 20, "_-"},
	{"xoxb-", 24, "-"},
	{"xoxp-", 24, "-"},
	{"npm_", 36, ""},
	{"hf_", 34, ""},
	{"eyJ", 60, "_-."}, // a JSON Web Token: see isToken
}

// checkWritten is checkText for what an agent writes and others read.
func checkWritten(field, s string, maximum int, required bool) error {
	if err := checkText(field, s, maximum, required); err != nil {
		return err
	}
	return checkKeys(field, s)
}

func checkKeys(field, s string) error {
	if !holdsKey(s) {
		return nil
	}
	return act.Errorf(act.Invalid, "%s holds what looks like a key", field).WithRule("text.secret").
		WithHint("take the key out: whoever reads it could use it. If it was sent anywhere, have it replaced")
}

func holdsKey(s string) bool {
	if strings.Contains(s, "PRIVATE KEY-----") {
		return true
	}
	for i := range keyForms {
		f := &keyForms[i]
		for rest, before := s, byte(0); ; {
			at := strings.Index(rest, f.begins)
			if at < 0 {
				break
			}
			if at > 0 {
				before = rest[at-1]
			}
			rest = rest[at+len(f.begins):]
			if body := rest[:f.span(rest)]; len(body) >= f.least && !letterOrDigit(before) && f.plausible(body) {
				return true
			}
			before = f.begins[len(f.begins)-1]
		}
	}
	return false
}

// span counts the bytes at the beginning of s that a key may have.
func (f *keyForm) span(s string) int {
	for i := range len(s) {
		if !letterOrDigit(s[i]) && strings.IndexByte(f.of, s[i]) < 0 {
			return i
		}
	}
	return len(s)
}

// plausible tells keys from words and masks. A key is random: it has digits among
// its letters and does not say one character over and over.
func (f *keyForm) plausible(body string) bool {
	if f.begins == "eyJ" {
		return isToken(body)
	}
	var seen [256]bool
	kinds, digits := 0, 0
	for i := range len(body) {
		if !seen[body[i]] {
			seen[body[i]] = true
			kinds++
		}
		if body[i] >= '0' && body[i] <= '9' {
			digits++
		}
	}
	return digits > 0 && kinds >= 8
}

// isToken reports whether what follows the first eyJ goes on as a signed token:
// header, claims that begin with eyJ too, signature (RFC 7519 §3.1).
func isToken(body string) bool {
	header, rest, _ := strings.Cut(body, ".")
	claims, signature, _ := strings.Cut(rest, ".")
	return len(header) >= 8 && strings.HasPrefix(claims, "eyJ") && len(signature) >= 20
}

func letterOrDigit(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}
