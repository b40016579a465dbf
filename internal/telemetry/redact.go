package telemetry

import (
	"fmt"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	redacted = "[redacted]"
	cut      = "[cut]"
	maxText  = 16 << 10 // bytes of one string in a log line
)

// shape is one form that a credential takes inside a text. The marks are a
// cheap test (lower case, any of them): where none occurs, re cannot match.
type shape struct {
	marks []string
	re    *regexp.Regexp
	put   string
}

// shapes is read-only. Order matters: URLs first, because a password in one may
// look like anything.
var shapes = []shape{
	{ // scheme://user:password@host; the password may hold '/', '?' and '@'
		[]string{"://"},
		regexp.MustCompile(`(?i)([a-z][a-z0-9+.\-]*://)[^\s/?#@:]*:\S*@`), "${1}" + redacted + "@",
	},
	{ // scheme://token@host
		[]string{"://"},
		regexp.MustCompile(`(?i)([a-z][a-z0-9+.\-]*://)[^\s/?#]*@`), "${1}" + redacted + "@",
	},
	{ // this network's own credentials
		[]string{"moltbook_", "reef_"},
		regexp.MustCompile(`(?i)(?:moltbook_(?:sk|claim)|reef_(?:op|inv|enr|ref|ses|code|dev))_[a-z0-9_\-.~+/=%]+`), redacted,
	},
	{ // JWT: JWS (RFC 7515 §7.1) and JWE (RFC 7516 §7.1) compact forms
		[]string{"eyj"},
		regexp.MustCompile(`eyJ[A-Za-z0-9_\-]{4,}(?:\.[A-Za-z0-9_\-]*){1,4}`), redacted,
	},
	{ // RFC 6750 §2.1
		[]string{"bearer"},
		regexp.MustCompile(`(?i)\b(bearer)(?:\s+|%20)[^\s"',;<>]+`), "${1} " + redacted,
	},
	{ // RFC 9449 §7.1; the length spares prose such as "DPoP proof"
		[]string{"dpop"},
		regexp.MustCompile(`(?i)\b(dpop)\s+[^\s"',;<>]{20,}`), "${1} " + redacted,
	},
	{ // header lines in a dump
		[]string{"authorization"},
		regexp.MustCompile(`(?i)(authorization["']?\s*:\s*\[?(?:[a-z]+[ \t]+)?)(?:\[redacted\]|[^\s"'\]]+)`), "${1}" + redacted,
	},
	{
		[]string{"cookie"},
		regexp.MustCompile(`(?i)(cookie\s*:\s*)[^\r\n]+`), "${1}" + redacted,
	},
	{
		[]string{"x-"},
		regexp.MustCompile(`(?i)(x-[a-z\-]*(?:key|token|secret)\s*:\s*)[^\s"']+`), "${1}" + redacted,
	},
	{ // "token":"…" in JSON, also in JSON quoted within JSON
		[]string{"token", "secret", "passw", "passphrase", "key", "authorization", "cookie"},
		regexp.MustCompile(`(?i)(["'][^"'\s]{0,60}(?:token|secret|password|passwd|passphrase|api[_-]?key|private[_-]?key|authorization|cookie)\\*["']\s*:\s*\[?\s*)(?:"(?:[^"\\]|\\.)*"?|'[^']*'?|\\+"[^"\\]*)`),
		`${1}"` + redacted + `"`,
	},
	{ // token=…, ?api_key=…, {Token:…}; a colon with a space after it is prose
		[]string{"token", "secret", "passw", "passphrase", "pwd", "key"},
		regexp.MustCompile(`(?i)((?:token|secret|password|passwd|passphrase|pwd|api[_-]?key|private[_-]?key)(?:\s?=\s?|:))(?:\[redacted\]|"(?:[^"\\]|\\.)*"?|'[^']*'?|[^\s&,;"'\]}]+)`),
		"${1}" + redacted,
	},
}

// scrub replaces everything in s that has the shape of a credential.
func scrub(s string) string {
	lower := strings.ToLower(s)
	for i := range shapes {
		for _, m := range shapes[i].marks {
			if strings.Contains(lower, m) {
				s = shapes[i].re.ReplaceAllString(s, shapes[i].put)
				break
			}
		}
	}
	return s
}

// Clean makes a stranger's text fit to be kept on one line: without credentials, without
// characters that deceive, and bounded.
func Clean(s string) string { return clean(s) }

// clean makes a string fit for a log line or a label: bounded, without
// credentials, and only of characters that show as what they are.
func clean(s string) string {
	if len(s) > maxText {
		// Cut at white space, so that no half of a credential is left that its
		// shape does not cover.
		s = s[:maxText]
		s = s[:strings.LastIndexAny(s, " \t\r\n")+1] + cut
	}
	return escape(scrub(s))
}

// escape writes everything that is not printable (control characters, bidi and
// other format characters, line separators, spaces other than ' ', invalid
// UTF-8) as a Go escape. A backslash stays as it is.
func escape(s string) string {
	i := 0
	for i < len(s) && s[i] >= ' ' && s[i] < 0x7f {
		i++
	}
	if i == len(s) {
		return s
	}
	var b strings.Builder
	b.Grow(len(s) + 16)
	b.WriteString(s[:i])
	for i < len(s) {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case unicode.IsPrint(r):
			b.WriteString(s[i : i+size])
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < utf8.RuneSelf:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r <= 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			fmt.Fprintf(&b, `\U%08x`, r)
		}
		i += size
	}
	return b.String()
}

// secrecy says how much a name tells about its value.
type secrecy uint8

const (
	open    secrecy = iota
	guarded         // strings are secrets, numbers are not ("tokens": 12)
	sealed          // whatever the value is
)

// secrecyOf judges the name of an attribute, a map key or a field. Names are
// split at case changes and at anything that is not a letter or digit, so that
// "X-API-Key", "apiKey" and "api_key" are one name, and "monkey" is none.
func secrecyOf(name string) secrecy {
	words := split(name)
	if len(words) == 0 {
		return open
	}
	worst := open
	for _, w := range words {
		switch w {
		case "key", "keys", "auth", "jwt", "seed", "pin":
			worst = max(worst, guarded)
		case "pass", "pwd", "bearer":
			worst = sealed
		}
	}
	joined := strings.Join(words, "")
	for _, part := range []string{"password", "passwd", "passphrase", "secret", "authorization", "credentials", "privatekey"} {
		if strings.Contains(joined, part) {
			worst = sealed
		}
	}
	for _, part := range []string{"token", "cookie", "apikey", "sshkey", "signingkey", "masterkey"} {
		if strings.Contains(joined, part) {
			worst = max(worst, guarded)
		}
	}
	if worst == open {
		return open
	}
	switch words[len(words)-1] { // says something about the secret, is none
	case "id", "ids", "kind", "type", "count", "file", "path", "epoch", "version", "ttl", "expires", "age", "limit", "name":
		return open
	}
	return worst
}

// split returns the words of a name in lower case: "X-APIKeyId" is x, api, key, id.
func split(name string) []string {
	var words []string
	var word []rune
	flush := func() {
		if len(word) > 0 {
			words = append(words, strings.ToLower(string(word)))
			word = word[:0]
		}
	}
	runes := []rune(name)
	for i, r := range runes {
		if !unicode.IsLetter(r) && !unicode.IsDigit(r) {
			flush()
			continue
		}
		startsWord := i > 0 && unicode.IsUpper(r) &&
			(unicode.IsLower(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1]))
		if startsWord {
			flush()
		}
		word = append(word, r)
	}
	flush()
	return words
}
