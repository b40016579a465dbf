package manifest

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// What is exported is written by hand, so that equal things are equal bytes, and every text
// comes back as it was: a text of several lines as a block where a block says it truly, and
// any other that could be taken for something else in quotes.

// write adds an object to a file of YAML.
func write(b *strings.Builder, s State) {
	fmt.Fprintf(b, "---\napiVersion: %s\nkind: %s\nmetadata:\n  name: %s\nspec:", APIVersion, s.Kind, scalar(s.Name))
	writeValue(b, s.Spec, "  ")
}

func writeValue(b *strings.Builder, v any, indent string) {
	switch v := v.(type) {
	case map[string]any:
		if len(v) == 0 {
			b.WriteString(" {}\n")
			return
		}
		b.WriteString("\n")
		for _, key := range slices.Sorted(maps.Keys(v)) {
			b.WriteString(indent + scalar(key) + ":")
			writeValue(b, v[key], indent+"  ")
		}
	case []any:
		if len(v) == 0 {
			b.WriteString(" []\n")
			return
		}
		b.WriteString("\n")
		for _, one := range v {
			b.WriteString(indent + "-")
			writeValue(b, one, indent+"  ")
		}
	case string:
		if block(v) {
			b.WriteString(" |\n")
			for line := range strings.Lines(v) {
				if line != "\n" {
					b.WriteString(indent)
				}
				b.WriteString(line)
			}
			return
		}
		b.WriteString(" " + scalar(v) + "\n")
	default:
		fmt.Fprintf(b, " %v\n", v)
	}
}

// block reports whether a text comes back as it was from a block: it ends with one line
// break, and neither begins nor ends a line with what a reader may take away.
func block(text string) bool {
	if !strings.HasSuffix(text, "\n") || strings.HasSuffix(text, "\n\n") || !utf8.ValidString(text) {
		return false
	}
	first := true
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if first && (line == "" || line[0] == ' ' || line[0] == '#') || strings.TrimRight(line, " ") != line ||
			strings.ContainsFunc(line, odd) || strings.HasPrefix(line, "---") || strings.HasPrefix(line, "...") {
			return false
		}
		first = false
	}
	return true
}

// odd are the characters that are written in quotes only.
func odd(r rune) bool {
	return r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x2028 || r == 0x2029 || r == 0xfeff || r == utf8.RuneError
}

// bare are the texts that nobody takes for anything else.
var bare = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9_./-]*$`)

// taken are the bare words that mean something else to some reader of YAML.
var taken = []string{"true", "false", "yes", "no", "on", "off", "null", "y", "n", "nan", "inf"}

// scalar is a text on a line.
func scalar(text string) string {
	if bare.MatchString(text) && !slices.Contains(taken, strings.ToLower(text)) {
		return text
	}
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case odd(r):
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}
