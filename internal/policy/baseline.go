package policy

import (
	"github.com/cedar-policy/cedar-go"

	"github.com/reefwarden/reefwarden/internal/act"
	"github.com/reefwarden/reefwarden/internal/gate"
)

// Unindexed decides as cedar-go does by itself, by asking every policy of a bundle:
// what `reef bench gate` sets the engine beside. It is made from what is in force.
type Unindexed struct {
	e   *Engine
	set *cedar.PolicySet
}

// Unindexed returns the baseline for the bundle in force, whose files are given again:
// the engine keeps no text. It fails when they do not parse.
func (e *Engine) Unindexed(files []File) (*Unindexed, error) {
	u := &Unindexed{e: e, set: cedar.NewPolicySet()}
	for _, f := range files {
		list, err := cedar.NewPolicyListFromBytes(f.Name, []byte(f.Text))
		if err != nil {
			return nil, refuse("bundle.policy", "%s does not parse: %w", f.Name, err)
		}
		for _, p := range list {
			u.set.Add(cedar.PolicyID(string(p.Annotations()[noteID])), p)
		}
	}
	return u, nil
}

// Allows answers a question. The request is made as the engine makes it, so that the
// search for the policies is all that differs.
func (u *Unindexed) Allows(p act.Principal, q gate.Question) bool {
	s, t := u.e.current.Load(), u.e.acts[q.Act]
	if s == nil || t == nil {
		return false
	}
	k, ok := u.e.keyOf(p, q)
	if !ok {
		return false
	}
	r := s.request(k)
	allow, _ := cedar.Authorize(u.set, r, cedar.Request{Principal: r.principal, Action: t.action, Resource: r.resource, Context: u.e.context})
	return bool(allow)
}
