package policy

import "github.com/reefwarden/reefwarden/internal/store"

// What package manifest asks of the policies, within the view that it plans in.

// Brought returns what operators have brought of the newest policies, and their version;
// nothing and 0 where none are kept.
func (o *Office) Brought(v *store.View) (Draft, int64, error) {
	b, found, err := Load(v, o.pub())
	if err != nil || !found {
		return Draft{}, 0, err
	}
	return DraftOf(b), b.Version, nil
}

// Examine says what is wrong with a draft, as policy.check does.
func (o *Office) Examine(d Draft) Report { return o.check(d) }

// Compare says what a draft would decide otherwise than what is in force.
func (o *Office) Compare(v *store.View, d Draft) (Difference, error) {
	return o.compare(v, Pick{}, Pick{Draft: &d})
}

func (o *Office) compare(v *store.View, from, to Pick) (Difference, error) {
	a, was, err := o.candidate(v, from)
	if err != nil {
		return Difference{}, err
	}
	b, now, err := o.candidate(v, to)
	if err != nil {
		return Difference{}, err
	}
	return o.engine.difference(a, b, was, now, o.Agents), nil
}
