package policy

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/cedar-policy/cedar-go/types"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
)

// Facts are spelled as policies spell them: author_standing: "active". Everything that
// writes facts down (decisions that are kept, tests, differences) does it here, by the
// fields of the structs themselves, so that a new attribute is spelled without a line of
// code, and is tested to be (TestSpelling).

// spell writes down the fields of a struct of facts that are not zero. Ids are written
// by name.
func spell(facts any, name func(act.ID) any) map[string]any {
	out := make(map[string]any)
	v := reflect.ValueOf(facts)
	for f, value := range v.Fields() {
		if !value.IsZero() {
			out[snake(f.Name)] = spellOne(value, name)
		}
	}
	return out
}

func spellOne(v reflect.Value, name func(act.ID) any) any {
	if id, ok := v.Interface().(act.ID); ok {
		return name(id)
	}
	switch v.Kind() {
	case reflect.Uint8:
		if word := wordOf(v); word != "" {
			return word
		}
		return v.Uint()
	case reflect.Bool:
		return v.Bool()
	case reflect.String:
		return v.String()
	case reflect.Uint, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return v.Uint()
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return v.Int()
	default:
		panic("facts with a " + v.Kind().String()) // found by TestSpelling
	}
}

// wordOf is the word of a value of an enumeration, "" if there is none.
func wordOf(v reflect.Value) string {
	var known []types.Value
	switch v.Interface().(type) {
	case gate.Visibility:
		known = visibleWords
	case fmt.Stringer:
		if s := fmt.Sprint(v.Interface()); s != "unknown" {
			return s
		}
		return ""
	}
	if n := v.Uint(); n < uint64(len(known)) {
		s, _ := known[n].(types.String)
		return string(s)
	}
	return ""
}

// unspell reads into a struct of facts what spell has written, or somebody by hand. A
// name or a word that is not known is an error.
func unspell(into any, words map[string]any, id func(any) (act.ID, bool)) error {
	v := reflect.ValueOf(into).Elem()
	fields := make(map[string]reflect.Value)
	for f, value := range v.Fields() {
		fields[snake(f.Name)] = value
	}
	for name, word := range words {
		field, ok := fields[name]
		if !ok {
			return fmt.Errorf("there is no attribute %.50q", name)
		}
		if !unspellOne(field, word, id) {
			return fmt.Errorf("%s cannot be %s", name, shownWord(word))
		}
	}
	return nil
}

func shownWord(word any) string {
	if s, ok := word.(string); ok {
		return fmt.Sprintf("%.50q", s)
	}
	return fmt.Sprintf("%.50v", word)
}

func unspellOne(field reflect.Value, word any, id func(any) (act.ID, bool)) bool {
	if _, ok := field.Interface().(act.ID); ok {
		n, known := id(word)
		if known {
			field.SetInt(int64(n))
		}
		return known
	}
	switch field.Kind() {
	case reflect.Uint8:
		s, ok := word.(string)
		if !ok {
			return unspellNumber(field, word)
		}
		for n := range uint64(1 << 8) {
			field.SetUint(n)
			if w := wordOf(field); w != "" && strings.EqualFold(w, s) {
				return true
			}
		}
		return false
	case reflect.Bool:
		b, ok := word.(bool)
		field.SetBool(b)
		return ok
	case reflect.String:
		s, ok := word.(string)
		field.SetString(s)
		return ok
	}
	return unspellNumber(field, word)
}

// unspellNumber takes a whole number, as JSON, YAML or Go have it.
func unspellNumber(field reflect.Value, word any) bool {
	n, err := strconv.ParseInt(fmt.Sprint(word), 10, 64)
	switch {
	case err != nil:
		return false
	case field.CanInt() && !field.OverflowInt(n):
		field.SetInt(n)
		return true
	case field.CanUint() && n >= 0 && !field.OverflowUint(uint64(n)):
		field.SetUint(uint64(n))
		return true
	}
	return false
}

// snake is the name of a field as policies have it.
func snake(name string) string {
	var b strings.Builder
	for i, r := range name {
		if r >= 'A' && r <= 'Z' {
			if i > 0 {
				b.WriteByte('_')
			}
			r += 'a' - 'A'
		}
		b.WriteRune(r)
	}
	return b.String()
}

// named ids: as the network shows them, and none for nobody.
func (e *Engine) nameOf(id act.ID) any {
	switch {
	case id == 0:
		return string(noneID)
	case id == unnamed || e.codec == nil:
		return string(otherID)
	}
	return e.codec.String(id)
}

// idOf reads what nameOf writes. "other" is an id that no policy names.
func (e *Engine) idOf(word any) (act.ID, bool) {
	s, ok := word.(string)
	switch {
	case !ok:
		return 0, false
	case s == string(noneID) || s == "":
		return 0, true
	case s == string(otherID):
		return unnamed, true
	case e.codec == nil:
		return 0, false
	}
	id, err := e.codec.Parse(s)
	return id, err == nil
}

// Ids in rows are numbers.
func rowName(id act.ID) any { return int64(id) }

func rowID(word any) (act.ID, bool) {
	n, err := strconv.ParseInt(fmt.Sprint(word), 10, 64)
	return act.ID(n), err == nil
}
