package token

import (
	"bytes"
	"encoding/json"
	"strconv"
	"unicode/utf8"
)

// Bounds of a JSON text (RFC 8259) that is read here.
const (
	maxJSON    = 1<<16 - 1 // bytes; spans are kept in 16 bits
	maxMembers = 64        // of one object
	maxNesting = 8         // objects and arrays inside each other
)

type jsonKind uint8

const (
	jsonString jsonKind = iota + 1
	jsonNumber
	jsonObject
	jsonArray
	jsonWord // true, false, null
)

// member is one member of an object as spans of the text. Strings are without
// their quotes.
type member struct {
	name, nameEnd   uint16
	value, valueEnd uint16
	kind            jsonKind
	bent            bool // the name has escapes
}

// object is a JSON object read in place. Its members' values have been checked
// for form, at every depth, but not decoded.
type object struct {
	text    []byte
	members [maxMembers]member
	count   int
}

// read takes text, which must be one object and nothing else. It refuses what
// two readers might understand differently: members of one name, also below;
// invalid UTF-8, lone surrogates and NUL; what is beyond the bounds.
func (o *object) read(text []byte) bool {
	if len(text) > maxJSON || !utf8.Valid(text) {
		return false
	}
	o.text = text
	i, ok := o.object(skipSpace(text, 0), 0)
	return ok && skipSpace(text, i) == len(text)
}

// object reads the object that begins at i and returns where it ends.
func (o *object) object(i, depth int) (end int, ok bool) {
	text := o.text
	if depth >= maxNesting || i >= len(text) || text[i] != '{' {
		return 0, false
	}
	o.count = 0
	if i = skipSpace(text, i+1); i < len(text) && text[i] == '}' {
		return i + 1, true
	}
	for {
		var m member
		begin := i
		if i, m.bent, ok = scanString(text, i); !ok {
			return 0, false
		}
		m.name, m.nameEnd = uint16(begin+1), uint16(i-1)
		if i = skipSpace(text, i); i >= len(text) || text[i] != ':' {
			return 0, false
		}
		begin = skipSpace(text, i+1)
		if i, m.kind, ok = o.skip(begin, depth); !ok {
			return 0, false
		}
		m.value, m.valueEnd = uint16(begin), uint16(i)
		if m.kind == jsonString {
			m.value, m.valueEnd = uint16(begin+1), uint16(i-1)
		}
		if o.count == maxMembers || o.twice(m) {
			return 0, false
		}
		o.members[o.count] = m
		o.count++
		if i = skipSpace(text, i); i >= len(text) {
			return 0, false
		}
		switch text[i] {
		case '}':
			return i + 1, true
		case ',':
			i = skipSpace(text, i+1)
		default:
			return 0, false
		}
	}
}

// twice reports whether a member of m's name is there already.
func (o *object) twice(m member) bool {
	for j := range o.count {
		other := &o.members[j]
		if m.bent || other.bent {
			if o.nameOf(m) == o.nameOf(*other) {
				return true
			}
		} else if string(o.text[m.name:m.nameEnd]) == string(o.text[other.name:other.nameEnd]) {
			return true
		}
	}
	return false
}

func (o *object) nameOf(m member) string {
	return unescape(o.text, int(m.name), int(m.nameEnd), m.bent)
}

// skip checks the value that begins at i and returns its end and kind.
func (o *object) skip(i, depth int) (end int, kind jsonKind, ok bool) {
	text := o.text
	if i >= len(text) {
		return 0, 0, false
	}
	switch c := text[i]; {
	case c == '"':
		end, _, ok = scanString(text, i)
		return end, jsonString, ok
	case c == '{':
		inner := object{text: text}
		end, ok = inner.object(i, depth+1)
		return end, jsonObject, ok
	case c == '[':
		end, ok = o.array(i, depth+1)
		return end, jsonArray, ok
	case c == '-' || c >= '0' && c <= '9':
		end, ok = scanNumber(text, i)
		return end, jsonNumber, ok
	}
	for _, word := range [...]string{"true", "false", "null"} {
		if len(text)-i >= len(word) && string(text[i:i+len(word)]) == word {
			return i + len(word), jsonWord, true
		}
	}
	return 0, 0, false
}

func (o *object) array(i, depth int) (end int, ok bool) {
	text := o.text
	if depth >= maxNesting {
		return 0, false
	}
	if i = skipSpace(text, i+1); i < len(text) && text[i] == ']' {
		return i + 1, true
	}
	for {
		if i, _, ok = o.skip(i, depth); !ok {
			return 0, false
		}
		if i = skipSpace(text, i); i >= len(text) {
			return 0, false
		}
		switch text[i] {
		case ']':
			return i + 1, true
		case ',':
			i = skipSpace(text, i+1)
		default:
			return 0, false
		}
	}
}

func skipSpace(text []byte, i int) int {
	for i < len(text) && (text[i] == ' ' || text[i] == '\t' || text[i] == '\n' || text[i] == '\r') {
		i++
	}
	return i
}

// scanString checks the string whose opening quote is at i. The text is valid
// UTF-8 already.
func scanString(text []byte, i int) (end int, bent, ok bool) {
	if i >= len(text) || text[i] != '"' {
		return 0, false, false
	}
	for i++; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			return i + 1, bent, true
		case c < ' ':
			return 0, false, false
		case c == '\\':
			bent = true
			n, ok := scanEscape(text[i:])
			if !ok {
				return 0, false, false
			}
			i += n - 1
		}
	}
	return 0, false, false
}

// scanEscape checks the escape that rest begins with and returns its length.
func scanEscape(rest []byte) (n int, ok bool) {
	if len(rest) < 2 {
		return 0, false
	}
	switch rest[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2, true
	case 'u':
	default:
		return 0, false
	}
	first, ok := hex4(rest)
	switch {
	case !ok || first == 0 || first >= 0xDC00 && first <= 0xDFFF:
		return 0, false
	case first < 0xD800 || first > 0xDBFF:
		return 6, true
	}
	second, ok := hex4(rest[6:])
	return 12, ok && second >= 0xDC00 && second <= 0xDFFF
}

// hex4 returns the number in an escape \uXXXX at the beginning of rest.
func hex4(rest []byte) (n uint64, ok bool) {
	if len(rest) < 6 || rest[0] != '\\' || rest[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(rest[2:6]), 16, 16)
	return n, err == nil
}

func scanNumber(text []byte, i int) (end int, ok bool) {
	digits := func() bool {
		begin := i
		for i < len(text) && text[i] >= '0' && text[i] <= '9' {
			i++
		}
		return i > begin
	}
	if text[i] == '-' {
		i++
	}
	if begin := i; !digits() || text[begin] == '0' && i > begin+1 {
		return 0, false
	}
	if i < len(text) && text[i] == '.' {
		if i++; !digits() {
			return 0, false
		}
	}
	if i < len(text) && (text[i] == 'e' || text[i] == 'E') {
		if i++; i < len(text) && (text[i] == '+' || text[i] == '-') {
			i++
		}
		if !digits() {
			return 0, false
		}
	}
	return i, true
}

// unescape returns the string between begin and end, which has been scanned.
func unescape(text []byte, begin, end int, bent bool) string {
	if !bent {
		return string(text[begin:end])
	}
	var s string
	if err := json.Unmarshal(text[begin-1:end+1], &s); err != nil {
		return "" // cannot be: scanString took it
	}
	return s
}

// find returns the member of a name.
func (o *object) find(name string) *member {
	for j := range o.count {
		m := &o.members[j]
		if !m.bent && string(o.text[m.name:m.nameEnd]) == name || m.bent && o.nameOf(*m) == name {
			return m
		}
	}
	return nil
}

func (o *object) has(name string) bool { return o.find(name) != nil }

// string returns a member that is a string of 1 to most bytes.
func (o *object) string(name string, most int) (s string, ok bool) {
	m := o.find(name)
	if m == nil || m.kind != jsonString {
		return "", false
	}
	bent := bytes.IndexByte(o.text[m.value:m.valueEnd], '\\') >= 0
	s = unescape(o.text, int(m.value), int(m.valueEnd), bent)
	return s, s != "" && len(s) <= most
}

// is reports whether a member is the given string.
func (o *object) is(name, want string) bool {
	m := o.find(name)
	if m == nil || m.kind != jsonString {
		return false
	}
	raw := o.text[m.value:m.valueEnd]
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw) == want
	}
	return unescape(o.text, int(m.value), int(m.valueEnd), true) == want
}

const lastDate = 253402300799 // 9999-12-31T23:59:59Z

// whole returns a member that is a whole number from 0 to most.
func (o *object) whole(name string, most int64) (n int64, ok bool) {
	m := o.find(name)
	if m == nil || m.kind != jsonNumber || m.valueEnd-m.value > 18 {
		return 0, false
	}
	for _, c := range o.text[m.value:m.valueEnd] {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, n <= most
}

// date returns a member that is a NumericDate (RFC 7519 §2) in seconds. A
// fraction, which some clients send, is cut off.
func (o *object) date(name string) (seconds int64, ok bool) {
	m := o.find(name)
	if m == nil || m.kind != jsonNumber || m.valueEnd-m.value > 32 {
		return 0, false
	}
	for i, c := range o.text[m.value:m.valueEnd] {
		if c == '.' && i > 0 {
			break
		}
		if c < '0' || c > '9' || seconds > lastDate {
			return 0, false
		}
		seconds = seconds*10 + int64(c-'0')
	}
	return seconds, seconds <= lastDate && !bytes.ContainsAny(o.text[m.value:m.valueEnd], "eE")
}

// inner reads a member that is an object.
func (o *object) inner(name string, into *object) bool {
	m := o.find(name)
	if m == nil || m.kind != jsonObject {
		return false
	}
	into.text = o.text
	_, ok := into.object(int(m.value), 0)
	return ok
}

// strings returns a member that is a string or an array of 1 to count strings.
func (o *object) strings(name string, most, count int) (all []string, list, ok bool) {
	if s, ok := o.string(name, most); ok {
		return []string{s}, false, true
	}
	m := o.find(name)
	if m == nil || m.kind != jsonArray {
		return nil, false, false
	}
	for i := skipSpace(o.text, int(m.value)+1); o.text[i] != ']'; i = skipSpace(o.text, i) {
		if o.text[i] == ',' {
			i = skipSpace(o.text, i+1)
		}
		end, bent, isString := scanString(o.text, i)
		if !isString || len(all) == count {
			return nil, true, false
		}
		s := unescape(o.text, i+1, end-1, bent)
		if s == "" || len(s) > most {
			return nil, true, false
		}
		all, i = append(all, s), end
	}
	return all, true, len(all) > 0
}

// appendString appends s as a JSON string.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			quoted, err := json.Marshal(s)
			if err != nil {
				return append(b, `""`...) // cannot be: a string has a form
			}
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
