package charter

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Set is a set of names: acts, communities, tools, digests of skills, destinations. A
// member that ends in * stands for every name that begins so; * alone is every name.
// Sets of prefixes are closed under intersection, which is why nothing richer is
// offered. The zero Set is every name: what a document does not name it does not bound.
type Set struct {
	names   []string // sorted, none covered by another
	bounded bool
}

const (
	maxMembers = 1000
	maxMember  = 300 // bytes
)

// Of returns the set of the given members; none at all is the empty set.
func Of(members ...string) Set {
	s := Set{bounded: true}
	for _, m := range members {
		if !slices.ContainsFunc(members, func(other string) bool { return other != m && covers(other, m) }) {
			s.names = append(s.names, m)
		}
	}
	slices.Sort(s.names)
	s.names = slices.Compact(s.names)
	return s
}

// covers reports whether a member stands for everything that another stands for.
func covers(a, b string) bool {
	prefix, open := strings.CutSuffix(a, "*")
	return a == b || open && strings.HasPrefix(b, prefix)
}

// All reports whether the set is every name.
func (s Set) All() bool { return !s.bounded || len(s.names) == 1 && s.names[0] == "*" }

// Has reports whether a name is in the set.
func (s Set) Has(name string) bool {
	return !s.bounded || slices.ContainsFunc(s.names, func(m string) bool { return covers(m, name) })
}

// Members returns what the set was made of, without what another member covers.
func (s Set) Members() []string {
	if !s.bounded {
		return []string{"*"}
	}
	return slices.Clone(s.names)
}

// And is the intersection of two sets.
func (s Set) And(o Set) Set {
	switch {
	case !s.bounded:
		return o
	case !o.bounded:
		return s
	}
	var both []string
	for _, a := range s.names {
		if o.holds(a) {
			both = append(both, a)
		}
	}
	for _, b := range o.names {
		if s.holds(b) {
			both = append(both, b)
		}
	}
	return Of(both...)
}

// holds reports whether everything that a member stands for is in the set.
func (s Set) holds(member string) bool {
	return slices.ContainsFunc(s.names, func(m string) bool { return covers(m, member) })
}

// Within reports whether every name of s is in o.
func (s Set) Within(o Set) bool {
	if o.All() {
		return true
	}
	return s.bounded && !slices.ContainsFunc(s.names, func(m string) bool { return !o.holds(m) })
}

// MarshalJSON writes the members; every name is written as ["*"].
func (s Set) MarshalJSON() ([]byte, error) {
	members := s.Members()
	if members == nil {
		members = []string{}
	}
	return json.Marshal(members)
}

// UnmarshalJSON reads a list of members.
func (s *Set) UnmarshalJSON(raw []byte) error {
	var members []string
	if err := json.Unmarshal(raw, &members); err != nil {
		return fmt.Errorf("a list of names is wanted: %w", err)
	}
	*s = Of(members...)
	return nil
}

// IsZero lets an unbounded set be left out of a document.
func (s Set) IsZero() bool { return !s.bounded }

// check reports what is wrong with a set of what, which Of has made.
func (s Set) check(what string) error {
	if len(s.names) > maxMembers {
		return fmt.Errorf("%s has %d names; %d are allowed", what, len(s.names), maxMembers)
	}
	for _, m := range s.names {
		inside := strings.TrimSuffix(m, "*")
		if m == "" || len(m) > maxMember || strings.ContainsFunc(inside, func(r rune) bool { return r <= ' ' || r == '*' || r == 0x7f }) {
			return fmt.Errorf("%s: %q is no name; a * stands at the end only", what, m)
		}
	}
	return nil
}
