package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/reefwarden/reefwarden/internal/act"
)

const (
	maxDepth  = 64      // of nested objects and arrays
	maxFields = 1000    // of one object
	maxValues = 1 << 18 // of one body, so that what it becomes in memory is bounded too
	fewFields = 16      // up to which names are compared one by one
)

// Decode reads the call's body, a JSON object, into the struct that into points
// to. See [DecodeJSON].
func (c *Call) Decode(into any) error { return DecodeJSON(c.Body, into) }

// DecodeAny is Decode for a body that may be left out.
func (c *Call) DecodeAny(into any) error {
	if len(c.Body) == 0 {
		return nil
	}
	return c.Decode(into)
}

// DecodeJSON reads one JSON object (RFC 8259) into the struct that into points
// to. It is strict, so that two programs never read one body differently:
//
//   - fields that the struct does not have are refused; names match in any case;
//   - a name that stands twice in one object, in any case, is refused;
//   - anything but white space after the object is refused;
//   - invalid UTF-8, NUL and halves of surrogate pairs are refused, which the
//     databases could not keep as they came.
//
// Every failure is [act.Invalid] with a hint.
func DecodeJSON(body []byte, into any) error {
	first := bytes.TrimLeft(body, " \t\r\n")
	if len(first) == 0 || first[0] != '{' {
		return badJSON("http.json", "the body is not a JSON object").WithHint("send an object, with " + fieldsOf(into))
	}
	if err := scanJSON(body); err != nil {
		return err
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return decodeError(err, into)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return badJSON("http.json", "something stands after the JSON object").WithHint("send one object and nothing else")
	}
	return nil
}

func badJSON(rule, format string, args ...any) *act.Error {
	return act.Errorf(act.Invalid, format, args...).WithRule(rule)
}

func decodeError(err error, into any) *act.Error {
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		field := e.Field
		if field == "" {
			field = "the body"
		}
		return badJSON("http.json.type", "%s must be %s, not %s", text(field, 64), wanted(e.Type), text(e.Value, 32)).
			WithHint("send " + fieldsOf(into))
	}
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		return badJSON("http.json", "the body is not JSON: %s (at byte %d)", text(e.Error(), 80), e.Offset).WithHint("send valid JSON")
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return badJSON("http.json", "the body is not JSON: it ends too early").WithHint("send valid JSON")
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return badJSON("http.json.field", "property %s should not exist", text(strings.Trim(name, `"`), 64)).
			WithHint("send only " + fieldsOf(into))
	}
	return badJSON("http.json", "the body is not the JSON that is expected").WithHint("send " + fieldsOf(into))
}

func wanted(t reflect.Type) string {
	switch t.Kind() { //nolint:exhaustive // the kinds that wire structs have
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Slice, reflect.Array:
		return "an array"
	}
	return "a number"
}

// fieldsOf names the fields of a wire struct.
func fieldsOf(into any) string {
	t := reflect.TypeOf(into)
	if t == nil || t.Kind() != reflect.Pointer || t.Elem().Kind() != reflect.Struct {
		return "the fields of the reference"
	}
	var names []string
	for f := range t.Elem().Fields() {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && name != "-" {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return "no fields"
	}
	return strings.Join(names, ", ")
}

// open is an object or array that the scan is inside of.
type open struct {
	object bool
	first  int                 // index of its first name in names
	seen   map[string]struct{} // its names, once they are many
}

// scanJSON looks for what encoding/json would let through. It does not check
// the grammar: what is no JSON passes here and fails there.
func scanJSON(b []byte) *act.Error {
	if !utf8.Valid(b) {
		return badJSON("text.encoding", "the body is not valid UTF-8").WithHint("send UTF-8")
	}
	var frames [maxDepth]open
	var space [fewFields][]byte
	names := space[:0]
	depth, values := 0, 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '{', '[':
			if depth == maxDepth {
				return badJSON("http.json.depth", "the body is nested deeper than %d", maxDepth).WithHint("send a flatter object")
			}
			frames[depth] = open{object: b[i] == '{', first: len(names)}
			depth++
			values++
		case '}', ']':
			if depth > 0 {
				depth--
				names = names[:frames[depth].first]
			}
		case ',':
			values++
		case '"':
			end, escaped, err := scanString(b, i)
			if err != nil {
				return err
			}
			name := b[i+1 : max(i+1, end)]
			i = end
			if depth == 0 || !frames[depth-1].object || !colonNext(b, end+1) {
				continue
			}
			if names, err = addName(&frames[depth-1], names, name, escaped); err != nil {
				return err
			}
		}
		if values > maxValues {
			return badJSON("http.json.size", "the body holds more than %d values", maxValues).WithHint("send it in parts")
		}
	}
	return nil
}

// scanString returns the index of the quote that ends the string beginning at
// b[at], or the end of b.
func scanString(b []byte, at int) (end int, escaped bool, err *act.Error) {
	for i := at + 1; i < len(b); i++ {
		switch b[i] {
		case '"':
			return i, escaped, nil
		case 0:
			return 0, false, nul()
		case '\\':
			escaped = true
			i++
			if i >= len(b) || b[i] != 'u' {
				continue
			}
			r := hex4(b, i+1)
			i += 4
			switch {
			case r == 0:
				return 0, false, nul()
			case r >= 0xDC00 && r <= 0xDFFF:
				return 0, false, half()
			case r >= 0xD800 && r <= 0xDBFF:
				if i+2 >= len(b) || b[i+1] != '\\' || b[i+2] != 'u' {
					return 0, false, half()
				}
				if low := hex4(b, i+3); low < 0xDC00 || low > 0xDFFF {
					return 0, false, half()
				}
				i += 6
			}
		}
	}
	return len(b), escaped, nil
}

func nul() *act.Error {
	return badJSON("text.encoding", "a text holds a NUL").WithHint("take the NUL out")
}

func half() *act.Error {
	return badJSON("text.encoding", "a text holds half of a surrogate pair").
		WithHint("the text was cut in the middle of a character, an emoji say; cut it elsewhere")
}

// hex4 reads four hex digits; -1 when they are none.
func hex4(b []byte, at int) rune {
	if at+4 > len(b) {
		return -1
	}
	var r rune
	for _, c := range b[at : at+4] {
		switch {
		case c >= '0' && c <= '9':
			c -= '0'
		case c >= 'a' && c <= 'f':
			c -= 'a' - 10
		case c >= 'A' && c <= 'F':
			c -= 'A' - 10
		default:
			return -1
		}
		r = r<<4 | rune(c)
	}
	return r
}

func colonNext(b []byte, at int) bool {
	for ; at < len(b); at++ {
		switch b[at] {
		case ' ', '\t', '\r', '\n':
		default:
			return b[at] == ':'
		}
	}
	return false
}

// addName adds a name to its object's names, which stand at the end of names or,
// once they are many, in a set.
func addName(f *open, names [][]byte, name []byte, escaped bool) ([][]byte, *act.Error) {
	if escaped {
		var plain string
		if json.Unmarshal(bytes.Join([][]byte{{'"'}, name, {'"'}}, nil), &plain) != nil {
			return names, nil // no JSON; the decoder says so
		}
		name = []byte(plain)
	}
	twice := func() *act.Error {
		return badJSON("http.json.twice", "property %s stands twice", text(string(name), 64)).WithHint("send each property once")
	}
	if f.seen == nil && len(names)-f.first < fewFields {
		for _, other := range names[f.first:] {
			if bytes.EqualFold(other, name) {
				return names, twice()
			}
		}
		return append(names, name), nil
	}
	if f.seen == nil {
		f.seen = make(map[string]struct{})
		for _, other := range names[f.first:] {
			f.seen[folded(other)] = struct{}{}
		}
		names = names[:f.first]
	}
	key := folded(name)
	if _, ok := f.seen[key]; ok {
		return names, twice()
	}
	if len(f.seen) >= maxFields {
		return names, badJSON("http.json.size", "an object has more than %d properties", maxFields).WithHint("send fewer")
	}
	f.seen[key] = struct{}{}
	return names, nil
}

// folded maps names that bytes.EqualFold holds equal to one key: every rune
// becomes the least of those it folds to.
func folded(name []byte) string {
	return strings.Map(func(r rune) rune {
		least := r
		for next := unicode.SimpleFold(r); next != r; next = unicode.SimpleFold(next) {
			least = min(least, next)
		}
		return least
	}, string(name))
}
