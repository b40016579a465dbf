package audit

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Leaf is a parsed leaf. Ids are outside ids; a field without a value is zero.
type Leaf struct {
	Act       string
	Approval  string
	At        int64 // Unix microseconds
	Chain     []string
	Code      string
	Context   LeafContext
	Count     int64 // 0 stands for one act
	In        string
	Labels    []string
	Out       LeafRef
	Outcome   string
	Policy    LeafPolicy
	Principal LeafPrincipal
	Reason    string
	Rule      string
	Target    LeafRef
	Trace     string
}

// LeafContext is what a caller has stated to have gone into its act.
type LeafContext struct {
	N      int64
	SHA256 string
}

// LeafRef is a thing as a leaf names it.
type LeafRef struct {
	ID, Kind string
	Version  int64
}

// LeafPolicy is the decision under which an act went ahead.
type LeafPolicy struct {
	Bundle      int64
	ID          string
	Obligations []LeafObligation
	Place       string
}

// LeafObligation is something the policy demanded beside.
type LeafObligation struct{ Arg, Name string }

// LeafPrincipal is who acted. Source is set for observers only.
type LeafPrincipal struct {
	Binding, Credential string
	Epoch               int64
	Grant               string
	ID, Kind, Name      string
	Source              string
}

// Parse reads a leaf of version 1. It accepts exactly the canonical form, so
// that for every body it takes there is no other body with the same meaning.
func Parse(body []byte) (Leaf, error) {
	p := parser{rest: string(body), size: len(body)} // what is read of it is a part of this one text
	var l Leaf
	p.want(`{"act":`)
	l.Act = p.text()
	l.Approval = p.optional(`,"approval":`)
	p.want(`,"at":`)
	l.At = p.number(0)
	if p.has(`,"chain":[`) {
		l.Chain = p.words()
	}
	if p.has(`,"code":`) {
		l.Code = p.text()
	}
	if p.has(`,"context":{"n":`) {
		l.Context.N = p.number(1)
		p.want(`,"sha256":`)
		l.Context.SHA256 = p.text()
		p.want(`}`)
	}
	if p.has(`,"count":`) {
		l.Count = p.number(2)
	}
	if p.has(`,"in":`) {
		l.In = p.text()
	}
	if p.has(`,"labels":[`) {
		l.Labels = p.words()
	}
	l.Out = p.ref(`,"out":{"id":`)
	p.want(`,"outcome":`)
	l.Outcome = p.text()
	if p.has(`,"policy":{`) {
		l.Policy = p.policy()
	}
	p.want(`,"principal":{`)
	l.Principal = p.principal()
	l.Reason = p.optional(`,"reason":`)
	l.Rule = p.optional(`,"rule":`)
	l.Target = p.ref(`,"target":{"id":`)
	l.Trace = p.optional(`,"trace":`)
	p.want(`,"v":1}`)
	if p.err == nil && len(p.rest) > 0 {
		p.fail("text after the end")
	}
	if p.err != nil {
		return Leaf{}, p.err
	}
	return l, nil
}

// parser reads canonical JSON from left to right. After its first error it
// reads nothing more and has everything absent.
type parser struct {
	rest string
	size int
	err  error
}

func (p *parser) fail(what string) {
	if p.err == nil {
		p.err = fmt.Errorf("not a leaf of version %d: at byte %d: %s", Version, p.size-len(p.rest), what)
	}
}

func (p *parser) has(s string) bool {
	if p.err != nil || !strings.HasPrefix(p.rest, s) {
		return false
	}
	p.rest = p.rest[len(s):]
	return true
}

func (p *parser) want(s string) {
	if !p.has(s) {
		p.fail("want " + s)
	}
}

// number reads an integer from least to maxExact without superfluous digits.
func (p *parser) number(least int64) int64 {
	n := 0
	for n < len(p.rest) && p.rest[n] >= '0' && p.rest[n] <= '9' {
		n++
	}
	v, err := strconv.ParseInt(p.rest[:n], 10, 64)
	if err != nil || p.rest[0] == '0' && n > 1 || v < least || v > maxExact {
		p.fail("want a whole number")
		return 0
	}
	p.rest = p.rest[n:]
	return v
}

// words reads the rest of a list of texts, of one at least.
func (p *parser) words() (list []string) {
	for more := true; more; more = p.has(`,`) {
		list = append(list, p.text())
	}
	p.want(`]`)
	return list
}

func (p *parser) optional(member string) string {
	if !p.has(member) {
		return ""
	}
	s := p.text()
	if s == "" {
		p.fail("an empty text should be absent")
	}
	return s
}

func (p *parser) ref(member string) (r LeafRef) {
	if !p.has(member) {
		return r
	}
	r.ID = p.text()
	p.want(`,"kind":`)
	r.Kind = p.text()
	if p.has(`,"version":`) {
		r.Version = p.number(1)
	}
	p.want(`}`)
	return r
}

func (p *parser) policy() (d LeafPolicy) {
	if p.has(`"bundle":`) {
		d.Bundle = p.number(1)
		p.want(`,`)
	}
	p.want(`"id":`)
	if d.ID = p.text(); d.ID == "" {
		p.fail("a policy without an id should be absent")
	}
	if p.has(`,"obligations":[`) {
		for more := true; more; more = p.has(`,`) {
			var o LeafObligation
			p.want(`{`)
			if o.Arg = p.optional(`"arg":`); o.Arg != "" {
				p.want(`,`)
			}
			p.want(`"name":`)
			o.Name = p.text()
			p.want(`}`)
			d.Obligations = append(d.Obligations, o)
		}
		p.want(`]`)
	}
	d.Place = p.optional(`,"place":`)
	p.want(`}`)
	return d
}

func (p *parser) principal() (w LeafPrincipal) {
	if w.Binding = p.optional(`"binding":`); w.Binding != "" {
		p.want(`,`)
	}
	if w.Credential = p.optional(`"credential":`); w.Credential != "" {
		p.want(`,`)
	}
	if p.has(`"epoch":`) {
		w.Epoch = p.number(1)
		p.want(`,`)
	}
	if w.Grant = p.optional(`"grant":`); w.Grant != "" {
		p.want(`,`)
	}
	if w.ID = p.optional(`"id":`); w.ID != "" {
		p.want(`,`)
	}
	p.want(`"kind":`)
	w.Kind = p.text()
	w.Name = p.optional(`,"name":`)
	w.Source = p.optional(`,"source":`)
	p.want(`}`)
	stranger := LeafPrincipal{Kind: "observer", Source: w.Source}
	if (w.Kind == "observer") != (w == stranger) || w.Kind != "observer" && w.Source != "" {
		p.fail("an observer has a kind and a source, and nobody else has a source")
	}
	return w
}

// text reads a string in the one form that appendString gives it.
func (p *parser) text() string {
	if !p.has(`"`) {
		p.fail("want a string")
		return ""
	}
	end := strings.IndexByte(p.rest, '"')
	if end < 0 {
		p.fail("a string without an end")
		return ""
	}
	if strings.IndexByte(p.rest[:end], '\\') < 0 { // the usual case: nothing is escaped
		s := p.rest[:end]
		if !plainText(s) {
			p.fail("a character that must be escaped or is not UTF-8")
			return ""
		}
		p.rest = p.rest[end+1:]
		return s
	}
	var out []byte
	for {
		end := strings.IndexAny(p.rest, `"\`)
		if end < 0 {
			p.fail("a string without an end")
			return ""
		}
		if !plainText(p.rest[:end]) {
			p.fail("a character that must be escaped or is not UTF-8")
			return ""
		}
		out = append(out, p.rest[:end]...)
		quote := p.rest[end] == '"'
		p.rest = p.rest[end+1:]
		if quote {
			return string(out)
		}
		b, n, ok := unescape(p.rest)
		if !ok {
			p.fail("an escape that canonical JSON does not have")
			return ""
		}
		out, p.rest = append(out, b), p.rest[n:]
	}
}

// plainText reports whether s may stand in a canonical string as it is.
func plainText(s string) bool {
	ascii := true
	for i := range len(s) {
		if s[i] < ' ' {
			return false
		}
		ascii = ascii && s[i] < utf8.RuneSelf
	}
	return ascii || utf8.ValidString(s)
}

// unescape reads what follows a backslash.
func unescape(s string) (b byte, n int, ok bool) {
	if len(s) == 0 {
		return 0, 0, false
	}
	switch s[0] {
	case '"', '\\':
		return s[0], 1, true
	case 'b':
		return '\b', 1, true
	case 't':
		return '\t', 1, true
	case 'n':
		return '\n', 1, true
	case 'f':
		return '\f', 1, true
	case 'r':
		return '\r', 1, true
	case 'u':
		if len(s) < 5 || s[1] != '0' || s[2] != '0' || s[3] != '0' && s[3] != '1' {
			return 0, 0, false
		}
		low := strings.IndexByte(hexDigits, s[4])
		b := (s[3]-'0')<<4 | byte(low)
		if low < 0 || b >= '\b' && b <= '\r' && b != '\v' { // those have a shorter form
			return 0, 0, false
		}
		return b, 5, true
	}
	return 0, 0, false
}
