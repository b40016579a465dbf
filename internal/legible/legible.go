package legible

import (
	"fmt"
	"html/template"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/text/unicode/bidi"
)

// hidden reports whether a character is one that cannot be seen, or one that moves
// what stands around it: controls, formats, fillers, tags, selectors and whatever
// no font has. Spaces are seen, by the gap they make.
func hidden(r rune) bool {
	switch {
	case r == '\n' || r == '\t':
		return false
	case r == 0x034F, r == 0x115F, r == 0x1160, r == 0x17B4, r == 0x17B5, r == 0x2800, r == 0x3164, r == 0xFFA0,
		r == 0xFFFC, r == 0x1D159, r >= 0x180B && r <= 0x180F, selector(r):
		return true // they count as marks, letters or symbols, and show nothing
	case r == 0x2028 || r == 0x2029:
		return true
	}
	return !unicode.IsPrint(r) && !unicode.Is(unicode.Zs, r)
}

func selector(r rune) bool { return r >= 0xFE00 && r <= 0xFE0F || r >= 0xE0100 && r <= 0xE01EF }

const joiner = 0x200D

// emoji reports whether a hidden character between two others is part of a picture
// that people know, and so is seen after all: one variation selector behind a
// symbol, or a joiner between two.
func emoji(before, r, after rune) bool {
	symbol := unicode.Is(unicode.So, before) || before >= 0x1F3FB && before <= 0x1F3FF
	switch r {
	case 0xFE0E, 0xFE0F:
		return symbol || after == 0x20E3 && (before >= '0' && before <= '9' || before == '#' || before == '*')
	case joiner:
		return (symbol || before == 0xFE0F) && unicode.Is(unicode.So, after)
	}
	return false
}

const (
	mostMarks = 4  // combining marks on one character; more climb over other lines
	mostSigns = 16 // labels in a row, beyond which they are counted
)

// piece is a part of a text: characters as they are, or the label of some that
// could not be seen.
type piece struct {
	text  string
	label string
}

// pieces takes a text apart. Characters alike that follow each other share a label.
func pieces(s string) (list []piece) {
	start, labels, marks := 0, 0, 0
	var before rune
	flush := func(end int) {
		if end > start {
			list, labels = append(list, piece{text: s[start:end]}), 0
		}
	}
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		end := i + size
		broken := r == utf8.RuneError && size == 1
		combining := !broken && unicode.In(r, unicode.Mn, unicode.Me)
		if combining {
			marks++
		} else {
			marks = 0
		}
		after, _ := utf8.DecodeRuneInString(s[end:])
		unseen := broken || hidden(r) && !emoji(before, r, after)
		switch {
		case r == '\r' && after == '\n': // the end of a line, written in two characters
			flush(i)
			start = end
		case unseen || combining && (marks > mostMarks || before == 0 || before == '\n'):
			flush(i)
			n := 1
			for strings.HasPrefix(s[end:], s[i:i+size]) {
				if _, width := utf8.DecodeRuneInString(s[end:]); width != size {
					break // a broken byte's like, that begins a whole character
				}
				end, n = end+size, n+1
			}
			label := fmt.Sprintf("U+%04X", r)
			if broken {
				label = fmt.Sprintf("byte %02X", s[i])
			}
			if n > 1 {
				label += fmt.Sprintf("×%d", n)
			}
			if labels++; labels == mostSigns {
				label = "…"
			}
			if labels <= mostSigns {
				list = append(list, piece{label: label})
			}
			start, r = end, 0 // nothing combines with a label
		}
		before, i = r, end
	}
	flush(len(s))
	return list
}

// Line is a text on one line without anything unseen, for places that take no
// markup. Labels stand in brackets.
func Line(s string) string { return strings.Join(strings.Fields(Lines(s)), " ") }

// Lines is Line that keeps the lines of a text.
func Lines(s string) string {
	var b strings.Builder
	for _, p := range pieces(s) {
		if p.label != "" {
			b.WriteString("⟦" + p.label + "⟧")
		} else {
			b.WriteString(p.text)
		}
	}
	return b.String()
}

// side is the direction a character insists on: 'l', 'r' or 0.
func side(r rune) byte {
	if r < 0x80 {
		if r >= '0' && r <= '9' || r|0x20 >= 'a' && r|0x20 <= 'z' {
			return 'l'
		}
		return 0
	}
	p, _ := bidi.LookupRune(r)
	switch p.Class() { //nolint:exhaustive // the others have no side
	case bidi.L, bidi.EN:
		return 'l'
	case bidi.R, bidi.AL, bidi.AN:
		return 'r'
	}
	return 0
}

// Direction is the one in which a text is read, "ltr" or "rtl": that of its first
// letter.
func Direction(s string) string {
	for _, r := range s {
		switch side(r) {
		case 'l':
			return "ltr"
		case 'r':
			return "rtl"
		}
	}
	return "ltr"
}

// AppendHTML appends a text to HTML that is read in direction dir: escaped, labels in place of what is unseen,
// and each stretch that runs against the direction of the whole set apart, so that
// stretches stand in the order in which they were written.
func AppendHTML(b []byte, s, dir string) []byte {
	for _, p := range pieces(s) {
		if p.label != "" {
			b = append(b, `<span class="cp">`...)
			b = append(b, p.label...)
			b = append(b, `</span>`...)
			continue
		}
		b = appendOrdered(b, p.text, dir)
	}
	return b
}

func appendOrdered(b []byte, s, dir string) []byte {
	against, other := byte('r'), "rtl"
	if dir == "rtl" {
		against, other = 'l', "ltr"
	}
	from, to, done := -1, 0, 0 // the stretch that runs against dir, and what is written
	flush := func() {
		if from < 0 {
			return
		}
		b = appendEscaped(b, s[done:from])
		b = append(append(append(b, `<bdi dir="`...), other...), `">`...)
		b = append(appendEscaped(b, s[from:to]), `</bdi>`...)
		from, done = -1, to
	}
	for i, r := range s {
		switch at := side(r); {
		case at == against:
			if from < 0 {
				from = i
			}
			to = i + utf8.RuneLen(r)
		case at != 0 || r == '\n':
			flush()
		case from >= 0 && to == i && unicode.In(r, unicode.Mn, unicode.Me): // it belongs to the letter before
			to = i + utf8.RuneLen(r)
		}
	}
	flush()
	return appendEscaped(b, s[done:])
}

func appendEscaped(b []byte, s string) []byte { return append(b, template.HTMLEscapeString(s)...) }

// HTML is a short text for a page, a title or a name: on one line, in a direction of
// its own.
func HTML(s string) template.HTML {
	dir := Direction(s)
	b := append(append(append([]byte(nil), `<bdi dir="`...), dir...), `">`...)
	line := strings.Join(strings.FieldsFunc(strings.ReplaceAll(s, "\r\n", "\n"), breaks), " ")
	return template.HTML(append(AppendHTML(b, line, dir), `</bdi>`...)) //nolint:gosec // all of it was escaped
}

func breaks(r rune) bool { return r == ' ' || r == '\n' || r == '\t' }

// Strange lists characters of a name that could stand in for those they look like:
// all beyond ASCII, which the names given here do not have.
func Strange(name string) (list []string) {
	for _, r := range name {
		if point := fmt.Sprintf("U+%04X", r); r > '~' && !hidden(r) && len(list) < 4 {
			if len(list) == 0 || list[len(list)-1] != point {
				list = append(list, point)
			}
		}
	}
	return list
}

// EscapeJSON writes unseen characters of JSON as \u escapes (RFC 8259 §7), so that it
// says the same and does nothing to a terminal. They stand in strings only:
// elsewhere JSON has none.
func EscapeJSON(raw []byte) []byte {
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); {
		r, size := utf8.DecodeRune(raw[i:])
		switch {
		case r < 0x7F || !hidden(r):
			out = append(out, raw[i:i+size]...)
		case r > 0xFFFF:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		i += size
	}
	return out
}
