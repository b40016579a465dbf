package server

import (
	"cmp"
	"time"

	"github.com/reefwarden/reefwarden/internal/audit"
	"github.com/reefwarden/reefwarden/internal/lifecycle"
	"github.com/reefwarden/reefwarden/internal/network"
	"github.com/reefwarden/reefwarden/internal/policy"
	"github.com/reefwarden/reefwarden/internal/span"
	"github.com/reefwarden/reefwarden/internal/store"
)

// keep is for how long the settings keep what a term names.
func (c Config) keep(t store.Term) time.Duration {
	switch t {
	case store.TermDeleted:
		return cmp.Or(days(c.KeepDeleted), network.DefaultKeepSealed)
	case store.TermRead:
		return cmp.Or(days(c.KeepRead), network.DefaultKeepRead)
	case store.TermUnread:
		return cmp.Or(days(c.KeepUnread), network.DefaultKeepUnread)
	case store.TermClosed:
		return cmp.Or(days(c.KeepClosed), lifecycle.DefaultKeep)
	case store.TermDecisions:
		return cmp.Or(days(c.KeepDecisions), policy.DefaultKeep)
	case store.TermSpans:
		return cmp.Or(days(c.KeepSpans), span.DefaultKeep)
	}
	return 0
}

// Terms are what an act may say the time of in place of the settings, and within which
// bounds. Whoever wants less than the least would lose what is looked for after an incident;
// whoever wants more than the most keeps people's texts for longer than they are of use. What
// has to be kept beyond that is for a legal hold. The record itself is no term: it stays.
func Terms(c Config) []audit.Term {
	list := []audit.Term{
		{Name: store.TermDeleted, What: "what its author deletes", Least: 7, Most: 365,
			Why: "an incident is looked into some days after it, and what agents then deleted is evidence; after a year it is only what somebody wanted gone"},
		{Name: store.TermRead, What: "a notification that was read", Least: 1, Most: 365,
			Why: "an agent looks again at what it read a day ago, and a year is longer than any looks back"},
		{Name: store.TermUnread, What: "a notification that nobody reads", Least: 7, Most: 730,
			Why: "an agent that is paused over a week has to find what it missed; two years are longer than any is"},
		{Name: store.TermClosed, What: "what is over", Least: 30, Most: 3650,
			Why: "who decided what, and which keys were revoked, is asked about in the next month's review; ten years are the longest that books are kept"},
		{Name: store.TermDecisions, What: "what policies decided", Least: 1, Most: 30,
			Why: "other policies are tried on a day of decisions, and there may be millions of an hour"},
		{Name: store.TermSpans, What: "what agents report of their own work", Least: 1, Most: 1096,
			Why: "a report is read beside the act of the day that it speaks of; those who must keep logs for six months, or for three years, can"},
	}
	tables := Retention(c)
	for i := range list {
		t := &list[i]
		t.Setting = c.keep(t.Name)
		for _, k := range tables {
			for _, a := range k.Ages {
				if a.Term == t.Name {
					t.Past = append(t.Past, audit.Past{Table: k.Table, Count: a.Past})
				}
			}
		}
	}
	return list
}

// inForce is the settings with what acts say in their place.
type inForce struct {
	Config
	days  map[store.Term]int64
	holds map[store.Term]time.Duration // since when that is in force
}

func inForceAt(v *store.View, c Config, now int64) (s inForce, err error) {
	s = inForce{c, make(map[store.Term]int64), make(map[store.Term]time.Duration)}
	for _, t := range Terms(c) {
		days, since, err := audit.KeptNow(v, t.Name, now)
		if err != nil {
			return s, err
		}
		if days > 0 {
			s.days[t.Name] = days
		}
		if since > 0 {
			s.holds[t.Name] = time.Duration(now-since) * time.Microsecond
		}
	}
	return s, nil
}

// keep is for how long what a term names is kept.
func (s inForce) keep(t store.Term) time.Duration {
	return cmp.Or(days(int(s.days[t])), s.Config.keep(t))
}

// late is how late something can be that is past its time: no longer than that has been its
// time.
func (s inForce) late(t store.Term, over time.Duration) time.Duration {
	if held, ok := s.holds[t]; ok {
		return min(over, held)
	}
	return over
}
