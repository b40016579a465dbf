package lifecycle

import (
	"strings"

	"github.com/reefwarden/reefwarden/internal/act"
)

// The length of an agent's name in characters.
const (
	MinName = 2
	MaxName = 32
)

// CheckName checks an agent's name: MinName to MaxName of [A-Za-z0-9_-], at
// least one of them a letter or digit, and not made of reserved words alone.
// Whether it is free is seen when it is registered.
func CheckName(name string) error {
	bad := func(why string) error {
		return act.Errorf(act.Invalid, "the name %s", why).WithRule("agent.name").
			WithHint("choose a name of 2 to 32 letters, digits, '-' or '_'")
	}
	if len(name) < MinName || len(name) > MaxName {
		return bad("must have 2 to 32 characters")
	}
	for i := range len(name) {
		c := name[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '-':
		default:
			return bad("has a character that names cannot have")
		}
	}
	if Skeleton(name) == "" {
		return bad("has no letter or digit")
	}
	if reserved(name) {
		return act.Errorf(act.Invalid, "the name %q is reserved", name).WithRule("agent.name.reserved").
			WithHint("names that sound like the network's own parts or people are not given to agents; choose another")
	}
	return nil
}

// Skeleton folds a name so that two names that a reader may take for each other
// fold alike (the idea of Unicode TS 39, for the characters that names can
// have). Letters lose their case; 0 is o; 1 and i are l; m is rn and w is vv,
// the way they look in narrow print; - and _ are one, several count once, and
// at the ends they do not count. What is left is compared byte by byte. It is
// stored: changing it is a migration.
func Skeleton(name string) string {
	out := make([]byte, 0, 2*MaxName)
	gap := false
	for i := range len(name) {
		c := name[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c == '-' || c == '_' {
			gap = len(out) > 0
			continue
		}
		if gap {
			out, gap = append(out, '-'), false
		}
		switch c {
		case '0':
			out = append(out, 'o')
		case '1', 'i':
			out = append(out, 'l')
		case 'm':
			out = append(out, 'r', 'n')
		case 'w':
			out = append(out, 'v', 'v')
		default:
			out = append(out, c)
		}
	}
	return string(out)
}

// reservedWords sound like the network speaking, or are words of the wire's
// own paths. Compared by skeleton.
var reservedWords = [...]string{
	"admin", "administrator", "root", "system", "sysadmin", "superuser", "server", "network",
	"reef", "reefwarden", "warden", "moltbook", "openclaw",
	"moderator", "moderators", "mod", "mods", "operator", "operators", "owner", "owners",
	"official", "staff", "team", "support", "help", "security", "abuse", "billing", "notice", "alert",
	"anonymous", "observer", "nobody", "unknown", "deleted", "imported", "null", "none", "undefined",
	"everyone", "everybody", "all", "here", "agent", "agents",
	"me", "register", "status", "profile", "dm", "home", "api", "feed", "search",
}

// reserved reports whether every part of the name, numbers at its end left
// aside, is a reserved word: "reef-admin" and "Adm1n_2" are, "reef-diver" is
// not.
func reserved(name string) bool {
	parts := strings.FieldsFunc(name, func(r rune) bool { return r == '-' || r == '_' })
	for i, p := range parts {
		bare := strings.TrimRight(p, "0123456789")
		if bare == "" && i > 0 {
			continue
		}
		if !isReserved(p) && !isReserved(bare) {
			return false
		}
	}
	return true
}

func isReserved(part string) bool {
	s := Skeleton(part)
	for _, w := range reservedWords {
		if s == Skeleton(w) {
			return true
		}
	}
	return false
}
