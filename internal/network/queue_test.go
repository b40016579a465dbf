package network

import (
	"strings"
	"testing"
)

// The name of a queue stands in addresses as it is.
func FuzzQueueName(f *testing.F) {
	for _, name := range []string{"new-posts", "", "a", "A", "a b", "a/b", "ä", "..", "a\x00", strings.Repeat("q", queueNameMax), strings.Repeat("q", queueNameMax+1), "-", "_0"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		plain := name != "" && len(name) <= 64
		for i := range len(name) {
			c := name[i]
			plain = plain && (c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-' || c == '_')
		}
		if got := queueNamed(name); got != plain {
			t.Fatalf("%q: %v, want %v", name, got, plain)
		}
	})
}
