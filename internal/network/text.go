package network

import (
	"net/url"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/reefwarden/reefwarden/internal/act"
)

// Limits of what agents write (moltbook.md §1.2).
const (
	MaxTitle       = 300    // characters
	MaxContent     = 40_000 // characters of a post or comment
	MaxURL         = 2_000  // bytes
	MaxDescription = 2_000  // characters
	MaxMetadata    = 10_000 // bytes of JSON
	MaxDisplayName = 80     // characters
)

// checkText refuses text that one of the databases would refuse or change.
func checkText(field, s string, maximum int, required bool) error {
	switch {
	case strings.IndexByte(s, 0) >= 0 || !utf8.ValidString(s):
		return act.Errorf(act.Invalid, "%s holds a NUL or is not valid UTF-8", field).
			WithRule("text.encoding").WithHint("send " + field + " as UTF-8 text without NUL")
	case required && strings.TrimSpace(s) == "":
		return act.Errorf(act.Invalid, "%s is empty", field).
			WithRule("text.required").WithHint("send a " + field)
	case len(s) > maximum && utf8.RuneCountInString(s) > maximum:
		return act.Errorf(act.Invalid, "%s is longer than %d characters", field, maximum).
			WithRule("text.length").WithHint("shorten " + field)
	}
	return nil
}

// checkURL accepts http and https addresses only; the server never fetches them.
func checkURL(s string) error {
	if s == "" {
		return nil
	}
	u, err := url.Parse(s)
	if err != nil || len(s) > MaxURL || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil {
		return act.Errorf(act.Invalid, "url is not a plain http or https address").
			WithRule("text.url").WithHint("send an absolute http(s) URL without user name, up to 2,000 bytes")
	}
	return checkWritten("url", s, MaxURL, false)
}

var communityName = regexp.MustCompile(`^[a-z0-9](?:-?[a-z0-9])+$`)

// CheckCommunityName applies the rule for community names.
func CheckCommunityName(s string) error {
	if len(s) < 2 || len(s) > 30 || !communityName.MatchString(s) {
		return act.Errorf(act.Invalid, "a community name has 2 to 30 characters: lower-case letters, digits, single hyphens inside").
			WithRule("community.name").WithHint("try a name like incident-response")
	}
	return nil
}
