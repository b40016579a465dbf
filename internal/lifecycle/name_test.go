package lifecycle

import (
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/reefwarden/reefwarden/internal/act"
)

const nameLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-"

// looksLike lists what a reader may take for what; each pair goes both ways.
var looksLike = [][2]string{
	{"o", "0"}, {"l", "1"}, {"l", "i"}, {"l", "I"}, {"1", "I"}, {"m", "rn"}, {"w", "vv"}, {"-", "_"}, {"O", "0"}, {"L", "1"},
}

// disguise makes a name that a reader may take for the given one.
func disguise(name string, pick func(n int) int) string {
	out := name
	for range 1 + pick(6) {
		switch pick(3) {
		case 0: // another case
			i := pick(len(out))
			c := out[i : i+1]
			if c == strings.ToUpper(c) {
				c = strings.ToLower(c)
			} else {
				c = strings.ToUpper(c)
			}
			out = out[:i] + c + out[i+1:]
		default:
			p := looksLike[pick(len(looksLike))]
			from, to := p[0], p[1]
			if pick(2) == 0 {
				from, to = to, from
			}
			if i := strings.Index(out, from); i >= 0 {
				out = out[:i] + to + out[i+len(from):]
			}
		}
	}
	return out
}

func TestSkeleton(t *testing.T) {
	for name, want := range map[string]string{
		"Nemo": "nerno", "nem0": "nerno", "NERNO": "nerno", "I1il": "llll", "wave": "vvave", "vvave": "vvave",
		"__sea__w-orm--": "sea-vv-orrn", "--": "", "A_": "a", "_A": "a", "5ea": "5ea",
	} {
		if got := Skeleton(name); got != want {
			t.Errorf("Skeleton(%q) = %q, want %q", name, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringOfN(rapid.RuneFrom([]rune(nameLetters)), MinName, MaxName, -1).Draw(t, "name")
		s := Skeleton(name)
		if again := Skeleton(s); again != s {
			t.Fatalf("the skeleton of %q is %q, and of that %q", name, s, again)
		}
		twin := disguise(name, func(n int) int { return rapid.IntRange(0, n-1).Draw(t, "pick") })
		if got := Skeleton(twin); got != s {
			t.Fatalf("%q is %q and %q, which looks like it, is %q", name, s, twin, got)
		}
		// Names that differ in a letter that looks like no other stay apart.
		i := rapid.IntRange(0, len(name)-1).Draw(t, "at")
		other := name[:i] + "z" + name[i+1:]
		if low := strings.ToLower(name[i : i+1]); low != "z" && Skeleton(other) == s {
			t.Fatalf("%q and %q are taken for one name", name, other)
		}
	})
}

func TestCheckName(t *testing.T) {
	for _, name := range []string{"ab", "Nemo_2", "a-b", "reef-diver", "x1", strings.Repeat("a", 32), "42", "administrate", "the-admin", "claude"} {
		if err := CheckName(name); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
	for _, name := range []string{
		"", "a", strings.Repeat("a", 33), "a b", "näh", "a.b", "a/b", "a\x00b", "\u200bab", "ab\u200b", "аdmin" /* Cyrillic */, "--", "__", "a\n",
		"admin", "ADMIN", "Adm1n", "adrnin", "admin2", "reef-admin", "reef_Adm1n_07", "R00T", "SYSTEM_1", "me", "Support-Team", "moltbook",
	} {
		if err := CheckName(name); act.CodeOf(err) != act.Invalid || act.AsError(err).Hint == "" {
			t.Errorf("%q: %v, want invalid with a hint", name, err)
		}
	}
}

// T10: 200 names that look like reef-admin or like an agent that is there are
// all refused, the first by rule and the second by skeleton.
func TestT10_Confusables(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for _, name := range []string{"reef-admin", "Corallium_01"} {
		foreign := map[string]string{"e": "е", "a": "а", "o": "ο", "i": "і"} // Cyrillic and Greek
		for range 200 {
			twin := disguise(name, random.IntN)
			switch random.IntN(4) {
			case 0:
				twin = twin[:2] + "\u200d" + twin[2:] // zero width
			case 1:
				for latin, other := range foreign {
					twin = strings.Replace(twin, latin, other, 1)
				}
			}
			if err := CheckName(twin); err == nil && Skeleton(twin) != Skeleton(name) || err == nil && name == "reef-admin" {
				t.Errorf("%q passes beside %q", twin, name)
			}
		}
	}
}

func FuzzCheckName(f *testing.F) {
	for _, s := range []string{"nemo", "reef-admin", "", "\xff\xfe", "a\u200db", strings.Repeat("-", 40)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		err := CheckName(name)
		s := Skeleton(name)
		if len(s) > 2*len(name) {
			t.Errorf("the skeleton of %q is longer than twice: %q", name, s)
		}
		if err == nil && (len(name) < MinName || len(name) > MaxName || s == "" || strings.Trim(name, nameLetters) != "") {
			t.Errorf("%q passes", name)
		}
	})
}
